"""Who comes in: every path but a few needs a key where keys are asked for, and each key has its rate."""

import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api_keys import Keys
from serve_app.problems import Problem
from serve_app.rate_limit import SharedLimiter, Standing

# The page, its files and the documentation tell nothing of anybody; a load balancer has no key.
OPEN_PATHS = frozenset({"/", "/healthz", "/docs", "/openapi.json"})
OPEN_FOLDERS = ("/page/", "/docs/assets/")
WEBHOOK = "/webhook"  # whose letters are signed
ANYBODY = "anybody"
CALLER = "visage.caller"


def is_open(path: str) -> bool:
    return path in OPEN_PATHS or path == WEBHOOK or path.startswith(OPEN_FOLDERS)


class Guard:
    """Lets a request through, or answers 401 or 429. `scope[CALLER]` is then the name of its key. Answers to what was
    counted say how much of the key's rate is left.

    keys: None asks nobody for one. limiter: None counts nothing.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, limiter: SharedLimiter | None) -> None:
        self._app, self._keys, self._limiter = app, keys, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            return await self._app(scope, receive, send)
        try:
            scope[CALLER] = self._caller(Headers(scope=scope))
            standing = await self._limiter.count(scope[CALLER]) if self._limiter else None
            if standing:
                send = _telling(standing, send)
                _require_time(scope[CALLER], standing)
        except Problem as problem:
            return await problem.response()(scope, receive, send)
        await self._app(scope, receive, send)

    def _caller(self, headers: Headers) -> str:
        if self._keys is None:
            return ANYBODY
        given = headers.get("authorization")
        name = self._keys.name_of(given) if given else None
        if name is None:
            what = "is none that this endpoint knows" if given else "is missing"
            how = "send yours in the header Authorization: Bearer KEY (`visage` and its clients: VISAGE_API_KEY)"
            detail = f"The API key {what}; {how}."
            raise Problem(401, detail, {"WWW-Authenticate": "Bearer"})
        return name


def _require_time(caller: str, standing: Standing) -> None:
    """Raise Problem 429 for a request that came too early."""
    if standing.wait:
        seconds = max(1, math.ceil(standing.wait))
        detail = f"{caller} asks more often than its limit allows; ask again in {seconds} s."
        raise Problem(429, detail, {"Retry-After": str(seconds)})


def _telling(standing: Standing, send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(standing.fields())
        await send(message)

    return told
