"""One run in its folder: in this process, or under Ray Train; resumable either way."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config import Experiment
from visage.config.experiment import Train
from visage.errors import NotWritten, UserError
from visage.training.progress import Progress, Report
from visage.training.resources import worker_threads
from visage.training.run_folder import RunFolder

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.judges import Judges
    from visage.judging.networks.train import FaceNetworks

POLL_SECONDS = 0.5


def run(
    experiment: Experiment, faces: "FaceSet", networks: "FaceNetworks", folder: RunFolder, report: Report, *,
    resume: bool = False,
) -> Progress:  # fmt: skip
    """Train and return the last evaluation: in this process, or on a Ray for several workers or at a RAY_ADDRESS.

    The caller has the folder's lock.
    """
    if not under_ray(experiment.train):
        return run_here(experiment, faces, networks, folder, report, resume=resume)
    from visage.infra.ray_session import local_ray
    from visage.training.resources import room

    with local_ray():
        room(experiment.train)  # Ray would wait for ever for what is not there
        return run_on_ray(experiment, folder, report, resume=resume)


def run_here(
    experiment: Experiment, faces: "FaceSet", networks: "FaceNetworks", folder: RunFolder, report: Report, *,
    resume: bool, judges: "Judges | None" = None,
) -> Progress:  # fmt: skip
    """Train in this process and return the last evaluation.

    folder: receives the journal with every point, faces/ (pictures of the validation people) and checkpoint/. report:
    hears of an evaluation when journal and copy have it, and of the last two once more when the run goes on, as it may
    have been killed before that. judges: of the validation people, where the caller has them. Raises Diverged, and
    NotWritten where the last checkpoint cannot be copied.
    """
    from visage.training.loop import train

    def note(point: Progress) -> None:
        if point.metrics is None or point.images not in known:  # a run that was at its end is looked at again
            folder.append(point)
        report(folder.upload_after(point, last=point.images >= experiment.train.images))

    with _copied_when_cut_off(folder):
        start = folder.rewind(resume=resume)
        known = {point.images for point in folder.evaluations()}
        tell_again(folder, report)
        return train(experiment, faces, folder.path, note, networks=networks, resume=start, judges=judges)


def run_on_ray(experiment: Experiment, folder: RunFolder, report: Report, *, resume: bool) -> Progress:
    """Train by workers of the Ray that this process is connected to, and return the last evaluation.

    folder: receives the journal and the pictures of the evaluations, which alone are reported, and checkpoint/. report:
    hears of an evaluation when journal and copy have it, and of the last two once more when the run goes on. Raises
    Diverged, and NotWritten where the last checkpoint cannot be copied.
    """
    from visage.config import replaced
    from visage.infra.ray_session import root
    from visage.training.ray_train import Journal, train_on_ray

    # Workers have another working directory.
    experiment = replaced(experiment, {"data.dir": experiment.data.dir.absolute()})
    finished = threading.Event()
    last, faults = Progress(0), list[BaseException]()

    def follow(position: int) -> None:
        nonlocal last
        try:
            for point in _followed(folder.journal, position, finished):
                last = folder.upload_after(point, last=point.images >= experiment.train.images)
                report(last)
        except BaseException as fault:  # of a thread nobody would hear it
            faults.append(fault)

    with _copied_when_cut_off(folder):
        start = folder.rewind(resume=resume)
        tell_again(folder, report)
        position = folder.journal.stat().st_size if folder.journal.exists() else 0
        follower = threading.Thread(target=follow, args=[position], daemon=True)
        follower.start()
        try:
            train_on_ray(experiment, folder, callbacks=[Journal(folder.path.absolute())], resume=start is not None)
        except Exception as error:
            raise (root(error) if isinstance(root(error), UserError) else error) from None
        finally:
            finished.set()
            follower.join()
        if faults:
            raise faults[0]
    return last


def tell_again(folder: RunFolder, report: Report) -> None:
    """Report the last two evaluations in the journal, copied where they are not yet."""
    for point in folder.evaluations()[-2:]:
        report(folder.upload_after(point, last=False))


@contextmanager
def _copied_when_cut_off(folder: RunFolder) -> Iterator[None]:
    """On Ctrl-C the folder's copy is made up, without waiting for a bucket that is away."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            folder.upload()
        except NotWritten as away:  # the folder holds all, and is gone on from when it is beyond the copy
            raise KeyboardInterrupt(f"cut off without a last copy, as {str(away).rstrip('.')}") from None
        raise


def under_ray(train: Train) -> bool:
    return train.workers > 1 or bool(os.environ.get("RAY_ADDRESS"))


def threads(train: Train) -> int:
    """CPU threads that a run of `train` computes with when it starts now."""
    import torch

    return worker_threads(train) if under_ray(train) else torch.get_num_threads()


def _followed(journal: Path, position: int, finished: threading.Event) -> Iterator[Progress]:
    """The journal's points from a byte on, as they are written, until `finished` is set and all is read."""
    while True:
        last_round = finished.wait(POLL_SECONDS)
        if journal.exists():
            with journal.open() as lines:
                lines.seek(position)
                text = lines.read()
            whole = text[: text.rfind("\n") + 1]
            position += len(whole.encode())
            yield from map(Progress.from_json, whole.splitlines())
        if last_round:
            return
