"""A trial that runs out of memory: its training is real, and so is the refusal of a batch beyond a limit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from visage.config import Experiment, replaced
from visage.faces.faceset import FaceSet
from visage.judging.train import FaceNetworks
from visage.search.trial import mark, told, with_endings
from visage.training import memory
from visage.training.loop import train
from visage.training.progress import Progress
from visage.training.trainer import Place, Trainer


def test_out_of_memory_is_tried_again_with_half_the_batch(
    judged: tuple[FaceSet, FaceNetworks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container whose memory holds a batch of 16 and not of 32; then in one that holds neither."""
    faces, networks = judged
    asked = Experiment.model_validate(
        {
            "data": {"dir": str(faces.dir), "size": 64},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 32, "batch": 32, "evaluate_every": 32, "evaluate_pairs": 16},
            "judge": {"images": 4000},
        }
    )
    trainer = Trainer(asked, faces, networks, Place())
    one, two = (memory.bytes_kept(trainer.method, trainer.batches.at(0, count), asked.train) for count in (1, 2))
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMIT", limit)
    results: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", results.append)
    batches: list[int] = []

    def attempt(last: dict[str, Any]) -> Callable[[Experiment, Path], None]:
        def run(chosen: Experiment, out: Path) -> None:
            def report(point: Progress) -> None:
                if point.metrics is not None:
                    tune.report(told({"images": point.images}, last, out))

            batches.append(chosen.train.batch)
            train(chosen, faces, out, report, networks=networks)

        return run

    limit.write_text(str((two - one) * 24))
    last: dict[str, Any] = {}
    config = {"number": 0, "values": {}, "study": "one"}
    mark(tmp_path, "one")
    with_endings(attempt(last), asked, tmp_path, config, last)
    assert batches == [32, 16]
    again = {"retried": "out of memory with train.batch = 32, began anew with 16", "train.batch": 16}
    assert results == [{"images": 32, **again}]

    # Cut off and started again, in another process, it still knows; and what was halved is not halved once more.
    results.clear()
    last = {}
    with_endings(
        attempt(last), replaced(asked, {"train.images": 64, "train.evaluate_every": 64}), tmp_path, config, last
    )
    assert batches == [32, 16, 16]
    assert results == [{"images": 32, **again}, {"images": 64, **again}]
    limit.write_text(str((two - one) * 2))
    results.clear()
    with_endings(attempt({}), asked, tmp_path, config, {})
    assert batches == [32, 16, 16, 16]
    assert "out of memory with train.batch = 32 and with 16: train.batch = 16: a step needs" in results[-1]["failed"]

    results.clear()
    last = {}
    with_endings(attempt(last), asked, tmp_path, config | {"number": 1}, last)
    assert batches == [32, 16, 16, 16, 32, 16]
    (failed,) = results
    assert failed["failed"].startswith(
        "out of memory with train.batch = 32 and with 16: train.batch = 16: a step needs"
    )
