"""A run in its folder, killed anywhere: what it goes on to is what it would have been."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from visage.config import Experiment
from visage.config.experiment import Train
from visage.faces.faceset import FaceSet
from visage.infra.remote_store import Store
from visage.judging.networks.train import FaceNetworks
from visage.training import checkpoint
from visage.training.progress import Progress
from visage.training.run import run_here
from visage.training.run_folder import RunFolder

Judged = tuple[FaceSet, FaceNetworks]


class Killed(BaseException):
    """Nothing of the program hears of it, as of SIGKILL."""


def kill_at(function: Callable[..., Any], images: int, *, before: bool) -> Callable[..., Any]:
    """The function, which kills once beside its call that concerns the evaluation after so many images."""

    def deadly(first: Any, second: Any, **named: Any) -> Any:
        reached = second["images"] if isinstance(second, dict) else second.images
        if before and reached == images:
            raise Killed
        result = function(first, second, **named)
        if reached == images:
            raise Killed
        return result

    return deadly


def curve(folder: RunFolder) -> list[Progress]:
    """The journal without the places of files."""
    return [replace(point, faces=None, checkpoint=None) for point in folder.points()]


def digest(folder: RunFolder) -> str:
    average = checkpoint.load(folder.checkpoint)["ema"]
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in average.values())).hexdigest()


@pytest.fixture(scope="module")
def whole(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Experiment], RunFolder]:
    """The run that nobody interrupted, made once."""
    folder = RunFolder(tmp_path_factory.mktemp("whole"))

    def made(experiment: Experiment) -> RunFolder:
        if not folder.resumable():
            run_here(experiment, *judged, folder, lambda point: None, resume=False)
        return folder

    return made


@pytest.mark.parametrize(
    ("place", "name", "before"),
    [
        (checkpoint, "save", True),
        (checkpoint, "save", False),
        (RunFolder, "append", False),
        (RunFolder, "upload_after", False),
    ],
    ids=["before the checkpoint", "between checkpoint and journal", "before the copy", "before the report"],
)
def test_resume_equals_no_interruption(
    judged: Judged, experiment: Experiment, whole: Callable[[Experiment], RunFolder], tmp_path: Path,
    place: Any, name: str, before: bool,
) -> None:  # fmt: skip
    """Weights and every point of the curve, to the bit, and no evaluation that nobody heard of."""
    folder, heard = RunFolder(tmp_path), list[int]()

    def hear(point: Progress) -> None:
        if point.metrics is not None:
            heard.append(point.images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, kill_at(getattr(place, name), 32, before=before))
        with pytest.raises(Killed):
            run_here(experiment, *judged, folder, hear, resume=False)
    run_here(experiment, *judged, folder, hear, resume=folder.resumable())
    assert digest(folder) == digest(whole(experiment))
    assert curve(folder) == curve(whole(experiment))
    assert heard == [32, 64]


def test_the_last_evaluation_stands_in_the_journal_once(
    judged: Judged, experiment: Experiment, whole: Callable[[Experiment], RunFolder], tmp_path: Path
) -> None:
    """Killed between the last checkpoint and the journal, the run is at its end and is looked at again."""
    folder = RunFolder(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", kill_at(checkpoint.save, 64, before=False))
        with pytest.raises(Killed):
            run_here(experiment, *judged, folder, lambda point: None, resume=False)
    run_here(experiment, *judged, folder, lambda point: None, resume=True)
    assert curve(folder) == curve(whole(experiment))


def test_a_copy_that_was_cut_off_takes_no_point_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.of(tmp_path / "run", Train(storage=f"file://{tmp_path}/bucket"), "run")

    def reach(images: int) -> None:
        checkpoint.save(folder.checkpoint, {"images": images})
        folder.append(Progress(images))

    reach(8)
    folder.upload()
    reach(16)
    send = Store.send

    def deadly(store: Store, path: Path, name: str) -> None:
        send(store, path, name)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Store, "send", deadly)
        with pytest.raises(Killed):
            folder.upload()
    with folder.lock(resume=True):
        assert [point.images for point in folder.points()] == [8, 16]
