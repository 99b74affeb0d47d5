import json
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.registry.record import read_record
from visage.registry.store import open_store
from visage.registry.tracking import Tracking, flattened


@pytest.fixture
def tracking(store: str) -> Tracking:
    return Tracking(store, "visage")


def test_a_run_holds_what_it_was_given(tracking: Tracking):
    params = {"loss": {"pixel": {"weight": 100.0}, "form": "log"}, "search": {"space": {}}, "long": "x" * 9_000}
    run = tracking.start_run("one", tags={"visage.kind": "trial"}, params=params)
    run.log({"score": 0.25, "identity_similarity": 0.5}, step=1_000)
    run.log({"score": 0.75}, step=2_000)
    run.tag("visage.reason", "none")
    run.finish("complete")

    kept = tracking.client.get_run(run.run_id)
    assert kept.data.params["loss.pixel.weight"] == "100.0"
    assert kept.data.params["loss.form"] == "log"
    assert kept.data.params["search.space"] == "{}"
    assert len(kept.data.params["long"]) == 6_000
    assert kept.data.tags["visage.kind"] == "trial"
    assert kept.data.tags["visage.reason"] == "none"
    assert kept.data.tags["visage.version.torch"]
    assert kept.info.run_name == "one"
    assert tracking.history(run.run_id, "score") == [(1_000, 0.25), (2_000, 0.75)]
    assert tracking.history(run.run_id, "no_such_metric") == []


def test_more_parameters_than_one_call_takes(tracking: Tracking):
    run = tracking.start_run("many", params={f"key{index}": index for index in range(250)})
    assert len(tracking.client.get_run(run.run_id).data.params) == 250


