"""Two studies in two processes on one database and one MLflow store, and `visage study` looking at one of them."""

import os
import pty
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.search.fakes import GOAL, experiment, trials
from visage.search.study.records import load_study
from visage.search.tune import tune

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

# Its second trial waits in the middle until the other study, and the look at this one, are over.
STUDY = """
    import time
    from pathlib import Path
    from tests.search.fakes import experiment, trials
    from visage.search.tune import tune

    folder = Path("{folder}")

    def behaviour(number, values, images):
        (folder / "begun").touch()
        if number == 1 and images == 300:
            while not (folder / "go").exists():
                time.sleep(0.05)
        return images / 900

    (folder / "ready").touch()
    while not (folder / "start").exists():
        time.sleep(0.01)
    asked = experiment(folder, "sqlite:///{folder}/mlflow.db", name="first", trials=3, concurrency=1)
    tune(asked, trials=trials(behaviour))
"""


def wait_for(there: Path, process: "subprocess.Popen[bytes]") -> None:
    while not there.exists():
        assert process.poll() is None
        time.sleep(0.05)


def shown_until(screen: int, words: str) -> str:
    """What a terminal shows until the words are there, or until its program ends; without colours and movements."""
    text = ""
    while words not in (plain := re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)):
        try:
            text += os.read(screen, 4_096).decode(errors="replace")
        except OSError:  # how a terminal without programs ends
            return plain
    return plain


def test_two_studies_in_two_processes_never_mix_and_one_is_watched(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    environment = os.environ | {"PYTHONPATH": f"platform{os.pathsep}.", "COLUMNS": "160", "TERM": "xterm"}
    environment.pop("RAY_ADDRESS", None)
    script = textwrap.dedent(STUDY).format(folder=tmp_path)
    first = subprocess.Popen([sys.executable, "-c", script], env=environment)
    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    asked = experiment(tmp_path, tracking, name="second", trials=3, objectives={"score": "max"})
    screen, terminal = pty.openpty()
    look = None
    try:
        wait_for(tmp_path / "ready", first)
        (tmp_path / "start").touch()  # both open the same new database now
        second = tune(asked, trials=trials(lambda number, values, images: images / GOAL))
        wait_for(tmp_path / "begun", first)
        command = [sys.executable, "-m", "visage.cli", "study", "first", "--storage", asked.search.storage]
        look = subprocess.Popen(command, env=environment, stdout=terminal, stderr=terminal)
        os.close(terminal)
        assert "1 of 3 trials (1 complete, 1 running)" in shown_until(screen, "1 of 3 trials (1 complete, 1 running)")
        (tmp_path / "go").touch()
        assert first.wait(500) == 0
        assert "repeat it: visage train --from-run" in shown_until(screen, "no words at all")
        assert look.wait(100) == 0
    finally:
        (tmp_path / "go").touch()
        for process in (first, look):
            if process and process.poll() is None:
                process.kill()
        os.close(screen)

    client = MlflowClient(tracking)
    places = set()
    for name, objectives in (("first", 2), ("second", 1)):
        study = load_study(name, asked.search.storage)
        assert [len(trial.values) for trial in study.trials] == [objectives] * 3
        assert [trial.number for trial in study.trials] == [0, 1, 2]
        for trial in study.trials:
            run = client.get_run(trial.user_attrs["run_id"])
            assert run.data.tags["mlflow.parentRunId"] == study.user_attrs["run_id"]
            assert run.info.run_name == f"{name}-{trial.number:04d}"
            assert float(run.data.params["loss.triplet.margin"]) == trial.params["loss.triplet.margin"]
            places.add(trial.user_attrs["checkpoint_path"])
    assert len(places) == 6
    assert second.run_id == load_study("second", asked.search.storage).user_attrs["run_id"]
