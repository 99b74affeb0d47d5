"""A study whose parts are killed in the middle: nothing that ended is lost or repeated, what ran goes on."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.search.fakes import GOAL, experiment, trials
from visage.config import replaced
from visage.errors import UserError
from visage.search.study import lock as driver
from visage.search.study.records import open_study, require_same_faces, study_folder
from visage.search.tune import tune

ALL = list(range(100, GOAL + 1, 100))

# Trial 1 stops at 300 images until somebody kills what is to be killed.
STUDY = """
    import time
    from pathlib import Path
    from tests.search.fakes import experiment, trials
    from visage.search.tune import tune

    folder = Path("{folder}")

    def behaviour(number, values, images):
        with (folder / "steps").open("a") as steps:
            steps.write(f"{{number}} {{images}}\\n")
        if number == 1 and images == 300:
            (folder / "there").touch()
            time.sleep(600)
        return images / 900

    try:
        tune(experiment(folder, "sqlite:///{folder}/mlflow.db", trials=3, concurrency=1), trials=trials(behaviour))
    except KeyboardInterrupt as cut:
        print(cut)
"""


def started(folder: Path) -> "subprocess.Popen[str]":
    """The study in a process group of its own, in the middle of its second trial."""
    script = textwrap.dedent(STUDY).format(folder=folder)
    environment = os.environ | {"PYTHONPATH": f"platform{os.pathsep}."}
    environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "15"  # a killed Ray is waited for a minute otherwise
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (folder / "there").exists():
        assert process.poll() is None
        time.sleep(0.1)
    return process


def of_ray(process: "subprocess.Popen[str]") -> list[int]:
    """The processes of the Ray that the driver started: its children's children too."""
    import psutil

    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def interrupt(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to Ray's processes too


def kill_driver(process: "subprocess.Popen[str]") -> None:
    process.kill()


def kill_ray(process: "subprocess.Popen[str]") -> None:
    for pid in of_ray(process):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    "end", [kill_driver, *(pytest.param(end, marks=pytest.mark.soak) for end in (interrupt, kill_ray))]
)
def test_a_study_that_was_cut_off_goes_on(tmp_path: Path, end: Callable[["subprocess.Popen[str]"], None]) -> None:
    from mlflow import MlflowClient

    process = started(tmp_path)
    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    asked = experiment(tmp_path, tracking, trials=3)
    with pytest.raises(UserError, match=r"^search\.name = test: another process runs this study; wait"):
        tune(asked, trials=trials(lambda number, values, images: images / GOAL), resume=True)
    end(process)
    said, _ = process.communicate(timeout=500)
    if end is interrupt:
        assert "cut off after 1 of 3 trials" in said
    steps = tmp_path / "steps"

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        with steps.open("a") as file:
            file.write(f"{number} {images}\n")
        return images / GOAL

    before = optuna.load_study(study_name="test", storage=asked.search.storage).trials
    assert before[0].state is TrialState.COMPLETE
    result = tune(asked, trials=trials(behaviour), resume=True)
    assert (result.trials, result.complete) == (3, 3)
    after = optuna.load_study(study_name="test", storage=asked.search.storage).trials
    assert [trial.number for trial in after] == [0, 1, 2]
    assert [trial.params for trial in after[:2]] == [trial.params for trial in before[:2]]
    assert [trial.user_attrs["run_id"] for trial in after[:2]] == [trial.user_attrs["run_id"] for trial in before[:2]]
    # The step in which it was cut off is the only one that is done twice.
    done = [line.split() for line in steps.read_text().splitlines()]
    assert [int(images) for number, images in done if number == "0"] == ALL
    assert [int(images) for number, images in done if number == "1"] == [100, 200, 300, *ALL[2:]]
    client = MlflowClient(tracking)
    for trial in after:
        run = client.get_run(trial.user_attrs["run_id"])
        assert run.data.tags["visage.state"] == "complete"
        assert run.info.status == "FINISHED"
        curve = client.get_metric_history(run.info.run_id, "score")
        assert sorted(point.step for point in curve) == ALL


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_trial_whose_process_dies_goes_on_in_another(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    steps = tmp_path / "steps"

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        with steps.open("a") as file:
            file.write(f"{number} {images}\n")
        died = tmp_path / f"{number} {images}"
        if number == 0 and images in (300, 500) and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return images / GOAL

    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    result = tune(experiment(tmp_path, tracking, trials=1), trials=trials(behaviour))
    assert (result.trials, result.complete) == (1, 1)
    assert [int(line.split()[1]) for line in steps.read_text().splitlines()] == [100, 200, 300, 300, 400, 500, *ALL[4:]]
    assert result.best is not None
    client = MlflowClient(tracking)
    assert client.get_run(result.best.run_id).data.tags["visage.restarts"] == "2"
    curve = client.get_metric_history(result.best.run_id, "score")
    assert sorted(point.step for point in curve) == ALL


def test_what_another_study_of_the_name_left_is_not_gone_on_from(tmp_path: Path) -> None:
    from visage.search.trials.trial import mark, restore_or_reset
    from visage.training.run_folder import RunFolder

    mark(tmp_path, "one")
    trial = RunFolder(tmp_path / "trial-0000")
    restore_or_reset(trial, tmp_path, {"number": 0, "study": "one"})
    trial.checkpoint.mkdir()
    restore_or_reset(trial, tmp_path, {"number": 0, "study": "one"})
    assert trial.checkpoint.is_dir()
    mark(tmp_path, "another")
    restore_or_reset(trial, tmp_path, {"number": 0, "study": "another"})
    assert trial.path.is_dir()
    assert not trial.checkpoint.exists()


def test_studies_of_one_name_leave_each_other_s_files_in_a_bucket(tmp_path: Path) -> None:
    """Two databases, one bucket, and two machines, the first of which has both studies one after the other."""
    from visage.search.trials.trial import folder_of, restore_or_reset

    asked = replaced(experiment(tmp_path, ""), {"train.storage": f"file://{tmp_path}/bucket"})
    folder, place = tmp_path / "studies" / "test", tmp_path / "bucket" / "studies"

    def trained(name: str, config: dict[str, Any], machine: Path = folder) -> set[str]:
        """What a trial finds when it begins, before it leaves a file of its own."""
        trial = folder_of(asked, machine, config)
        restore_or_reset(trial, machine, config)
        found = {path.name for path in trial.path.iterdir()}
        (trial.path / name).touch()
        trial.upload()
        return found - {"study"}

    one, two = ({"number": 0, "study": name, "place": f"test/{name}"} for name in ("one", "two"))
    assert trained("first", one) == set()
    assert trained("second", two) == set()
    assert trained("again", one) == {"first"}
    assert trained("elsewhere", two, tmp_path / "other" / "test") == {"second"}
    assert (place / "test" / "one" / "trial-0000" / "first").is_file()
    # A study that was begun before places held their study's id.
    early = {"number": 0, "study": "early", "place": ""}
    assert trained("early", early) == set()
    assert (place / "test" / "trial-0000" / "early").is_file()
    assert trained("later", early, tmp_path / "third" / "test") == {"early"}


def test_a_node_that_joined_without_the_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import tune

    from visage.search.trials.trial import with_endings

    results: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", results.append)
    folder = tmp_path / "of the driver alone"
    with_endings(
        lambda *_: None, experiment(tmp_path, ""), folder, {"number": 0, "values": {}, "study": "one", "place": ""}
    )
    [halted] = results
    assert f"this node does not see {folder}, " in halted["halted"]
    assert "give train.storage the address of a bucket." in halted["halted"]


def test_other_faces_or_judges_are_refused(tmp_path: Path) -> None:
    import json

    asked = experiment(tmp_path, "")
    card = asked.data.dir / "networks" / "networks.json"
    card.parent.mkdir(parents=True)
    written = {"faces": "a", "labels": "b", "files": {"judge": "c"}}
    card.write_text(json.dumps(written))
    study = open_study(asked, resume=False)
    require_same_faces(study, asked)
    require_same_faces(study, asked)
    for change, said in (({"faces": "d"}, "pixels"), ({"labels": "d"}, "names and split"), ({"files": {}}, "judges")):
        card.write_text(json.dumps(written | change))
        with pytest.raises(UserError, match=rf"^data\.dir = .*: the {said} changed since the study test was begun"):
            require_same_faces(study, asked)


def test_a_folder_that_cannot_hold_trials_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("no folder")
    asked = experiment(tmp_path, "")
    with (
        pytest.raises(UserError, match=r"^search\.storage = .* cannot be opened \(Not a directory\)"),
        driver.lock_folder(study_folder(asked), asked.search),
    ):
        pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_full_disk_stops_the_study_and_costs_no_trial(tmp_path: Path, disk: Path) -> None:
    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        import torch

        from visage.training import checkpoint

        if number == 1 and images == 300 and not (tmp_path / "filled").exists():
            (tmp_path / "filled").touch()
            (disk / "film").write_bytes(b"0" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        checkpoint.save(disk / str(number), {"images": images, "weights": torch.zeros(100_000)})
        return images / GOAL

    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, concurrency=1)
    with pytest.raises(
        UserError, match=r"the checkpoint cannot be written .*; free space .*; then go on with --resume\."
    ):
        tune(asked, trials=trials(behaviour))
    from visage.training import checkpoint

    assert checkpoint.load(disk / "1")["images"] == 200
    (disk / "film").unlink()
    result = tune(asked, trials=trials(behaviour), resume=True)
    assert (result.trials, result.complete) == (3, 3)
    assert len(optuna.load_study(study_name="test", storage=asked.search.storage).trials) == 3
