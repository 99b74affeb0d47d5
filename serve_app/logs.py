"""The log of the endpoint: JSON, one line a record; and the ids that tie a request's answer to its lines."""

import json
import logging
import re
import sys
import uuid
from datetime import UTC, datetime
from typing import Literal

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
REQUEST_ID = "visage.request_id"
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def logger() -> logging.Logger:
    """Where everything of the endpoint is logged: a child of Ray Serve's logger."""
    return logging.getLogger("ray.serve.visage")


def configure(to: Literal["serve", "stdout"]) -> None:
    """In a replica. serve: Ray Serve's log of the replica, which `encoding` makes JSON. stdout: the process's own."""
    log = logger()
    log.setLevel(logging.INFO)
    log.handlers.clear()
    log.propagate = to == "serve"
    if to == "stdout":
        handler = logging.StreamHandler(sys.__stdout__)  # Serve has sent sys.stdout to its log
        handler.setFormatter(JsonLines())
        log.addHandler(handler)


class JsonLines(logging.Formatter):
    """A record and its extra fields as one line of JSON; time in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            # Ray gives each record of its processes a field of its own, which begins so.
            **{key: value for key, value in vars(record).items() if key not in STANDARD and key[0] != "_"},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class RequestIds:
    """Each request has one id, the caller's own if it is well-formed, and its answer carries it as X-Request-Id.

    `scope[REQUEST_ID]` holds it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = MutableHeaders(scope=scope)
        given = headers.get(HEADER, "")
        scope[REQUEST_ID] = request_id = given if WELL_FORMED.fullmatch(given) else uuid.uuid4().hex
        headers[HEADER] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id  # one, whoever else has set it
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_ids() -> list[Middleware]:
    """For Ray Serve, which else sends back whatever a caller calls its request: it has this around its own."""
    return [Middleware(RequestIds)]
