"""The server of a study's page: who is answered, with what, and what is said when a store is away."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import optuna
import pytest
from servers import running
from typer.testing import CliRunner

from tests.search.watch.conftest import SCORES, TOKEN
from tests.search.watch.samples import GOAL, curve_of, made
from visage.cli import app
from visage.errors import UserError
from visage.registry.tracking import Tracking
from visage.search.watch.guard import COOKIE, address
from visage.search.watch.looks import CurvesOf, Look, Studies
from visage.search.watch.server import build_app

pytestmark = pytest.mark.slow


def test_only_this_machine_s_own_names_are_answered(ask: Callable[..., httpx.Response], served: str) -> None:
    assert ask("study?name=test").status_code == 200
    port = httpx.URL(served).port
    assert ask("study?name=test", headers={"Host": f"localhost:{port}"}).status_code == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "", "[", "localhost:x"):
        refused = ask("study?name=test", headers={"Host": host})
        assert refused.status_code in (400, 421), host
        assert "0.62" not in refused.text


@pytest.mark.parametrize("path", ["", "study?name=test", "curves?name=test", "studies", "page/page.js"])
def test_nothing_is_told_without_the_token(ask: Callable[..., httpx.Response], path: str) -> None:
    for cookies in ({}, {COOKIE: TOKEN}):
        refused = ask(path, cookies=cookies)
        assert (refused.status_code, "visage study --web" in refused.text) == (401, True)
    assert ask(f"{path}{'&' if '?' in path else '?'}token=wrong").status_code == 401
    known = ask(path)
    assert known.status_code == 200
    assert "default-src 'none'" in known.headers["Content-Security-Policy"]
    assert "unsafe" not in known.headers["Content-Security-Policy"]
    assert known.headers["X-Content-Type-Options"] == "nosniff"


def test_the_printed_address_opens_the_study_and_loses_its_token(served: str) -> None:
    name = "a & b/ü?"
    printed = httpx.URL(address(httpx.URL(served).port or 0, TOKEN, name))
    with httpx.Client() as client:
        answer = client.get(printed)
        assert answer.status_code == 303
        assert "token" not in answer.headers["Location"]
        assert httpx.URL(answer.headers["Location"]).params["study"] == name
        cookie = answer.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert client.get(served).status_code == 200


def test_what_did_not_change_is_not_sent_again(ask: Callable[..., httpx.Response]) -> None:
    first = ask("study?name=test")
    again = ask("study?name=test", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_curves_are_those_of_mlflow_and_come_once(ask: Callable[..., httpx.Response]) -> None:
    found = {"left": 1, "curves": {}}
    curves: dict[str, list[list[float]]] = {}
    revision = 0
    while found["left"]:
        found = ask(f"curves?name=test&since={revision}").json()
        curves |= found["curves"]
        revision = found["revision"]
    for number, score in enumerate(SCORES):
        assert [tuple(point) for point in curves[str(number)]] == pytest.approx(curve_of(score, GOAL))
    assert len(curves["5"]) == 3
    assert len(curves["7"]) == 4
    assert ask(f"curves?name=test&since={revision}").json() == {"revision": revision, "curves": {}, "left": 0}


def test_only_the_curves_of_trials_that_run_are_read_again(tmp_path: Path) -> None:
    made(tmp_path, [0.3, 0.4], faces=False)
    storage = f"sqlite:///{tmp_path}/optuna.db"
    look, curves = Look("test", storage), CurvesOf()
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "visage")
    asked: list[str] = []

    class Noting:
        def curve(self, run_id: str, metric: str) -> list[tuple[int, float]]:
            asked.append(run_id)
            return tracking.history(run_id, metric)

    first = curves.since(0, look.known(), Noting())  # type: ignore[arg-type]
    assert first.left == 0
    assert len(asked) == 5
    runs = [line.run_id for line in look.known().lines if line.state == "running"]
    asked.clear()
    tracking.run(runs[0]).record([(500, {"score": 0.39})])
    again = curves.since(first.revision, look.known(), Noting())  # type: ignore[arg-type]
    assert asked == runs
    assert list(again.curves) == [4]
    assert again.curves[4][-1] == (500, 0.39)


def test_a_store_that_is_away_is_said_and_the_study_is_shown_without_it(tmp_path: Path) -> None:
    made(tmp_path, [0.3], faces=False)
    (tmp_path / "mlflow.db").rename(tmp_path / "moved.db")
    studies = Studies(f"sqlite:///{tmp_path}/optuna.db")
    with running(build_app(studies.storage, "t")) as url:
        cookies = {f"{COOKIE}-{httpx.URL(url).port}": "t"}
        away = httpx.get(f"{url}/curves?name=test", cookies=cookies)
        assert away.status_code == 503
        assert away.json()["fault"].startswith(f"tracking_uri = sqlite:///{tmp_path}/mlflow.db: is not there")
        assert not (tmp_path / "mlflow.db").exists()
        assert httpx.get(f"{url}/study?name=test", cookies=cookies).json()["counts"]["complete"] == 1
        (tmp_path / "moved.db").rename(tmp_path / "mlflow.db")
        assert "0" in httpx.get(f"{url}/curves?name=test", cookies=cookies).json()["curves"]
        unknown = httpx.get(f"{url}/study?name={quote('<b>no</b>')}", cookies=cookies)
        assert unknown.status_code == 503
        assert unknown.headers["Content-Type"] == "application/json"
        assert "there is no such study" in unknown.json()["fault"]
        assert httpx.get(f"{url}/studies", cookies=cookies).json() == {"names": ["test"]}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_what_to_open_and_ends_by_ctrl_c(
    watched: tuple[Path, optuna.Study], ending: signal.Signals
) -> None:
    storage = f"sqlite:///{watched[0]}/optuna.db"
    command = [sys.executable, "-m", "visage.cli", "study", "test", "--web", "--storage", storage, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": "platform:."}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        printed = process.stdout.readline().strip()
        with httpx.Client(follow_redirects=True) as client:
            assert "<title>Visage: a study</title>" in client.get(printed, timeout=60).text
        process.send_signal(ending)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("arguments", [["--web"], ["other", "--web"], []])
def test_a_study_that_is_not_there_is_one_sentence(watched: tuple[Path, optuna.Study], arguments: list[str]) -> None:
    storage = f"sqlite:///{watched[0]}/optuna.db"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["study", *arguments, "--storage", storage, "--port", port])
    said = {1: f"port {port}: is in use", 2: "other: there is no such study", 0: "NAME: is missing"}[len(arguments)]
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
