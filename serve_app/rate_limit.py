"""How often a key may ask, counted in one place for all replicas. There is such a place only where a limit is set."""

import asyncio
import math
import time
from typing import Any, NamedTuple

from serve_app.logs import logger
from serve_app.problems import Problem
from visage.config.serving import Rate

# A count that is late is refused, and while so many are awaited so are all others at once: behind an overloaded limit
# nobody shall wait for long, nor get through uncounted.
PATIENCE_SECONDS = 1.0
AWAITED = 128
# What answers say of a key's rate (IETF draft-ietf-httpapi-ratelimit-headers, its form since 2024), as OpenAPI has it.
FIELDS = {
    name: {"description": description, "schema": {"type": "string"}, "example": example}
    for name, description, example in (
        ("RateLimit-Policy", "The limit of the key: q requests in w seconds", '"key";q=10;w=10'),
        ("RateLimit", "What is left of it: r requests now, and in t seconds all of them again", '"key";r=9;t=1'),
    )
}


class Standing(NamedTuple):
    """Where a key stands after a request. wait: 0 for one that was counted, else the seconds after which the next one
    is. left: requests that it may send at once. whole: seconds until these are `quota` again, which takes `window` of
    them where none is left."""

    wait: float
    left: int
    whole: float
    quota: int
    window: float

    def fields(self) -> dict[str, str]:
        """The values of FIELDS."""
        policy = f'"key";q={self.quota};w={math.ceil(self.window)}'
        return dict(zip(FIELDS, (policy, f'"key";r={self.left};t={math.ceil(self.whole)}'), strict=True))


class Rates:
    """The deployment that counts, one replica beside those that answer: for each name the time when its bucket is empty
    again, which every request puts off."""

    def __init__(self, rate: Rate | dict[str, Any]) -> None:
        rate = Rate.model_validate(rate)
        self._each, self._burst = 60 / rate.per_minute, rate.burst
        self._due: dict[str, float] = {}

    async def take(self, name: str) -> Standing:
        return self.count(name, time.monotonic())

    def count(self, name: str, now: float) -> Standing:
        """Where the key stands at the time `now`; refused requests cost nothing."""
        due = max(self._due.get(name, now), now)
        window = self._each * self._burst
        wait = due - (window - self._each) - now
        if wait <= 1e-9:
            wait = 0.0
            self._due[name] = due = due + self._each
        left = max(0, math.floor(self._burst - (due - now) / self._each + 1e-9))
        return Standing(wait, left, due - now, self._burst, window)


class SharedLimiter:
    """Asks that deployment through its handle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._awaited = 0

    async def count(self, name: str) -> Standing | None:
        """Count a request. Raises Problem 503 when the count is overloaded. One that fails stops nobody: it guards the
        endpoint and must not be what takes it down."""
        if self._awaited >= AWAITED:
            raise _overloaded()
        self._awaited += 1
        try:
            return Standing(*await asyncio.wait_for(self._handle.take.remote(name), PATIENCE_SECONDS))
        except TimeoutError:
            raise _overloaded() from None
        except Exception as error:
            logger().error("Requests are not counted: %s", type(error).__name__)
            return None
        finally:
            self._awaited -= 1


def _overloaded() -> Problem:
    return Problem(503, "More requests come than can be counted; ask again in a moment.", {"Retry-After": "1"})
