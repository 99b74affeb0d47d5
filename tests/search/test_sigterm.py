"""SIGTERM, as Kubernetes sends it to a pod before it kills: a command ends as by Ctrl-C, and goes on later."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from test_cli import ROOT

from tests.search.fakes import SPACE
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks

Judged = tuple[FaceSet, FaceNetworks]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("command", "ignored"),
    [pytest.param("train", False, marks=pytest.mark.soak), ("train", True), ("tune", False)],
)
def test_a_command_ends_and_says_how_to_go_on(judged: Judged, tmp_path: Path, command: str, ignored: bool) -> None:
    """ignored: Ctrl-C is, as by a shell's `&`."""
    settings = {
        "data": {"dir": str(judged[0].dir)},
        "method": {"width": 8, "discriminator_width": 8},
        "train": {"images": 100_000, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8},
        "judge": {"images": 4_000, "bootstrap": 100},
        "search": {"name": "short", "trials": 2, "space": SPACE, "notify": "tee heard.json"},
    }
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(settings))
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment = {**kept, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    before: Callable[[], object] | None = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None
    process = subprocess.Popen(
        [sys.executable, "-m", "visage.cli", command, "short.yaml"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before,
    )  # fmt: skip
    while not list(tmp_path.glob("runs/**/faces/*.png")):  # an evaluation
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    assert {run.info.status for run in runs(tmp_path)} == {"RUNNING"}
    process.terminate()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2, said
    *progress, sentence = said.splitlines()
    assert all(" trials (" in line for line in progress), said  # and nothing of Ray's
    reached = "the study short was cut off after 0 of 2 trials, which are kept" if command == "tune" else "cut off"
    assert sentence == f"visage: {reached}; go on with: visage {command} short.yaml --resume"
    ended = runs(tmp_path)
    assert {(run.info.status, run.data.tags["visage.state"]) for run in ended} == {("KILLED", "killed")}
    assert len(ended) >= (2 if command == "tune" else 1)
    if command == "tune":
        assert json.loads((tmp_path / "heard.json").read_text())["ended"] == "cut off"


def runs(folder: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    home = client.get_experiment_by_name("visage")
    assert home
    return list(client.search_runs([home.experiment_id]))


def test_it_waits_for_the_end_of_what_must_not_be_cut() -> None:
    script = """if True:
        import signal
        from visage.infra.signals import end_by_sigterm_too, uninterrupted
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_by_sigterm_too()
        try:
            with uninterrupted():
                signal.raise_signal(signal.SIGTERM)
                print("whole")
            print("went on")
        except KeyboardInterrupt:
            print("ended")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT / "platform")
    assert done.stdout.split() == ["whole", "ended"], done.stderr
