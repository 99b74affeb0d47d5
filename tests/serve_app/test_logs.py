"""Request ids, the log's lines, and that a photograph stays in memory. The application alone, without Ray."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from serve_app.logs import JsonLines, configure, logger
from serve_app.middleware import Around
from tests.serve_app.samples import face, held, png, run_alone
from tests.serve_app.test_faults import problem_of

pytestmark = pytest.mark.slow

Ask = Callable[..., httpx.Response]
ID = "x-request-id"


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What the endpoint logs, as it is written."""
    written: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(self.format(record)))

    handler, log = Kept(), logger()
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.INFO)
    yield written
    log.setLevel(before)
    log.removeHandler(handler)


@pytest.mark.parametrize("given", ["a", "4f1d-2b.C_9", "x" * 64])
def test_a_well_formed_id_is_taken_over(request_app: Ask, lines: list[dict[str, Any]], given: str) -> None:
    assert request_app("GET", "/healthz", headers={ID: given}).headers.get_list(ID) == [given]
    assert lines[-1]["request_id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "two words", 'a"b', "<script>", "a;b", "é".encode()])
def test_any_other_is_replaced(request_app: Ask, lines: list[dict[str, Any]], given: Any) -> None:
    headers = {} if given is None else {ID: given}
    one, two = (request_app("GET", "/healthz", headers=headers).headers.get_list(ID) for _ in range(2))
    assert len(one) == len(two) == 1
    assert one != two
    assert one[0].isalnum()
    assert [line["request_id"] for line in lines] == one + two


def test_refusals_and_faults_have_one_too(request_app: Ask, lines: list[dict[str, Any]]) -> None:
    class Nobody:
        def name_of(self, authorization: str) -> None: ...

    async def fail(job: Any) -> Any:
        raise RuntimeError("/secret/path")

    around: Any = Around(keys=Nobody())  # type: ignore[arg-type]
    files = {"image": ("face.png", png(face())), "aligned": (None, b"true")}
    for status, ask in (
        (401, lambda: request_app("GET", "/v1/model", around=around)),
        (404, lambda: request_app("GET", "/nothing")),
        (413, lambda: request_app("POST", "/v1/expressions", files={"image": bytes(600_000)})),
        (500, lambda: request_app("POST", "/v1/expressions", files=files, forward=fail)),
    ):
        answer = ask()
        problem_of(answer, status)
        assert lines[-1]["request_id"] == answer.headers[ID]
        assert lines[-1]["status"] == status
    # The fault's inside is in the log under the id that the answer names, and not in the answer.
    assert answer.headers[ID] in answer.json()["detail"]
    assert "secret" not in answer.text
    fault = lines[-2]
    assert fault["request_id"] == answer.headers[ID]
    assert fault["level"] == "ERROR"
    assert "/secret/path" in fault["exception"]


def test_a_line_tells_how_it_went_and_nothing_of_what_it_held(request_app: Ask, lines: list[dict[str, Any]]) -> None:
    content = png(face())
    files = {"image": ("my-private-name.png", content), "aligned": (None, b"true"), "expression": (None, b"happy")}
    headers = {"Authorization": "Bearer my-private-key", "User-Agent": "my-private-agent"}
    answer = request_app("POST", "/v1/expressions?a=my-private-query", files=files, headers=headers)
    request_app("GET", "/my-private-path")
    [line, other] = lines
    assert set(line) == {
        "time", "level", "message", "request_id", "method", "path", "status", "seconds", "caller", "bytes_in",
        "bytes_out",
    }  # fmt: skip
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/expressions", 200)
    assert line["bytes_in"] > len(content)
    assert line["bytes_out"] == len(answer.content)
    assert line["seconds"] > 0
    assert other["path"] == "other"
    assert "private" not in json.dumps(lines)


def test_a_caller_who_leaves_is_in_the_log(lines: list[dict[str, Any]]) -> None:
    from serve_app.logs import RequestIds
    from serve_app.middleware import Watch

    async def hang(*_: Any) -> None:
        await asyncio.sleep(600)

    async def leave() -> None:
        scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": []}
        app = RequestIds(Watch(hang, frozenset({"/healthz"}), None))
        task = asyncio.create_task(app(scope, hang, hang))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    assert [(line["path"], line["status"]) for line in lines] == [("/healthz", 499)]


def test_the_log_goes_to_standard_output_or_to_ray_serves(capfd: pytest.CaptureFixture[str]) -> None:
    log = logger()
    heard: list[logging.LogRecord] = []
    serve = logging.getLogger("ray.serve")
    listener = logging.Handler()
    listener.emit = heard.append  # type: ignore[method-assign]
    serve.addHandler(listener)
    try:
        for to in ("stdout", "serve"):
            configure(to)  # type: ignore[arg-type]
            log.info("request", extra={"request_id": to})
        assert [record.request_id for record in heard] == ["serve"]  # type: ignore[attr-defined]
        written = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert [line["request_id"] for line in written] == ["stdout"]
    finally:
        serve.removeHandler(listener)
        log.handlers.clear()
        log.setLevel(logging.NOTSET)


_opened: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _opened.append(str(arguments[0]))


@pytest.fixture
def opened_to_write() -> Iterator[list[str]]:
    """Files that this process opens to write into, those without a name included."""
    global _opened
    if not getattr(sys, "_visage_hook", False):
        sys.addaudithook(_hook)  # for good, as there is no way to remove one
        sys._visage_hook = True  # type: ignore[attr-defined]
    _opened = []
    yield _opened
    _opened = None


def test_a_large_photograph_is_never_in_a_file(bundle: Any, opened_to_write: list[str]) -> None:
    from serve_app.inference import Answers
    from serve_app.routes import build_app
    from visage.config.serving import Limits

    app = build_app(held(bundle), Answers(run_alone, megapixels=50, self_check=True), Limits(seconds=600))
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    request = {"files": {"image": ("photo.png", png(noise))}, "data": {"aligned": "true", "view": "photo"}}

    async def send(app: Any, path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post(path, **request)  # type: ignore[arg-type]

    # The framework's own way with forms writes one of this size into a file, so this test can see it.
    from starlette.requests import Request
    from starlette.responses import Response

    async def usual(scope: Any, receive: Any, send: Any) -> None:
        async with Request(scope, receive).form() as form:
            await Response(str(len(form)))(scope, receive, send)

    assert asyncio.run(send(usual, "/")).status_code == 200
    assert opened_to_write
    opened_to_write.clear()
    answer = asyncio.run(send(app, "/v1/expressions"))
    assert answer.status_code == 200
    assert len(answer.content) > 4_000_000
    assert opened_to_write == []
