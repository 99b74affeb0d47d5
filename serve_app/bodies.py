"""Bodies of requests as they arrive: no longer than they may be, and no later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.requests import Request

from serve_app.problems import Problem


def announced(headers: Headers) -> int | None:
    """The bytes of a body, by the header Content-Length; None where that is missing or no number."""
    length = headers.get("content-length", "")
    # Not the whole of it: a number of thousands of digits is an error of its own.
    return int(length[:20]) if length.isascii() and length.isdecimal() else None


async def pieces(request: Request, most: int, too_large: Problem) -> AsyncIterator[bytes]:
    """The body, piece by piece. Raises `too_large` for one of more than `most` bytes, by its header already if it has
    one."""
    if (announced(request.headers) or 0) > most:
        raise too_large
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_large
        yield piece


@asynccontextmanager
async def in_time(what: str, seconds: float, mend: str = "send it faster") -> AsyncIterator[None]:
    """What the block reads has so long to arrive. Raises Problem 408."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        detail = f"The {what} did not arrive within {seconds:g} seconds; {mend}."
        raise Problem(408, detail, {"Connection": "close"}) from None