def test_a_trial_is_a_child_of_its_study(tracking: Tracking):
    study = tracking.start_run("study")
    trial = tracking.start_run("trial", parent=study.run_id)
    children = tracking.client.search_runs([tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{study.run_id}'")
    assert [child.info.run_id for child in children] == [trial.run_id]


@pytest.mark.parametrize("call", ["create_run", "log_batch"])
def test_a_trial_whose_start_is_tried_again_has_one_run(tracking: Tracking, monkeypatch: pytest.MonkeyPatch, call: str):
    """The server takes the call, and its answer is lost."""
    from mlflow.exceptions import MlflowException

    study = tracking.start_run("study")
    answered = getattr(tracking.client, call)

    def lost(*given: Any, **named: Any) -> None:
        answered(*given, **named)
        raise MlflowException("no route to the server")

    def start(number: int) -> str:
        once = {"visage.trial": str(number)}
        return tracking.start_run("trial", parent=study.run_id, params={"a": 1}, once=once).run_id

    monkeypatch.setattr(tracking.client, call, lost)
    with pytest.raises(UserError, match="no route to the server"):
        start(7)
    monkeypatch.undo()
    begun, another = start(7), start(8)
    children = tracking.client.search_runs([tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{study.run_id}'")
    assert {child.info.run_id for child in children} == {begun, another}
    assert {child.info.status for child in children} == {"RUNNING"}
    assert all(child.data.params == {"a": "1"} for child in children)


def test_a_run_whose_start_is_refused_does_not_seem_to_run(tracking: Tracking, monkeypatch: pytest.MonkeyPatch):
    from mlflow.exceptions import MlflowException

    answered, refused = tracking.client.log_batch, []

    def once(*given: Any, **named: Any) -> None:
        if not refused:
            refused.append(given)
            raise MlflowException("no route to the server")
        answered(*given, **named)

    monkeypatch.setattr(tracking.client, "log_batch", once)
    with pytest.raises(UserError, match="no route to the server"):
        tracking.start_run("refused", params={"a": 1})
    [left] = tracking.client.search_runs([tracking.experiment_id], "attributes.run_name = 'refused'")
    assert (left.info.status, left.data.tags["visage.state"]) == ("FAILED", "failed")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("complete", "FINISHED"),
        ("pruned", "KILLED"),
        ("killed", "KILLED"),
        ("diverged", "FAILED"),
        ("failed", "FAILED"),
    ],
)
def test_endings(tracking: Tracking, state, status: str):
    run = tracking.start_run("ending")
    assert tracking.client.get_run(run.run_id).info.status == "RUNNING"
    run.finish(state)
    kept = tracking.client.get_run(run.run_id)
    assert (kept.info.status, kept.data.tags["visage.state"]) == (status, state)
    assert tracking.continue_run(run.run_id).run_id == run.run_id
    assert tracking.client.get_run(run.run_id).info.status == "RUNNING"


def test_pictures_and_folders_lie_beside_the_database(tracking: Tracking, store: str, tmp_path: Path):
    run = tracking.start_run("pictures")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "trials.json").write_text("[]")
    run.picture(b"picture", "faces/00001000.png")
    run.picture(tmp_path / "study" / "trials.json", "table.json")
    run.artifacts(tmp_path / "study", "study")
    kept = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts" / run.run_id / "artifacts"
    files = {str(path.relative_to(kept)): path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    assert files == {"faces/00001000.png": b"picture", "table.json": b"[]", "study/trials.json": b"[]"}


def test_several_points_go_in_one_call(tracking: Tracking):
    run = tracking.start_run("curve")
    run.record((step, {"score": step / 10, "loss/pixel": 1.0}) for step in range(1_200))
    assert tracking.history(run.run_id, "score") == [(step, step / 10) for step in range(1_200)]


@pytest.mark.slow
def test_a_run_keeps_its_experiment_without_passwords(tracking: Tracking, store: str):
    asked = Experiment.model_validate(
        {
            "data": {"dir": "faces", "layout": "synthetic", "people": 40},
            "optim": {"rate": 1.5e-05},
            "search": {
                "storage": "postgresql://me:hush-hush@host/db",
                "space": {"loss.pixel.weight": {"log_uniform": [0.1, 7]}},
                "final": {"train.images": 80_000},
            },
            "ablation": {"variants": {f"variant {k}": {"loss.pixel.weight": k} for k in range(400)}},
        }
    )
    run = tracking.start_run("whole", params=asked.model_dump(mode="json"), experiment=asked)
    kept = read_record(store, run.run_id, ["data.dir=elsewhere"]).experiment
    changed = {"data.dir": Path("elsewhere"), "registry.tracking_uri": store}
    assert kept == replaced(asked, changed | {"search.storage": "postgresql://me:***@host/db"})
    reason = "OperationalError: postgresql://me:hush-hush@host/db does not answer"
    run.note(reason)
    run.tag("visage.warning", reason)
    run.finish("failed", {"visage.reason": reason})
    beside = Path(store.removeprefix("sqlite:///")).parent
    files = [beside / "mlflow.db", *(beside / "mlartifacts").rglob("*")]
    assert not [file for file in files if file.is_file() and b"hush-hush" in file.read_bytes()]
    assert "me:***@host" in tracking.client.get_run(run.run_id).data.tags["visage.reason"]


def test_what_cannot_be_repeated_is_said(tracking: Tracking, store: str):
    with pytest.raises(UserError, match=r"keeps no experiment\.yaml"):
        read_record(store, tracking.start_run("bare").run_id)
    study = tracking.start_run("weights", tags={"visage.kind": "study"})
    with pytest.raises(UserError, match="is the whole study weights"):
        read_record(store, study.run_id)
    with pytest.raises(UserError, match=r"is not in .*; give a run_id"):
        read_record(store, "0" * 32)


def test_names_and_values_of_a_tree():
    tree = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": "text", "f": Path("x")}
    assert dict(flattened(tree)) == {"a.b": "1", "a.c": "[1, 2]", "d": "null", "e": "text", "f": '"x"'}


def test_two_objects_share_an_experiment(store: str):
    assert Tracking(store, "shared").experiment_id == Tracking(store, "shared").experiment_id


def test_a_deleted_experiment_is_named(store: str):
    tracking = Tracking(store, "gone")
    tracking.client.delete_experiment(tracking.experiment_id)
    with pytest.raises(UserError, match="gone: was deleted"):
        Tracking(store, "gone")


def test_an_unknown_run_is_one_sentence(tracking: Tracking):
    with pytest.raises(UserError, match="not found"):
        tracking.continue_run("0" * 32)


@pytest.mark.slow
def test_nothing_is_printed_and_no_folder_is_littered(tmp_path: Path):
    program = (
        "from visage.registry.tracking import Tracking\n"
        "run = Tracking('sqlite:///runs/mlflow.db', 'visage').start_run('one', params={'a': 1})\n"
        "run.log({'score': 1.0}, 1)\nrun.finish('complete')\n"
    )
    # Two at once: processes that make one schema side by side crash without the lock.
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "platform"), "PATH": "/usr/bin:/bin"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.communicate()[0] == ""
        assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("uri", ["", "runs/mlflow.db", "file:runs", "sqlite:///", "http://", "gopher://host"])
def test_an_address_of_another_kind(uri: str):
    with pytest.raises(UserError, match="is no store that Visage knows"):
        open_store(uri)


def test_a_path_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be opened .* can be written"):
        open_store(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(UserError, match="cannot be opened"):
        open_store("sqlite:////proc/nowhere/mlflow.db")


def test_a_file_that_is_no_database(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("these are no tables " * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_database_of_another_program(tmp_path: Path):
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('v3.0.0.d')")
    connection.close()
    with pytest.raises(UserError, match="holds no store"):
        open_store(f"sqlite:///{tmp_path}/other.db")


def test_a_server_that_is_not_there_is_told_at_once():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(UserError, match="no MLflow server answers"):
        open_store(f"http://127.0.0.1:{port}")
    assert time.monotonic() - start < 60  # MLflow's own calls retry for minutes


def test_models_of_pickles_stay_closed(store: str):
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION

    open_store(store)
    assert MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False


def test_ctrl_c_waits_for_the_store(tracking: Tracking) -> None:
    """Within a write it would leave the transaction open, and SQLite locked."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    run = tracking.start_run("x")
    sent: list[str] = []

    def interrupt(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT INTO metrics") and not sent:
            sent.append(statement)
            signal.raise_signal(signal.SIGINT)

    event.listen(Engine, "after_cursor_execute", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.log({"score": 0.5}, 1)
    finally:
        event.remove(Engine, "after_cursor_execute", interrupt)
    assert sent
    assert tracking.history(run.run_id, "score") == [(1, 0.5)]
    Tracking(tracking.uri, "visage").run(run.run_id).finish("killed")


def test_parameters_are_json(tracking: Tracking):
    run = tracking.start_run("json", params={"betas": (0.5, 0.999), "flip": True})
    params = tracking.client.get_run(run.run_id).data.params
    assert json.loads(params["betas"]) == [0.5, 0.999]
    assert params["flip"] == "true"


def test_another_program_s_database_stays_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    database = tmp_path / "other.db"
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE experiments (a int)")
    before = database.read_bytes()
    with pytest.raises(UserError, match="another program's tables, such as experiments"):
        Tracking(f"sqlite:///{database}", "visage")
    assert database.read_bytes() == before
    assert capfd.readouterr().err == ""


def test_a_full_disk_leaves_no_half_made_database(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as a full disk: the file cannot grow
    try:
        with pytest.raises(UserError, match="tracking_uri"):
            Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", "visage")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "mlflow.db").exists()
