"""The gate of a replica: how many requests it takes on, and how much memory their bodies may take. Beyond that, 429."""

from collections.abc import Iterator
from contextlib import contextmanager

from serve_app.problems import Problem
from visage.config.serving import Limits

# Of the bodies of all requests of a replica, in bodies of the largest size.
LARGEST_BODIES = 16
RETRY_SECONDS = "1"


class Gate:
    """Counts what is inside. For one event loop, so it needs no locks."""

    def __init__(self, limits: Limits) -> None:
        self._places, self._bytes = limits.queue, int(limits.megabytes * 1e6) * LARGEST_BODIES
        self.inside = self.held = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A request whose body is there, until it is answered. Raises Problem 429 when all places are taken.

        One that is still arriving takes no place, so that slow callers keep nobody out.
        """
        if self.inside >= self._places:
            raise Problem(429, f"{self.inside} requests are waiting; ask again in a moment.", _later())
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @contextmanager
    def body(self, size: int) -> Iterator[None]:
        """Memory for a body of at most `size` bytes. Raises Problem 429 when there is none left."""
        if self.held and self.held + size > self._bytes:
            raise Problem(429, "Too many pictures are being sent at once; ask again in a moment.", _later())
        self.held += size
        try:
            yield
        finally:
            self.held -= size


def _later() -> dict[str, str]:
    return {"Retry-After": RETRY_SECONDS}
