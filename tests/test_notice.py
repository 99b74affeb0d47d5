"""Who hears of a study's end: an address or a command, told again where it fails, and never a secret shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from servers import running

from visage.config.experiment import Search
from visage.errors import UserError
from visage.workflows import notice as told
from visage.workflows.notice import Notice, told_at_the_end


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "PAUSE_SECONDS", 0.01)


def server(statuses: list[int]) -> tuple[FastAPI, list[dict[str, Any]]]:
    """Answers with these in turn, and keeps what it was told."""
    app, heard = FastAPI(), list[dict[str, Any]]()

    @app.post("/services/{secret}")
    async def hear(secret: str, request: Request) -> Response:
        heard.append({"secret": secret, **await request.json()})
        return Response(status_code=statuses.pop(0))

    return app, heard


def test_an_address_is_told_and_told_again_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    app, heard = server([500, 503, 200])
    monkeypatch.setenv("HOOK", "hush")
    with running(app) as url, told_at_the_end(Search(name="mine", notify=f"{url}/services/$HOOK")) as notice:
        notice.content["model"] = "visage-ucgan/7"
        notice.content["decision"] = "promoted"
    assert len(heard) == 3
    assert heard[2] == {
        "secret": "hush", "text": "study mine has ended: model visage-ucgan/7 and decision promoted",
        "ended": "complete", "study": "mine", "model": "visage-ucgan/7", "decision": "promoted",
    }  # fmt: skip


def test_a_command_reads_it_from_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", str(tmp_path / "a b.json"))
    with told_at_the_end(Search(notify="tee ${WHERE}")):
        pass
    assert json.loads((tmp_path / "a b.json").read_text())["ended"] == "complete"


@pytest.mark.parametrize(
    ("fault", "ended", "text"),
    [
        (UserError("postgresql://u:hush@db/x: is away; bring it back."), "failed", "study mine failed: postgresql"),
        (KeyboardInterrupt(), "cut off", "study mine was cut off"),
        (ZeroDivisionError("by zero"), "failed", "by zero"),
    ],
)
def test_a_study_that_fails_or_is_cut_off_says_so(tmp_path: Path, fault: BaseException, ended: str, text: str) -> None:
    with (
        pytest.raises(type(fault)),
        told_at_the_end(Search(name="mine", notify=f"tee {tmp_path}/heard.json")),
    ):
        raise fault
    heard = (tmp_path / "heard.json").read_text()
    assert json.loads(heard)["ended"] == ended
    assert text in json.loads(heard)["text"]
    assert "hush" not in heard


@pytest.mark.parametrize(
    ("whom", "reason"),
    [
        ("http://127.0.0.1:9/services/$HOOK", "refused"),
        ("false $HOOK", "ends with 1"),
        ("ls /none-$HOOK", "ends with 2"),
        ("no-such-command", "No such file"),
    ],
)
def test_who_cannot_be_told_costs_the_study_nothing(
    whom: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOK", "hush")
    with told_at_the_end(Search(notify=whom)):
        pass
    said = capsys.readouterr().out
    assert said.startswith(f"search.notify = {whom}: was not told")
    assert reason in said
    assert "hush" not in said


def test_nobody_is_told_where_nobody_is_named() -> None:
    with told_at_the_end(Search()) as notice:
        assert isinstance(notice, Notice)
