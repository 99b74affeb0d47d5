"""A study of trials that train nothing, whose driver is killed twenty times: nothing is lost, and nothing is twice."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import optuna
import pytest

from tests.search.fakes import GOAL

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]
TRIALS, KILLS = 200, 20

STUDY = """
    import sys
    from pathlib import Path
    from tests.search.fakes import experiment, trials
    from visage.search.tune import tune

    folder = Path("{folder}")
    asked = experiment(folder, "sqlite:///{folder}/mlflow.db", trials={trials}, sampler="tpe")
    tune(asked, trials=trials(lambda number, values, images: images / 900), resume=len(sys.argv) > 1)
"""


def ended(storage: str) -> int:
    """How many trials have their ending."""
    import sqlite3

    try:
        with sqlite3.connect(storage, timeout=60) as database:
            return int(database.execute("SELECT COUNT(*) FROM trials WHERE state != 'RUNNING'").fetchone()[0])
    except sqlite3.OperationalError:  # no table yet
        return 0


def test_twenty_kills_lose_no_trial_and_double_none(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    script = textwrap.dedent(STUDY).format(folder=tmp_path, trials=TRIALS)
    environment = os.environ | {"PYTHONPATH": f"platform{os.pathsep}.", "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)

    def begin(*further: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", script, *further], env=environment, start_new_session=True)

    chance = random.Random(16)
    at = sorted(chance.sample(range(1, TRIALS - 10), KILLS))
    study = begin()
    try:
        for moment in at:
            while ended(f"{tmp_path}/optuna.db") < moment:
                assert study.poll() is None, f"the study ended before trial {moment}"
                time.sleep(0.02)
            time.sleep(chance.random() / 2)
            study.kill()
            study.wait()
            study = begin("--resume")
        assert study.wait(3_000) == 0
    finally:
        if study.poll() is None:
            os.killpg(study.pid, signal.SIGKILL)

    kept = optuna.load_study(study_name="test", storage=f"sqlite:///{tmp_path}/optuna.db").trials
    assert [(trial.number, trial.user_attrs["state"]) for trial in kept] == [(n, "complete") for n in range(TRIALS)]
    assert len({str(trial.params) for trial in kept}) == TRIALS
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    home = [client.get_experiment_by_name("visage").experiment_id]
    runs = client.search_runs(home, "tags.visage.kind = 'trial'")
    assert sorted(int(run.data.tags["visage.trial"]) for run in runs) == list(range(TRIALS))
    assert {run.data.tags["visage.trial"]: run.info.run_id for run in runs} == {
        str(trial.number): trial.user_attrs["run_id"] for trial in kept
    }
    assert {(run.data.tags["visage.state"], run.info.status) for run in runs} == {("complete", "FINISHED")}
    steps = list(range(100, GOAL + 1, 100))
    for run in runs:
        curve = client.get_metric_history(run.info.run_id, "score")
        assert sorted({point.step for point in curve}) == steps
        assert len(curve) == len(steps)
