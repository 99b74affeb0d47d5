"""How often and when the clients ask again: against a server on this machine that answers by a script."""

import asyncio
import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.servers import running
from visage.client import Answer, AsyncClient, Client, ClientError, ModelInfo

MODEL = {"name": "visage-ucgan", "version": 3, "alias": "champion", "run_id": "a1", "of_later": 1}
INFO = MODEL | {"expressions": ["neutral", "happy"], "image_size": 64, "loaded_at": "2026-01-01T00:00:00+00:00"}
RESULT = {
    "expression": "happy",
    "intensity": 0.5,
    "image": base64.b64encode(b"pixels").decode(),
    "identity_similarity": 0.9,
    "expression_confidence": None,
}
ANSWER = {"results": [RESULT], "face": {"box": [1, 2, 3.5, 4], "landmarks": [[1, 2], [3, 4]]}, "model": MODEL}
Step = tuple[int, dict[str, str], bytes]


def ok(body: Any) -> Step:
    return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def problem(status: int, retry_after: str | None = None) -> Step:
    headers = {"content-type": "application/problem+json"}
    if retry_after is not None:
        headers["retry-after"] = retry_after
    document = {"type": "about:blank", "title": "x", "status": status, "detail": f"The sentence of {status}."}
    return status, headers, json.dumps(document).encode()


BROKEN: Step = (200, {"content-length": "1000"}, b"{")  # the server closes the connection before the end
SILENT: Step = (0, {}, b"")


