"""The gate of a replica: how many requests it takes on, and how much memory their bodies and pixels may take. Beyond
that, 429."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve_app.problems import Problem
from visage.config.serving import Limits

# Of the bodies of all requests of a replica, in bodies of the largest size; and of those of one caller.
LARGEST_BODIES, OF_ONE_CALLER = 16, 8
# Of all pictures that a replica has decoded or is about to write, at 3 bytes a pixel and about as much again for files.
MOST_MEGAPIXELS = 200.0
LATER = {"Retry-After": "1"}


class Gate:
    """Counts what is inside. For one event loop, so it needs no locks."""

    def __init__(self, limits: Limits) -> None:
        self._places, self._largest = limits.queue, int(limits.megabytes * 1e6)
        self.inside = 0
        self._held: Counter[str] = Counter()  # bytes by caller

    @contextmanager
    def place(self) -> Iterator[None]:
        """A request whose body is there, until it is answered. Raises Problem 429 when all places are taken.

        One that is still arriving takes no place, so that slow callers keep nobody out.
        """
        if self.inside >= self._places:
            raise Problem(429, f"{self.inside} requests are waiting; ask again in a moment.", LATER)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @property
    def held(self) -> int:
        """Bytes of all bodies."""
        return self._held.total()

    @contextmanager
    def body(self, caller: str | None) -> Iterator[Callable[[int], None]]:
        """Memory for a body, until its request is answered; what is yielded is told of the bytes as they arrive, so
        that one that was announced and does not come holds nothing. That raises Problem 429 when there is no memory
        left, or this caller has its share. caller: None where nobody has a name, and there are no shares.
        """
        mine, name = 0, caller or ""

        def arrived(size: int) -> None:
            nonlocal mine
            if caller and self._held[name] + size > OF_ONE_CALLER * self._largest:
                raise Problem(429, f"{caller} is sending too many pictures at once; ask again in a moment.", LATER)
            if self.held + size > LARGEST_BODIES * self._largest:
                raise Problem(429, "Too many pictures are being sent at once; ask again in a moment.", LATER)
            mine += size
            self._held[name] += size

        try:
            yield arrived
        finally:
            self._held[name] -= mine
            if not self._held[name]:
                del self._held[name]


class Pixels:
    """Counts the megapixels that requests hold. They are taken in the threads that decode, so there is a lock."""

    def __init__(self) -> None:
        self._lock, self._held = threading.Lock(), dict[object, float]()

    @property
    def held(self) -> float:
        return sum(self._held.values())

    @contextmanager
    def share(self) -> Iterator[Callable[[float], None]]:
        """One request's part; what it still holds at the end of the block is given back. What is yielded is told of
        megapixels before they are decoded or written, and with a minus when they are forgotten. That raises Problem 429
        for more than there are, where one request alone may always take what it is allowed, and 503 when the block has
        ended meanwhile."""
        mine = object()
        self._held[mine] = 0

        def take(megapixels: float) -> None:
            with self._lock:
                if mine not in self._held:
                    raise Problem(503, "The request has ended.")
                if megapixels > 0 and self.held and self.held + megapixels > MOST_MEGAPIXELS:
                    raise Problem(429, "Too many pictures are worked on at once; ask again in a moment.", LATER)
                self._held[mine] += megapixels

        try:
            yield take
        finally:
            with self._lock:
                del self._held[mine]
