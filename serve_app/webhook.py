"""MLflow's webhook: its letters say that an alias was moved. Nothing in them is believed; replicas look sooner for one.

A letter is signed with a secret that MLflow's server has too, and dated. What it says is not even read: whoever lies in
one, or sends one again, has the registry asked what the replicas would have asked it a little later.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from serve_app.bodies import in_time, pieces
from serve_app.ingress import SECRET
from serve_app.logs import logger
from serve_app.middleware import WEBHOOK
from serve_app.openapi import problems
from serve_app.problems import Problem

ID, DATE, SIGNATURE = "X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"
OLD_SECONDS = 300  # MLflow tries for two minutes to deliver a letter, which keeps its date
KIB = 64  # of a letter, which has a third of one
REST_SECONDS, TELL_SECONDS = 2.0, 10.0
Tell = Callable[[], Awaitable[None]]
LETTER: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": description}
        for name, description in (
            (ID, "The letter's id."),
            (DATE, f"Its date, in seconds since 1970: at most {OLD_SECONDS} from the endpoint's clock."),
            (SIGNATURE, "`v1,` and in base64 the HMAC-SHA256 of `id.date.body` by the secret."),
        )
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}


def secret() -> str | None:
    """The secret of this environment; None where there is none, and so no webhook."""
    return os.environ.get(SECRET, "").strip() or None


async def tell_replicas() -> None:
    """Call `look_now` of every replica of this one's deployment, on all nodes."""
    from ray import serve

    here = serve.get_replica_context()
    handle = await asyncio.to_thread(serve.get_deployment_handle, here.deployment, here.app_name)
    answers = await handle.broadcast("look_now").results_async(timeout_s=TELL_SECONDS, return_exceptions=True)
    for error in answers:
        if error is not None:
            raise error


class Webhook:
    """Takes letters, and tells all replicas of them, once in REST_SECONDS at most.

    secret: that MLflow's server signs with. tell: see `tell_replicas`.
    """

    def __init__(self, secret: str, tell: Tell = tell_replicas) -> None:
        self._secret, self._tell = secret.encode(), tell
        self._due = False
        self._telling: asyncio.Task[None] | None = None

    async def take(self, request: Request) -> None:
        """Raises Problem 403 for a letter that is not MLflow's, or is too old; 413 for one that is too long."""
        id, date, signature = (request.headers.get(name, "").encode("latin-1") for name in (ID, DATE, SIGNATURE))
        _require_new(date)
        too_large = Problem(413, f"The letter has more than {KIB} KiB, and none of MLflow's has; send no others.")
        body = b"".join([piece async for piece in pieces(request, 1024 * KIB, too_large)])
        digest = hmac.new(self._secret, b".".join((id, date, body)), hashlib.sha256).digest()
        if not hmac.compare_digest(signature, b"v1," + base64.b64encode(digest)):
            raise Problem(403, f"The letter is not signed with the secret in {SECRET}; give it to MLflow's webhook.")
        self._due = True
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._due:
            self._due = False
            try:
                await self._tell()
            except Exception as error:
                logger().error("Replicas did not hear of MLflow's webhook, and look later: %s", error)
            await asyncio.sleep(REST_SECONDS)
        self._telling = None


def add_webhook(app: FastAPI, webhook: Webhook, seconds: float) -> None:
    """seconds: that a letter may take to arrive."""

    refused = problems(403, 408, 413)

    @app.post(WEBHOOK, status_code=202, response_class=Response, responses=refused, openapi_extra=LETTER)
    async def letter(request: Request) -> Response:
        """For MLflow's server: an alias was moved, and all replicas look what theirs means now. It needs no key, as it
        is signed."""
        async with in_time("letter", seconds):
            await webhook.take(request)
        return Response(status_code=202)


def _require_new(date: bytes) -> None:
    # Not int() at once: a number of thousands of digits is an error of its own.
    known = date.isdigit() and len(date) < 16
    if not known or abs(time.time() - int(date)) > OLD_SECONDS:
        when = "has no date" if not known else f"is dated more than {OLD_SECONDS} s from this clock"
        raise Problem(403, f"The letter {when} in {DATE}; MLflow's clock and this one must agree.")