class Script:
    """An ASGI application that gives its steps one after the other, the last for ever, and notes what was asked."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        step = self.steps[min(len(self.times), len(self.steps) - 1)]
        self.times.append(time.monotonic())
        self.headers.append({key.decode(): value.decode() for key, value in scope["headers"]})
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        if step is SILENT:
            await receive()  # returns when the caller has gone
            return
        headers = [(key.encode(), value.encode()) for key, value in step[1].items()]
        await send({"type": "http.response.start", "status": step[0], "headers": headers})
        await send({"type": "http.response.body", "body": step[2]})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Script, str]]:
    script = Script()
    with running(script) as url:
        yield script, url


@pytest.fixture
def script(server: tuple[Script, str]) -> Script:
    server[0].__init__()  # type: ignore[misc]
    return server[0]


@pytest.fixture
def url(server: tuple[Script, str]) -> str:
    return server[1]


def ask_sync(url: str, method: str, *arguments: Any, **options: Any) -> Any:
    with Client(url, **options) as client:
        return getattr(client, method)(*arguments)


def ask_async(url: str, method: str, *arguments: Any, **options: Any) -> Any:
    async def ask() -> Any:
        async with AsyncClient(url, **options) as client:
            return await getattr(client, method)(*arguments)

    return asyncio.run(ask())


Ask = Callable[..., Any]
both = pytest.mark.parametrize("ask", [ask_sync, ask_async])


@both
def test_answers_are_typed_and_unknown_fields_do_no_harm(ask: Ask, script: Script, url: str, tmp_path: Path) -> None:
    script.steps = [ok(ANSWER)]
    (tmp_path / "photo.jpg").write_bytes(b"the photograph")
    ask(url, "expressions", str(tmp_path / "photo.jpg"), ["happy"])
    answer = ask(url, "expressions", tmp_path / "photo.jpg", ["happy"])
    assert isinstance(answer, Answer)
    assert answer.results[0].image == b"pixels"
    assert answer.results[0].identity_similarity == 0.9
    assert (answer.box, answer.landmarks) == ((1, 2, 3.5, 4), ((1, 2), (3, 4)))
    assert (answer.model.name, answer.model.version) == ("visage-ucgan", 3)
    assert [b"the photograph" in body for body in script.bodies] == [True, True]
    script.steps = [ok(INFO)]
    model = ask(url, "model")
    assert isinstance(model, ModelInfo)
    assert model.expressions == ("neutral", "happy")


@pytest.mark.slow
@both
@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_told(ask: Ask, script: Script, url: str, status: int) -> None:
    script.steps = [problem(status, "1"), problem(status, "0"), ok(ANSWER)]
    answer = ask(url, "expressions", b"picture", patience=600)
    assert answer.results[0].expression == "happy"
    assert len(script.times) == 3
    assert script.times[1] - script.times[0] >= 1
    assert script.bodies[0].count(b"picture") == script.bodies[2].count(b"picture") == 1


@pytest.mark.slow
@both
def test_retry_after_may_be_a_date(ask: Ask, script: Script, url: str) -> None:
    # Dates have whole seconds, so this is more than one away.
    then = datetime.now(UTC) + timedelta(seconds=3)
    script.steps = [problem(503, format_datetime(then, usegmt=True)), ok(INFO)]
    assert ask(url, "model", patience=600).version == 3
    assert datetime.now(UTC) >= then.replace(microsecond=0)


@both
def test_without_retry_after_it_asks_again_by_itself(ask: Ask, script: Script, url: str) -> None:
    script.steps = [problem(503), problem(503, "soon"), ok(INFO)]
    assert ask(url, "model", patience=600).version == 3
    assert len(script.times) == 3


@both
def test_a_wait_beyond_its_patience_is_the_fault_itself(ask: Ask, script: Script, url: str) -> None:
    script.steps = [problem(429, "3600"), ok(INFO)]
    with pytest.raises(ClientError, match=r"^The sentence of 429\.$") as fault:
        ask(url, "model")
    assert (fault.value.status, fault.value.retry_after) == (429, 3600)
    assert len(script.times) == 1


@pytest.mark.slow
@both
def test_patience_bounds_all_attempts_together(ask: Ask, script: Script, url: str) -> None:
    script.steps = [problem(503, "1")]
    with pytest.raises(ClientError, match="The sentence of 503"):
        ask(url, "model", patience=2.5)
    assert 1 <= len(script.times) <= 3
    assert script.times[-1] - script.times[0] <= 2.5
    script.__init__()  # type: ignore[misc]
    script.steps = [problem(503, "0")]
    with pytest.raises(ClientError, match="The sentence of 503"):
        ask(url, "model", patience=0)
    assert len(script.times) == 1


@both
@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500])
def test_other_faults_are_not_asked_again(ask: Ask, script: Script, url: str, status: int) -> None:
    script.steps = [problem(status, "0"), ok(INFO)]
    with pytest.raises(ClientError, match=f"The sentence of {status}") as fault:
        ask(url, "model")
    assert fault.value.status == status
    assert len(script.times) == 1


@both
def test_a_fault_without_a_document_names_the_address(ask: Ask, script: Script, url: str) -> None:
    script.steps = [(502, {}, b"<h1>Bad gateway</h1>")]
    with pytest.raises(ClientError, match=r"/v1/model: answered 502 Bad Gateway; .*\.$"):
        ask(url, "model")


@both
def test_a_connection_that_broke_is_asked_again(ask: Ask, script: Script, url: str) -> None:
    script.steps = [BROKEN, ok(ANSWER)]
    assert ask(url, "expressions", b"picture", patience=600).results[0].image == b"pixels"
    script.__init__()  # type: ignore[misc]
    script.steps = [BROKEN]
    with pytest.raises(ClientError, match="the connection broke") as fault:
        ask(url, "model", patience=0)
    assert fault.value.status is None


@both
def test_silence_ends_with_the_timeout(ask: Ask, script: Script, url: str) -> None:
    script.steps = [SILENT]
    with pytest.raises(ClientError, match=r"no answer within 0\.5 seconds"):
        ask(url, "model", timeout=0.5)
    assert len(script.times) <= 1


@both
def test_health_is_told_at_once(ask: Ask, script: Script, url: str) -> None:
    script.steps = [problem(503, "1"), ok({"status": "ok"}), problem(401)]
    assert ask(url, "healthz") is False
    assert ask(url, "healthz") is True
    with pytest.raises(ClientError, match="401"):
        ask(url, "healthz")
    assert len(script.times) == 3


@both
def test_the_key_is_sent_and_never_shown(ask: Ask, script: Script, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script.steps = [ok(INFO)]
    monkeypatch.setenv("VISAGE_API_KEY", "of-the-environment")
    ask(url, "model")
    ask(url, "model", api_key="given")
    monkeypatch.delenv("VISAGE_API_KEY")
    ask(url, "model")
    sent = [headers.get("authorization") for headers in script.headers]
    assert sent == ["Bearer of-the-environment", "Bearer given", None]
    for bad in ("two words", "line\nend", "schlüssel"):
        with pytest.raises(ClientError, match="api_key") as fault:
            ask(url, "model", api_key=bad)
        assert bad not in str(fault.value)


@both
def test_nobody_there_is_said_at_once(ask: Ask) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        for address in (url, "127.0.0.1:8000", "ftp://127.0.0.1", "http://[broken"):
            with pytest.raises(ClientError, match=r"cannot be reached .*visage serve") as fault:
                ask(address, "model", patience=600)
            assert fault.value.status is None


def test_many_at_once(script: Script, url: str) -> None:
    script.steps = [problem(429, "0")] * 4 + [ok(ANSWER)]

    async def ask() -> list[Answer]:
        async with AsyncClient(url, patience=600) as client:
            return await asyncio.gather(*(client.expressions(b"picture") for _ in range(16)))

    assert len(asyncio.run(ask())) == 16
    assert len(script.times) == 20
