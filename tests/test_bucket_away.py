"""A bucket that is away while a run works: the same for a training, a trial and a run of an ablation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visage.config import Experiment
from visage.errors import NotWritten
from visage.faces.faceset import FaceSet
from visage.infra import patience
from visage.infra.remote_store import content
from visage.judging.networks.train import FaceNetworks
from visage.search.ablation import run as ablation
from visage.search.trials.trial import folder_of, in_process
from visage.training import checkpoint
from visage.training.progress import Progress
from visage.training.run import run
from visage.training.run_folder import RunFolder

pytestmark = pytest.mark.slow

Judged = tuple[FaceSet, FaceNetworks]
Start = Callable[[], str | None]
"""Begins the run or goes on with it; returns the sentence with which it stopped, None at its end."""
EVALUATIONS = [16, 32, 48]


class Bucket:
    """A folder as a bucket that can be away."""

    def __init__(self, place: Path) -> None:
        self.place, self.address = place, f"file://{place}"
        self.moved = place.with_name("moved")
        place.mkdir()

    def leave(self) -> None:
        self.place.rename(self.moved)
        self.place.touch()

    def come_back(self) -> None:
        self.place.unlink()
        self.moved.rename(self.place)


@pytest.fixture
def bucket_folder(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "bucket")


@pytest.fixture
def experiment(judged: Judged, bucket_folder: Bucket) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"dir": judged[0].dir},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 48, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8}
            | {"storage": bucket_folder.address},
            "judge": {"images": 4_000, "bootstrap": 100},
            "ablation": {"seeds": [0], "variants": {"whole": {}, "flat": {"loss.pixel.weight": 0}}},
        }
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a trial tells Tune."""
    results: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.tune.report", results.append)
    return results


@pytest.fixture(params=["training", "trial", "ablation"])
def started(
    request: pytest.FixtureRequest, judged: Judged, experiment: Experiment, told: list[dict[str, Any]], tmp_path: Path
) -> tuple[RunFolder, Start]:
    out = tmp_path / "runs" / "one"
    if request.param == "trial":
        study, config = tmp_path / "study", {"number": 0, "values": {}, "study": "one", "place": "study/one"}

        def trial() -> str | None:
            in_process(experiment, study)(config)
            return told[-1].get("halted")

        return folder_of(experiment, study, config), trial

    folder = RunFolder.of(out, experiment.train, "ablation/runs/one" if request.param == "ablation" else "one")

    def begin() -> str | None:
        try:
            if request.param == "ablation":
                ablation._train(ablation.Run("whole", experiment, out))
            else:
                with folder.lock(resume=None) as resumed:
                    run(experiment, *judged, folder, lambda point: None, resume=resumed)
        except NotWritten as fault:
            return str(fault)
        return None

    return folder, begin


def at_evaluations(patch: pytest.MonkeyPatch, does: dict[int, Callable[[], None]]) -> None:
    """Do something when an evaluation stands in the journal and no copy has it yet, by its images."""
    append = RunFolder.append

    def noted(folder: RunFolder, point: Progress) -> None:
        append(folder, point)
        if point.metrics is not None and point.images in does:
            does.pop(point.images)()

    patch.setattr(RunFolder, "append", noted)


def evaluations(folder: RunFolder) -> list[int]:
    return [point.images for point in folder.points() if point.metrics is not None]


def copied(folder: RunFolder, to: Path) -> RunFolder:
    """What another machine finds in the bucket."""
    assert folder.remote
    assert folder.remote.get(to)
    return RunFolder(to)


def test_a_bucket_that_comes_back_costs_nothing(
    started: tuple[RunFolder, Start], bucket_folder: Bucket, told: list[dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, start = started
    at_evaluations(monkeypatch, {16: bucket_folder.leave, 32: bucket_folder.come_back})
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.0)  # nothing is waited for in the middle
    assert start() is None
    there = copied(folder, tmp_path / "copy")
    assert evaluations(there) == EVALUATIONS
    assert checkpoint.load(there.checkpoint)["images"] == 48
    if told:
        assert [result["images"] for result in told] == EVALUATIONS
        assert "is away or refuses" in told[0]["warning"]
        assert [len(result["faces"]) for result in told] == [0, 2, 1]
        for name, image in zip(("16", "32", "48"), (i for result in told for i in result["faces"]), strict=True):
            assert image.endswith(f"{name}.png")
            assert content(image)


def test_a_run_whose_last_checkpoint_has_no_copy_says_so_and_goes_on_later(
    started: tuple[RunFolder, Start], bucket_folder: Bucket, told: list[dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, start = started
    at_evaluations(monkeypatch, {32: bucket_folder.leave})
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.1)
    said = start()
    assert said
    assert f"{bucket_folder.address}/" in said
    assert said.endswith(f"; the last checkpoint is in {folder.path} alone.")
    assert evaluations(folder) == EVALUATIONS
    bucket_folder.come_back()
    told.clear()
    assert start() is None
    there = copied(folder, tmp_path / "copy")
    assert sorted(set(evaluations(there))) == EVALUATIONS
    assert checkpoint.load(there.checkpoint)["images"] == 48
    if told:
        assert [result["images"] for result in told] == [32, 48, 48]  # two told again, and its end looked at again


def test_another_machine_goes_on_from_the_copy(
    started: tuple[RunFolder, Start], experiment: Experiment, bucket_folder: Bucket, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The one before it died without its bucket: what that alone had is trained again."""
    folder, start = started

    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    at_evaluations(monkeypatch, {32: bucket_folder.leave, 48: die})
    with pytest.raises(Killed):
        start()
    bucket_folder.come_back()
    folder.path.rename(tmp_path / "dead")
    assert start() is None
    assert evaluations(folder) == EVALUATIONS
    there = copied(folder, tmp_path / "copy").path  # a trial that ended leaves its checkpoint there alone
    states = [checkpoint.load(where / "checkpoint") for where in (there, tmp_path / "dead")]
    assert all((states[0]["ema"][name] == value).all() for name, value in states[1]["ema"].items())
