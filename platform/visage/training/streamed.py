"""Batches of a face set in shards: those of the window in which they are drawn."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.stream import Stream
from visage.methods.base import Batches


class StreamedBatches(Batches):
    """As `methods.base.Batches`, of a stream.

    sample: batches of the part of the training people that the face set holds packed; what a batch becomes on a device
    does not depend on the window. of: the batches of a window. A batch is of the window in which its first tuple falls.
    The window that comes next is made while one is drawn from.
    """

    def __init__(self, stream: Stream, sample: Batches, of: Callable[[FaceSet], Batches]) -> None:
        self.stream, self.device, self.of = stream, sample.device, of
        self.sample, self.now = sample, sample
        self.turn = -1
        self.thread = ThreadPoolExecutor(1, "window")
        self.coming: Future[Batches] | None = None

    def draw(self, first: int, count: int) -> Any:
        """In one thread at a time."""
        turn = self.stream.turn(first)
        if turn != self.turn:
            coming, self.coming = self.coming, None
            following = coming.result() if coming else None  # also where it is not wanted: it reads into the window
            if following is None or turn != self.turn + 1:
                following = self._batches(self.stream.fill(turn))
            self.now, self.turn = following, turn
            self.coming = self.thread.submit(lambda: self._batches(self.stream.follow(turn + 1)))
        return self.now.draw(first, count)

    def made(self, drawn: Any) -> Any:
        return self.sample.made(drawn)

    def close(self) -> None:
        """Wait no longer for a store that is away, and end the thread when it has read what it is at."""
        self.stream.files.closed.set()
        self.thread.shutdown(cancel_futures=True)

    def _batches(self, window: FaceSet) -> Batches:
        try:
            return self.of(window)
        except ValueError as error:
            raise UserError(
                f"data.shards.window = {self.stream.order.width}: so many shards of {window.dir} are drawn from at "
                f"once, and hold {error}; widen it, or make the set anew with larger shards (data.shards.mb)."
            ) from None
