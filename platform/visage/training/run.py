"""One training run in a folder: in this process, or under Ray Train; resumable either way."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from visage.config import Experiment
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.train import FaceNetworks
from visage.training.progress import JOURNAL, Progress, Report, append

POLL_SECONDS = 0.5


def run(
    experiment: Experiment, faces: FaceSet, networks: FaceNetworks, out: Path, report: Report, *, resume: bool = False
) -> Progress:
    """Train in the folder `out` and return the last evaluation.

    out receives history.jsonl (every point), faces/ (pictures of the validation people) and checkpoint/. With one
    worker and no RAY_ADDRESS the loop runs here; else under Ray Train, whose evaluations alone are reported.
    Raises UserError when `out` holds a run and `resume` is not given, or the other way round.
    """
    journal, last_checkpoint = out / JOURNAL, out / "checkpoint"
    started = journal.exists() or last_checkpoint.exists()
    if started and not resume:
        raise UserError(f"{out}: holds a run already; add --resume to go on with it, or choose another --out.")
    if resume and not last_checkpoint.exists():
        raise UserError(f"{out}: holds no checkpoint to go on from; start the run without --resume.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error}); choose another --out.") from None
    start = last_checkpoint if resume else None
    if start:
        from visage.training.checkpoint import load

        forget_after(journal, load(start)["images"])
    if experiment.train.workers > 1 or os.environ.get("RAY_ADDRESS"):
        return _under_ray(experiment, faces, out, report, start)
    from visage.training.loop import train

    def note(point: Progress) -> None:
        append(out, point)
        report(point)

    return train(experiment, faces, out, note, networks=networks, resume=start)


def _under_ray(experiment: Experiment, faces: FaceSet, out: Path, report: Report, start: Path | None) -> Progress:
    from visage.config import replaced
    from visage.training.cluster import local_ray
    from visage.training.ray_train import Journal, train_on_ray

    # Workers have another working directory.
    experiment = replaced(experiment, {"data.dir": faces.dir.absolute()})
    finished = threading.Event()
    last = Progress(0)

    def follow() -> None:
        nonlocal last
        for point in _followed(out / JOURNAL, finished):
            last = point
            report(point)

    follower = threading.Thread(target=follow, daemon=True)
    with local_ray():
        follower.start()
        try:
            train_on_ray(experiment, out.absolute(), callbacks=[Journal(out.absolute())], resume=start)
        finally:
            finished.set()
            follower.join()
    return last


def _followed(journal: Path, finished: threading.Event) -> Iterator[Progress]:
    """The journal's points as they are written, from its present end on, until `finished` is set and all is read."""
    position = journal.stat().st_size if journal.exists() else 0
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


def forget_after(journal: Path, images: int) -> None:
    """Drop the points beyond a checkpoint: the resumed run reports them again."""
    if journal.exists():
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join(line for line in lines if Progress.from_json(line).images <= images))
