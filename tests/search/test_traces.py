"""Traces of trials: a real study in a process of its own, and a receiver that reads what it is sent."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_cli import ROOT

from tests.otlp import receiver
from tests.search.fakes import SPACE
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks

Judged = tuple[FaceSet, FaceNetworks]

# Not the command, which would also judge and register the best one.
STUDY = """
from pathlib import Path
from visage.config import Experiment
from visage.config.read import read_config
from visage.search.tune import tune
tune(read_config(Experiment, Path("study.yaml")))
"""


def tune(
    faces: FaceSet, folder: Path, trials: int = 1, workers: int = 1, **more: str
) -> subprocess.CompletedProcess[str]:
    """A real study in a process of its own, with a Ray of its own."""
    settings: dict[str, Any] = {
        "data": {"dir": str(faces.dir)},
        "method": {"width": 8, "discriminator_width": 8},
        "train": {"images": 32, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8, "workers": workers},
        "judge": {"images": 4_000, "bootstrap": 100},
        "search": {"name": "anna-smith", "trials": trials, "space": SPACE, "scheduler": "none", "concurrency": 1},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    gone = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    environment |= {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}", **more}
    command = [sys.executable, "-c", STUDY]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=550)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(("count", "workers"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.soak)])
def test_a_trial_is_a_tree_of_its_stages(judged: Judged, tmp_path: Path, count: int, workers: int) -> None:
    with receiver() as received:
        done = tune(judged[0], tmp_path, count, workers, OTEL_SERVICE_NAME="studies", **received.variables)
    assert done.returncode == 0, done.stderr
    trials = received.named("trial")
    assert [trial.attributes["visage.number"] for trial in trials] == list(range(count))
    assert {trial.attributes["visage.state"] for trial in trials} == {"complete"}
    assert {trial.service for trial in trials} == {"studies"}
    for trial in trials:
        assert not trial.parent
        under = received.under(trial)
        assert set(under) == {"process", "mlflow", "ending"}
        assert [under.count(name) for name in ("process", "ending")] == [1, 1]
        (process,) = [span for span in received.named("process") if span.parent == trial.id]
        stages = received.under(process)
        loop = process
        if workers > 1:
            ranks = [span for span in received.named("worker") if span.parent == process.id]
            assert sorted(span.attributes["visage.rank"] for span in ranks) == [0, 1]
            loop = next(span for span in ranks if not span.attributes["visage.rank"])
        assert stages[0] == "start"
        assert stages[-1] == "release"
        evaluations = [span for span in received.named("evaluation") if span.parent == loop.id]
        assert sorted(span.attributes["visage.images"] for span in evaluations) == [16, 32]
        assert received.under(loop).count("checkpoint") == 2
        assert workers > 1 or stages.count("report") == 2
        assert all(span.trace == trial.trace for span in received.spans if span.parent in (trial.id, process.id))
    whole = b"".join(received.raw)
    for secret in (b"anna", str(tmp_path).encode(), b"loss"):
        assert secret not in whole
    assert {span.scope for span in received.spans} == {"visage"}  # MLflow's and Ray's own stay off


@pytest.mark.ray
@pytest.mark.soak
def test_a_receiver_that_is_away_holds_up_no_study(judged: Judged, tmp_path: Path) -> None:
    done = tune(judged[0], tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
