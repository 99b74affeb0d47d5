"""The next batch is drawn while the step before it runs."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

D = TypeVar("D")


class Ahead(Generic[D]):
    """What `draw` gives for first, first + stride, ...: `depth` ahead of what is asked for, in a thread of its own.

    draw must depend on its argument alone, so that nothing changes by when it runs; what it raises is raised where its
    result is asked for. The thread begins with the first question, and ends with `close` or with this object.
    """

    def __init__(self, draw: Callable[[int], D], stride: int, depth: int = 1) -> None:
        self.draw, self.stride, self.depth = draw, stride, depth
        self.thread = ThreadPoolExecutor(1, "drawing")
        self.first = 0
        self.coming: deque[Future[D]] = deque()

    def at(self, first: int) -> D:
        """What begins at `first`; waited for where it is not the one that follows, as after a resume."""
        if not self.coming or first != self.first:
            while self.coming:
                self.coming.pop().cancel()
            self.coming.append(self.thread.submit(self.draw, first))
        self.first = first + self.stride
        drawn = self.coming.popleft().result()
        while len(self.coming) < self.depth:
            self.coming.append(self.thread.submit(self.draw, self.first + len(self.coming) * self.stride))
        return drawn

    def close(self) -> None:
        """End the thread, when it has drawn what it is at."""
        self.thread.shutdown(cancel_futures=True)
