"""Whether the callers of the requests in work are still there.

Serve would watch each request with two tasks of its own, which costs more than a small face. Here one task looks at
all of them now and then; what is answered sooner is never looked at.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

LOOK_SECONDS = 0.25


class Callers:
    """For one event loop, so it needs no locks."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Timeout, Request] = {}
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def wait(self, request: Request, seconds: float) -> AsyncIterator[None]:
        """The block has so long, and no longer than the caller stays. Raises TimeoutError, or ClientDisconnect within
        LOOK_SECONDS of that. The request's body must have been read."""
        try:
            async with asyncio.timeout(seconds) as limit:
                self._waiting[limit] = request
                self._look()
                try:
                    yield
                finally:
                    del self._waiting[limit]
        except TimeoutError:
            if await request.is_disconnected():
                raise ClientDisconnect from None
            raise

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._looks())

    async def _looks(self) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_SECONDS)
            for limit, request in list(self._waiting.items()):
                if await request.is_disconnected() and limit in self._waiting and not limit.expired():
                    limit.reschedule(asyncio.get_running_loop().time())
