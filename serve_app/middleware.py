"""What stands around the routes: request ids, log and metrics, other addresses' pages, keys and rates.

Every path but a few needs a key where keys are asked for, and each key has its rate.
"""

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api_keys import Keys
from serve_app.bodies import announced
from serve_app.haproxy import RECEIVED
from serve_app.logs import REQUEST_ID, RequestIds, logger
from serve_app.metrics import Meters
from serve_app.problems import Problem
from serve_app.rate_limit import FIELDS, SharedLimiter, Standing
from visage.infra import traces

if TYPE_CHECKING:
    from opentelemetry.trace import Span

# The page, its files and the documentation tell nothing of anybody; a load balancer has no key.
OPEN_PATHS = frozenset({"/", "/healthz", "/docs", "/openapi.json"})
OPEN_FOLDERS = ("/page/", "/docs/assets/")
WEBHOOK = "/webhook"  # whose letters are signed
ANYBODY = "anybody"
CALLER = "visage.caller"
# What nginx calls it when the caller has gone before there was an answer.
GONE = 499
OTHER = "other"
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
TRACED = "/v1/"  # not what asks every few seconds whether there is an answer
MOST_NS = 3600 * 10**9  # between HAProxy and a replica; more is a clock that is wrong


@dataclass(frozen=True)
class Around:
    """keys: None asks nobody. limiter: None counts nothing. origins: whose pages may call. meters: None measures
    nothing."""

    keys: Keys | None = None
    limiter: SharedLimiter | None = None
    origins: Sequence[str] = ()
    meters: Meters | None = None


def surround(app: FastAPI, around: Around) -> None:
    """Put all of it around an application whose routes are complete."""
    paths = frozenset(path for route in app.routes if (path := getattr(route, "path", None)) and "{" not in path)
    app.add_middleware(Guard, keys=around.keys, limiter=around.limiter)
    if around.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(around.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-Request-Id", "Idempotency-Key"],
            expose_headers=["X-Request-Id", "Retry-After", "Visage-Model", "Location", *FIELDS],
        )
    app.add_middleware(Watch, paths=paths, meters=around.meters)
    app.add_middleware(RequestIds)
    if around.keys or around.limiter:
        _document_access(app, around)


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
                if standing.wait:
                    seconds = max(1, math.ceil(standing.wait))
                    detail = f"{scope[CALLER]} asks more often than its limit allows; ask again in {seconds} s."
                    raise Problem(429, detail, {"Retry-After": str(seconds)})
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


class Watch:
    """Counts, times and logs each request, and makes a fault of the server an answer that shows nothing of its inside.

    A path that is no route is `other` in log and metrics: callers choose paths, and may put anything in them.
    """

    def __init__(self, app: ASGIApp, paths: frozenset[str], meters: Meters | None) -> None:
        self._app, self._paths, self._meters = app, paths, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status, sent = time.perf_counter(), GONE, 0

        async def count(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        if self._meters:
            self._meters.began()
        with self._traced(scope) as span:
            try:
                await self._app(scope, receive, count)
            except Exception:
                logger().exception("A fault of the server", extra={"request_id": scope[REQUEST_ID]})
                if status != GONE:
                    raise
                detail = f"The server met a fault of its own; its log tells of it under {scope[REQUEST_ID]}."
                await Problem(500, detail).response()(scope, receive, count)
            finally:
                self._note(scope, status, sent, time.perf_counter() - started)
                if span:
                    self._describe(span, scope, status)

    @contextmanager
    def _traced(self, scope: Scope) -> Iterator["Span | None"]:
        """A span of the request from HAProxy on, in the caller's own trace where it has one."""
        if not traces.is_on() or not scope["path"].startswith(TRACED):
            yield None
            return
        headers = Headers(scope=scope)
        since = _received(headers)
        with traces.root("request", headers.get("traceparent"), since=since, served=True) as span:
            if since:
                traces.past("ingress", since)
            yield span

    def _describe(self, span: "Span", scope: Scope, status: int) -> None:
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        path = self._label(scope)
        span.update_name(f"{method} {path}")
        fields = {"http.request.method": method, "http.route": path, "http.response.status_code": status}
        span.set_attributes(fields | ({"error.type": str(status)} if status >= 500 else {}))

    def _note(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        path, caller = self._label(scope), scope.get(CALLER, "")
        logger().info(
            "request",
            extra={
                "request_id": scope[REQUEST_ID],
                "method": scope["method"],
                "path": path,
                "status": status,
                "seconds": round(seconds, 4),
                "caller": caller,
                "bytes_in": announced(Headers(scope=scope)),
                "bytes_out": sent,
            },
        )
        if self._meters:
            self._meters.ended(path, status, caller, seconds)

    def _label(self, scope: Scope) -> str:
        path = scope["path"]
        if path in self._paths:
            return str(path)
        if "{" in (route := getattr(scope.get("route"), "path", "")):  # what stands in the braces is the caller's
            return str(route)
        return next((folder for folder in OPEN_FOLDERS if path.startswith(folder)), OTHER)


def _telling(standing: Standing, send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(standing.fields())
        await send(message)

    return told


def _received(headers: Headers) -> int | None:
    """When HAProxy had the request's headers, in nanoseconds; None where it does not say, or its clock is ahead."""
    given = re.fullmatch(r"t=(\d{16})", headers.get(RECEIVED, ""))
    since = int(given[1]) * 1000 if given else 0
    return since if 0 < time.time_ns() - since < MOST_NS else None


def _document_access(app: FastAPI, around: Around) -> None:
    """The document says which routes need a key, so that /docs has a place to enter it, and which tell of a limit."""

    def document() -> dict[str, object]:
        if app.openapi_schema is None:
            whole = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            refused = {}
            if around.keys:
                scheme = {"type": "http", "scheme": "bearer", "description": "An API key; `visage key` makes one."}
                whole.setdefault("components", {})["securitySchemes"] = {"key": scheme}
                refused["401"] = "No known API key"
            if around.limiter:
                refused["429"] = "More often than the key's limit; see Retry-After"
            for path, operations in whole["paths"].items():
                for operation in () if is_open(path) else operations.values():
                    if around.keys:
                        operation["security"] = [{"key": []}]
                    for status, description in refused.items():
                        operation["responses"].setdefault(status, {"description": description})
                    for status, answer in operation["responses"].items() if around.limiter else ():
                        if status != "401":  # which comes before the count
                            answer.setdefault("headers", {}).update(FIELDS)
            app.openapi_schema = whole
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
