"""How often a key may ask, counted in one place for all replicas. There is such a place only where a limit is set."""

import asyncio
import time
from typing import Any, Protocol

from serve_app.logs import logger
from serve_app.problems import Problem
from visage.config.access import Rate

# A count that is late is refused, and while so many are awaited so are all others at once: behind an overloaded limit
# nobody shall wait for long, nor get through uncounted.
PATIENCE_SECONDS = 1.0
AWAITED = 128


class Limiter(Protocol):
    async def wait(self, name: str) -> float:
        """Count a request. 0 where it may go on, else the seconds after which the next one may."""
        ...


class Buckets:
    """The count itself: for each name the time when its bucket is empty again, which every request puts off."""

    def __init__(self, rate: Rate) -> None:
        self._each = 60 / rate.per_minute
        self._ahead = self._each * (rate.burst - 1)
        self._due: dict[str, float] = {}

    def take(self, name: str, now: float) -> float:
        """Seconds to wait at the time `now`, 0 for a request that is counted; refused ones cost nothing."""
        due = max(self._due.get(name, now), now)
        wait = due - self._ahead - now
        if wait > 1e-9:
            return wait
        self._due[name] = due + self._each
        return 0.0


class Rates:
    """The deployment that counts: one replica, beside those that answer."""

    def __init__(self, rate: dict[str, Any]) -> None:
        self._buckets = Buckets(Rate.model_validate(rate))

    async def take(self, name: str) -> float:
        return self._buckets.take(name, time.monotonic())


class SharedLimiter:
    """Asks that deployment through its handle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._awaited = 0

    async def wait(self, name: str) -> float:
        """As `Limiter.wait`. Raises Problem 503 when the count is overloaded. One that fails stops nobody: it guards
        the endpoint and must not be what takes it down."""
        if self._awaited >= AWAITED:
            raise _overloaded()
        self._awaited += 1
        try:
            return float(await asyncio.wait_for(self._handle.take.remote(name), PATIENCE_SECONDS))
        except TimeoutError:
            raise _overloaded() from None
        except Exception as error:
            logger().error("Requests are not counted: %s", type(error).__name__)
            return 0.0
        finally:
            self._awaited -= 1


def _overloaded() -> Problem:
    return Problem(503, "More requests come than can be counted; ask again in a moment.", {"Retry-After": "1"})
