"""Real studies of real trainings, killed at several random moments: the long form of test_survival."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
import yaml

from tests.search.fakes import SPACE
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]
Study = subprocess.Popen[str]
TRIALS, IMAGES, EVERY = 4, 240, 24
POINTS = range(EVERY, IMAGES + 1, EVERY)


def interrupt(study: Study) -> None:
    os.killpg(study.pid, signal.SIGINT)  # a terminal sends it to Ray's processes too


def kill_driver(study: Study) -> None:
    study.kill()


def kill_ray(study: Study) -> None:
    for child in psutil.Process(study.pid).children(recursive=True):
        child.kill()


def kill_one(words: str) -> Callable[[Study], None]:
    """Kills one of the processes that Ray gave such a name."""

    def kill(study: Study) -> None:
        while True:
            for child in psutil.Process(study.pid).children(recursive=True):
                try:
                    if words in " ".join(child.cmdline()):
                        return child.kill()
                except psutil.NoSuchProcess:
                    continue
            assert study.poll() is None, "the study ended before it could be hit"
            time.sleep(0.02)

    return kill


kill_trial, kill_worker = kill_one("ImplicitFunc"), kill_one("RayTrainWorker")


def pictures(folder: Path) -> dict[Path, int]:
    """The pictures of all evaluations so far, and when each was written."""
    return {file: file.stat().st_mtime_ns for file in folder.glob("runs/studies/soak/trial-*/faces/*.png")}


def settled(folder: Path) -> dict[Path, int]:
    """Those that lie before a checkpoint for certain: of each trial all but the newest."""
    found = pictures(folder)
    newest = {max(file for file in found if file.parent == place) for place in {file.parent for file in found}}
    return {file: written for file, written in found.items() if file not in newest}


@pytest.mark.parametrize(
    ("kill", "workers", "moments"),
    [(interrupt, 1, 3), (kill_driver, 1, 3), (kill_ray, 1, 3), (kill_trial, 1, 2), (kill_worker, 2, 2)],
)
def test_a_study_outlives_what_is_killed(
    judged: tuple[FaceSet, FaceNetworks], tmp_path: Path, kill: Callable[[Study], None], workers: int, moments: int
) -> None:
    from mlflow import MlflowClient

    config = {
        "data": {"dir": str(judged[0].dir)},
        "method": {"width": 8, "discriminator_width": 8},
        "train": {"images": IMAGES, "batch": 8, "evaluate_every": EVERY, "evaluate_pairs": 8, "workers": workers},
        "judge": {"images": 4_000, "bootstrap": 100},
        "search": {"name": "soak", "trials": TRIALS, "space": SPACE, "scheduler": "none"},
    }
    (tmp_path / "soak.yaml").write_text(yaml.safe_dump(config))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "visage.cli", "tune", "soak.yaml"]
    storage = f"sqlite:///{tmp_path}/runs/optuna.db"

    def begin(*further: str) -> Study:
        return subprocess.Popen(
            [*command, *further], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    chance = random.Random(kill.__qualname__ + str(workers))
    at = sorted(chance.sample(range(3, TRIALS * len(POINTS) - 6), moments))
    before: dict[Path, int] = {}
    ended: dict[int, optuna.trial.FrozenTrial] = {}
    study = begin()
    try:
        for moment in at:
            while len(pictures(tmp_path)) < moment:
                assert study.poll() is None, study.communicate()[0]
                time.sleep(0.05)
            kill(study)
            goes_on = kill in (kill_trial, kill_worker)
            if not goes_on:
                said = study.communicate(timeout=600)[0]
                assert kill is not interrupt or "go on with: visage tune soak.yaml --resume" in said, said
            before |= settled(tmp_path)
            for trial in optuna.load_study(study_name="soak", storage=storage).trials:
                if trial.state.is_finished():
                    ended.setdefault(trial.number, trial)
            if not goes_on:
                study = begin("--resume")
        said = study.communicate(timeout=3_000)[0]
        assert study.returncode == 0, said
    finally:
        if study.poll() is None:
            os.killpg(study.pid, signal.SIGKILL)

    after = optuna.load_study(study_name="soak", storage=storage).trials
    assert [(trial.number, trial.user_attrs["state"]) for trial in after] == [(n, "complete") for n in range(TRIALS)]
    assert all(after[number] == trial for number, trial in ended.items())
    now = pictures(tmp_path)
    assert all(now[file] == written for file, written in before.items())  # no evaluation was made again
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    home = [client.get_experiment_by_name("visage").experiment_id]
    runs = client.search_runs(home, "tags.visage.kind = 'trial'")
    assert {run.info.run_id for run in runs} == {trial.user_attrs["run_id"] for trial in after}
    for run in runs:
        assert run.data.tags["visage.state"] == "complete"
        curve = client.get_metric_history(run.info.run_id, "score")
        assert sorted({point.step for point in curve}) == list(POINTS)
    print(f"{kill.__qualname__}, {workers} worker(s): hit at {at} of {TRIALS * len(POINTS)} evaluations")
