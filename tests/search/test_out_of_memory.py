"""A trial that runs out of memory: its training is real, and so is the refusal of a batch beyond a limit."""

from pathlib import Path
from typing import Any

import pytest
from ray import tune

from visage.config import Experiment
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks
from visage.search.trials.trial import mark, with_endings
from visage.training import memory
from visage.training.loop import train
from visage.training.progress import Report
from visage.training.run_folder import RunFolder


def test_a_trial_without_room_fails_with_its_mend(
    judged: tuple[FaceSet, FaceNetworks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container whose memory holds no step."""
    faces, networks = judged
    asked = Experiment.model_validate(
        {
            "data": {"dir": str(faces.dir), "size": 64},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 32, "batch": 32, "evaluate_every": 32, "evaluate_pairs": 16},
            "judge": {"images": 4000},
        }
    )
    limit = tmp_path / "memory.max"
    limit.write_text("1000")
    monkeypatch.setattr(memory, "LIMIT", limit)
    results: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", results.append)
    mark(tmp_path, "one")

    def run(chosen: Experiment, folder: RunFolder, report: Report) -> None:
        train(chosen, faces, folder.path, report, networks=networks)

    with_endings(run, asked, tmp_path, {"number": 0, "values": {}, "study": "one", "place": ""})
    (failed,) = results
    assert failed["failed"].startswith("out of memory: train.batch = 32: a step needs about ")
    assert "use 1 or less" in failed["failed"]
