"""A look before hours are spent: what would fail is said with its mend, and nothing is made by looking."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_cli import visage_here

from serve_app.ingress import free_ports
from visage.config import Experiment, read_config
from visage.registry.tracking import Tracking
from visage.workflows.doctor import examine as examining
from visage.workflows.doctor import machine
from visage.workflows.doctor.machine import Looked
from visage.workflows.doctor.schema import Check, Examination

SEARCHED = "search: {trials: 10, space: {loss.triplet.margin: {uniform: [0.1, 1]}}}\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of faces that are drawn, and stores that are files."""
    for name in ("VISAGE_HOME", "VISAGE_STORAGE", "MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "mine.yaml"
    path.write_text("data: {dir: runs/faces, layout: synthetic}\n" + SEARCHED)
    return path


def examined(config: Path, *settings: str) -> tuple[int, Examination]:
    given = [part for setting in settings for part in ("--set", setting)]
    done = visage_here("doctor", str(config), *given, "--json", folder=config.parent)
    return done.returncode, Examination.model_validate_json(done.stdout)


def of(found: Examination, subject: str) -> Check:
    (check,) = (check for check in found.checks if check.subject == subject)
    return check


def test_a_machine_that_does_is_good_and_nothing_is_made(config: Path) -> None:
    status, found = examined(config)
    assert status == 0
    assert found.first() is None
    assert {check.subject for check in found.checks} >= {
        "versions", "clock", "GPUs", "shared memory", "disk", "folder", "faces", "MLflow", "study's database",
    }  # fmt: skip
    assert "will be prepared" in of(found, "faces").found
    assert "10 trials of 40,000 images" in found.estimate
    assert "no training like these" in found.estimate
    assert [path.name for path in config.parent.iterdir()] == ["mine.yaml"]
    done = visage_here("doctor", "mine.yaml", "--set", "search.trials=3", folder=config.parent)
    assert "next: visage tune mine.yaml --set search.trials=3" in done.stdout


@pytest.mark.parametrize(
    ("setting", "subject", "words"),
    [
        ("train.gpus_per_worker=1", "GPUs", ("none", "train.gpus_per_worker=0")),
        ("data.layout=null", "faces", ("runs/faces is not there", "visage prepare")),
        ("registry.tracking_uri=http://127.0.0.1:9", "MLflow", ("127.0.0.1:9",)),
        ("search.storage=postgresql://u:hush@127.0.0.1:9/x", "study's database", ("127.0.0.1:9",)),
        ("train.storage=file:///proc/none", "file:///proc/none", ("refuses", "can be written")),
        ("train.workers=400", "trials", ("do not fit", "add nodes")),
    ],
)
def test_what_would_fail_is_said_with_its_mend(
    config: Path, setting: str, subject: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    status, found = examined(config, setting, *(["train.batch=400"] if "400" in setting else []))
    assert status == 1
    broken = [check for check in found.checks if check.subject == subject and check.state == "broken"]
    assert broken
    assert broken[0].mend
    for word in words:
        assert word in " ".join(f"{check.found}; {check.mend}" for check in broken)
    assert "hush" not in found.model_dump_json()
    told = visage_here("doctor", str(config), "--set", setting, folder=config.parent).stdout
    assert "would fail first: " in " ".join(told.split()) or "400" in setting


def test_photographs_that_are_not_there_are_no_faces_to_be(config: Path) -> None:
    _, found = examined(config, "data.layout=kdef", f"data.source={config.parent}/KDEF")
    assert of(found, "faces").state == "broken"
    assert "KDEF, which is not there" in of(found, "faces").found


def test_a_home_that_cannot_be_written_is_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGE_HOME", "/proc")
    _, found = examined(config)
    assert of(found, "folder").state == "broken"
    assert "VISAGE_HOME" in of(found, "folder").mend


@pytest.mark.slow
def test_what_does_not_answer_is_given_up(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that takes the connection and says nothing."""
    monkeypatch.setattr(machine, "SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        began = time.monotonic()
        _, found = examined(config, "train.storage=s3://bucket/visage")
    assert of(found, "s3://bucket/visage").found == "no answer within 2 s"
    assert time.monotonic() - began < 60


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers so; yields its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    (port,) = free_ports(1)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield port
        server.shutdown()


@pytest.mark.parametrize(("status", "state"), [(200, "doubtful"), (404, "doubtful"), (401, "good")])
def test_a_port_that_answers_whoever_asks_is_doubtful(
    config: Path, monkeypatch: pytest.MonkeyPatch, status: int, state: str
) -> None:
    with answering(status) as port:
        monkeypatch.setattr(machine, "OPEN", (port,))
        monkeypatch.setattr(machine, "outward_address", lambda: "127.0.0.1")
        found = of(examined(config)[1], f"port {port}")
    assert found.state == state


def test_a_server_on_loopback_is_no_open_port(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "OPEN", free_ports(1))
    (port,) = machine.OPEN
    assert of(examined(config)[1], f"port {port}").found == "nothing that other machines reach"


def test_other_versions_and_clocks_are_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {**machine.installed(), "ray": "2.9.0"}
    monkeypatch.setattr(examining, "look", lambda *_: Looked([], there, time.time() - 100))
    _, found = examined(config)
    assert of(found, "versions").state == "broken"
    assert "ray 2.9.0 and not" in of(found, "versions").found
    assert of(found, "clock").state == "doubtful"
    assert "100 s" in of(found, "clock").found


@pytest.mark.slow
def test_hours_are_those_of_the_last_training_like_these(config: Path) -> None:
    experiment = read_config(Experiment, config, [f"registry.tracking_uri=sqlite:///{config.parent}/m.db"])
    tracking = Tracking(experiment.registry.tracking_uri, experiment.registry.experiment)
    for images, seconds in ((40_000, 7200), (20_000, 1800)):
        params = experiment.model_dump(mode="json")
        params["train"]["images"] = images
        log = tracking.start_run(f"of {images}", tags={"visage.kind": "train"}, params=params)
        log.finish("complete")
        began = tracking.client.get_run(log.run_id).info.start_time
        tracking.client.update_run(log.run_id, status="RUNNING")
        tracking.client.set_terminated(log.run_id, "FINISHED", began + 1000 * seconds)
    settings = (f"registry.tracking_uri=sqlite:///{config.parent}/m.db", "search.concurrency=1")
    _, found = examined(config, *settings)
    assert "at most about 10.0 h, as fast as of 20000" in found.estimate
    _, found = examined(config, *settings, "search.stop.hours=3")
    assert "3.0 h" in found.estimate or "180 min" in found.estimate
    _, found = examined(config, *settings, "method.width=8")
    assert "no training like these" in found.estimate
    params = experiment.model_dump(mode="json")
    params["method"]["width"] = 8
    study = tracking.start_run("study", tags={"visage.kind": "study"}, params=params)
    for name, state, seconds in (("first", "complete", 9000), ("last", "complete", 3600), ("poor", "pruned", 60)):
        log = tracking.start_run(name, study.run_id, {"visage.kind": "trial"})
        log.finish(state)  # type: ignore[arg-type]
        began = tracking.client.get_run(log.run_id).info.start_time
        tracking.client.update_run(log.run_id, status="RUNNING")
        tracking.client.set_terminated(log.run_id, "FINISHED", began + 1000 * seconds)
    study.finish("complete")
    _, found = examined(config, *settings, "method.width=8")
    assert "at most about 10.0 h, as fast as last" in found.estimate
