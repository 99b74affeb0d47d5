"""Batches that are drawn ahead of their steps: the same ones, by a thread that draws no further and ends in time."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_loop import Judged, ignore
from visage.config import Experiment, replaced
from visage.faces.sampling import Swaps, Tuples
from visage.training.ahead import Ahead
from visage.training.loop import train
from visage.training.trainer import Place, Trainer

EFT = {
    "method": {"name": "eft", "width": 8, "discriminator_width": 8, "related": 8},
    "loss": {"triplet": {"weight": 0.5}},
}


def until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < end, "was not seen in time"
        time.sleep(0.01)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, str]]:
    """(first tuple, tuples, thread) of each batch that is drawn."""
    found: list[tuple[int, int, str]] = []

    for kind in (Tuples, Swaps):

        def noting(self: Any, first: int, count: int, draw: Any = kind.batch) -> Any:
            found.append((first, count, threading.current_thread().name))
            return draw(self, first, count)

        monkeypatch.setattr(kind, "batch", noting)
    return found


@pytest.mark.parametrize("changes", [{}, EFT], ids=["ucgan", "eft"])
def test_the_next_batch_is_drawn_beside_the_step_and_none_after_it(
    judged: Judged, experiment: Experiment, changes: dict[str, Any], noted: list[tuple[int, int, str]]
) -> None:
    """By the second of two workers, whose share of each batch of eight begins at its fifth."""
    sections = {"data": experiment.data.model_dump(), "train": experiment.train.model_dump()}
    other = Experiment.model_validate(sections | changes) if changes else experiment
    trainer = Trainer(other, *judged, Place(rank=1, workers=2))
    noted.clear()
    for step in range(1, 4):
        trainer.step()
        until(lambda step=step: len(noted) > step)  # type: ignore[misc]
        time.sleep(0.1)
        assert [(first, count) for first, count, _ in noted] == [(8 * k + 4, 4) for k in range(step + 1)]
    assert threading.current_thread().name not in {thread for *_, thread in noted}


@pytest.mark.parametrize("depth", [1, 3])
def test_after_a_leap_what_was_drawn_is_let_go(depth: int) -> None:
    drawn = Ahead(lambda first: f"from {first}", 8, depth)
    assert [drawn.at(first) for first in (0, 8, 40, 48, 48, 0)] == [f"from {n}" for n in (0, 8, 40, 48, 48, 0)]
    drawn.close()


def test_as_many_are_drawn_ahead_as_asked_for_and_after_an_error_the_same_again() -> None:
    begun: list[int] = []

    def draw(first: int) -> int:
        begun.append(first)
        if begun == [0, 8, 16]:
            raise OSError("a shard is gone")
        return first

    drawn = Ahead(draw, 8, 3)
    assert drawn.at(0) == 0
    until(lambda: begun == [0, 8, 16, 24])
    assert drawn.at(8) == 8
    with pytest.raises(OSError, match="a shard is gone"):
        drawn.at(16)
    assert [drawn.at(first) for first in (16, 24, 32)] == [16, 24, 32]
    drawn.close()


@pytest.mark.parametrize("fails", [False, True])
def test_its_error_is_the_step_s_and_the_thread_ends_with_the_training(
    judged: Judged, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    batch = Tuples.batch

    def failing(self: Tuples, first: int, count: int) -> Any:
        if fails and first == 16:
            raise OSError("the disk of the faces is gone")
        return batch(self, first, count)

    monkeypatch.setattr(Tuples, "batch", failing)
    before, short = set(threading.enumerate()), replaced(experiment, {"train.images": 32})
    points: list[Any] = []
    if fails:
        with pytest.raises(OSError, match="the disk of the faces is gone"):
            train(replaced(short, {"train.evaluate_every": 8}), judged[0], tmp_path, points.append, networks=judged[1])
        assert [point.images for point in points] == [8, 16]
    else:
        train(short, judged[0], tmp_path, ignore, networks=judged[1])
    assert {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("drawing")} == set()
