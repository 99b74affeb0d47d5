"""A study whose stores are away in the middle: it waits a while, then stops in one sentence and goes on later."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.fakes import GOAL, experiment, trials
from visage.config import Experiment
from visage.errors import UserError
from visage.infra import patience
from visage.search.study.records import load_study
from visage.search.tune import tune

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
ALL = list(range(100, GOAL + 1, 100))
STORES = ("optuna.db", "mlflow.db")


def losing(folder: Path, *names: str) -> Callable[[Experiment, Path], Any]:
    """Trials that move a database away, each once and in its middle, before it tells what it reached: the second trial
    the first database, and so on."""

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        with (folder / "steps").open("a") as steps:
            steps.write(f"{number} {images}\n")
        if number and number <= len(names) and images == 300 and not (folder / f"once-{number}").exists():
            (folder / f"once-{number}").touch()
            (folder / names[number - 1]).rename(folder / f"moved-{number}")
        return images / GOAL

    return trials(behaviour)


def whole(folder: Path, asked: Experiment) -> None:
    """Nothing was lost or done twice: three complete trials, each with every point of its curve in MLflow."""
    from mlflow import MlflowClient

    done = [line.split() for line in (folder / "steps").read_text().splitlines()]
    assert {number: [int(images) for one, images in done if one == number] for number in "012"} == dict.fromkeys(
        "012", ALL
    )
    client = MlflowClient(asked.registry.tracking_uri)
    kept = load_study("test", asked.search.storage).trials
    assert [trial.user_attrs["state"] for trial in kept] == ["complete"] * 3
    for trial in kept:
        run = client.get_run(trial.user_attrs["run_id"])
        assert (run.data.tags["visage.state"], run.info.status) == ("complete", "FINISHED")
        curve = client.get_metric_history(run.info.run_id, "score")
        assert sorted(point.step for point in curve) == ALL


def test_stores_that_come_back_cost_nothing(tmp_path: Path) -> None:
    """First the database of the study, then that of its runs."""

    def bring_back() -> None:
        for number, name in enumerate(STORES, 1):
            moved = tmp_path / f"moved-{number}"
            for _ in range(6_000):
                if moved.exists():
                    time.sleep(3)
                    moved.replace(tmp_path / name)
                    break
                time.sleep(0.05)

    threading.Thread(target=bring_back, daemon=True).start()
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, concurrency=1)
    assert tune(asked, trials=losing(tmp_path, *STORES)).complete == 3
    whole(tmp_path, asked)


@pytest.mark.soak
@pytest.mark.parametrize("patient", [True, False])
def test_a_server_that_is_stopped_and_started_again(
    tmp_path: Path, stoppable: Any, patient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        with (tmp_path / "steps").open("a") as steps:
            steps.write(f"{number} {images}\n")
        if number == 1 and images == 300 and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            while not (tmp_path / "stopped").exists():
                time.sleep(0.05)
        return images / GOAL

    def stop_and_start() -> None:
        while not (tmp_path / "once").exists():
            time.sleep(0.05)
        stoppable.stop()
        (tmp_path / "stopped").touch()
        if patient:
            time.sleep(5)
            stoppable.start()

    thread = threading.Thread(target=stop_and_start, daemon=True)
    thread.start()
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, concurrency=1, storage=stoppable.address)
    if patient:
        assert tune(asked, trials=trials(behaviour)).complete == 3
    else:
        monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.5)
        with pytest.raises(
            UserError, match=r"^search\.storage = postgresql:.*; then go on with --resume\.$"
        ) as stopped:
            tune(asked, trials=trials(behaviour))
        assert "\n" not in str(stopped.value)
        stoppable.start()
        assert tune(asked, trials=trials(behaviour), resume=True).complete == 3
    thread.join()
    whole(tmp_path, asked)


def test_a_store_that_stays_away_stops_the_study_which_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: for the study's database, and when it goes on for that of its runs."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.5)
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, concurrency=1)
    for number, (name, fault) in enumerate(zip(STORES, ("search.storage", "tracking_uri"), strict=True), 1):
        with pytest.raises(UserError, match=rf"^{fault} = sqlite:.*; then go on with --resume\.$") as stopped:
            tune(asked, trials=losing(tmp_path, *STORES), resume=number > 1)
        assert "\n" not in str(stopped.value)
        (tmp_path / f"moved-{number}").replace(tmp_path / name)
    assert tune(asked, trials=losing(tmp_path, *STORES), resume=True).complete == 3
    whole(tmp_path, asked)


@pytest.mark.parametrize("patient", [True, False])
def test_a_trial_whose_files_are_refused_makes_one_run(
    tmp_path: Path, patient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store of files is away when the first trial ends with a picture, and that of runs is there."""
    from mlflow import MlflowClient

    files, moved = tmp_path / "mlartifacts", tmp_path / "moved"

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        with (tmp_path / "steps").open("a") as steps:
            steps.write(f"{number} {images}\n")
        if number == 0 and images == GOAL:
            files.rename(moved)
            files.touch()
        return images / GOAL

    def bring_back() -> None:
        files.unlink()
        moved.rename(files)

    def wait_and_bring_back() -> None:
        while not moved.exists():
            time.sleep(0.05)
        time.sleep(4)
        bring_back()

    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, concurrency=1)
    if patient:
        threading.Thread(target=wait_and_bring_back, daemon=True).start()
        result = tune(asked, trials=trials(behaviour))
    else:
        monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.5)
        with pytest.raises(UserError, match=r"^tracking_uri = sqlite:.*; then go on with --resume\.$"):
            tune(asked, trials=trials(behaviour))
        bring_back()
        result = tune(asked, trials=trials(behaviour), resume=True)
    whole(tmp_path, asked)
    client = MlflowClient(asked.registry.tracking_uri)
    home = [client.get_run(result.run_id).info.experiment_id]
    runs = client.search_runs(home, "tags.visage.kind = 'trial'")
    assert len(runs) == 3
    for run in runs:
        assert [file.path for file in client.list_artifacts(run.info.run_id, "faces")] == ["faces/last.png"]


def test_files_that_are_away_when_a_study_ends_are_waited_for(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    files, moved = tmp_path / "mlartifacts", tmp_path / "moved"

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        if number == 2 and images == GOAL:
            files.rename(moved)
            files.touch()
        return images / GOAL

    def bring_back() -> None:
        while not moved.exists():
            time.sleep(0.05)
        time.sleep(8)
        files.unlink()
        moved.rename(files)

    threading.Thread(target=bring_back, daemon=True).start()
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, concurrency=1)
    result = tune(asked, trials=trials(behaviour))
    client = MlflowClient(asked.registry.tracking_uri)
    assert {file.path for file in client.list_artifacts(result.run_id)} >= {"experiment.yaml", "study"}
    assert client.get_run(result.run_id).data.tags["visage.state"] == "complete"
