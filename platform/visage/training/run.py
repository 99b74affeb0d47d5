"""One training run in a folder: in this process, or under Ray Train; resumable either way."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from visage.config import Experiment
from visage.config.experiment import Train
from visage.errors import NotWritten, UserError
from visage.faces.faceset import FaceSet
from visage.infra.files import locked, write_whole
from visage.infra.remote_store import Store
from visage.judging.train import FaceNetworks
from visage.training.checkpoint import FILE, evaluation_in, load
from visage.training.progress import JOURNAL, Progress, Report, append
from visage.training.resources import worker_threads

CHECKPOINT = "checkpoint"
NOT_KEPT = ("ray", "bundle")  # Ray Train puts its folder into the storage itself; a bundle is made anew
POLL_SECONDS = 0.5


def run(
    experiment: Experiment, faces: FaceSet, networks: FaceNetworks, out: Path, report: Report, *, resume: bool = False
) -> Progress:
    """Train in the folder `out` and return the last evaluation.

    out receives history.jsonl (every point), faces/ (pictures of the validation people) and checkpoint/. With one
    worker and no RAY_ADDRESS the loop runs here; else under Ray Train, whose evaluations alone are reported. With
    `train.storage` the folder's files are copied there after each evaluation; a copy that fails is a warning.
    The caller holds the folder: see `lock_run`.
    """
    store = kept_at(experiment.train, place_of(out))
    if store is None:
        return _run(experiment, faces, networks, out, report, None, resume=resume)

    try:
        return _run(experiment, faces, networks, out, copying(store, out, report), store, resume=resume)
    except KeyboardInterrupt:
        try:
            store.push(out, skip=NOT_KEPT)
        except NotWritten as away:  # the folder holds all, and is gone on from when it is beyond the copy
            raise KeyboardInterrupt(f"cut off without a last copy, as {str(away).rstrip('.')}") from None
        raise


def copying(store: Store, out: Path, report: Report) -> Report:
    """The report, after each evaluation's files are copied from `out` to the store; a copy that fails is a warning."""

    def copied(point: Progress) -> None:
        if point.metrics is not None:
            try:
                store.push(out, skip=NOT_KEPT)
            except NotWritten as away:  # the next evaluation's copy makes up for it, and the folder holds all
                point = replace(point, warning=f"{str(away).rstrip('.')}; the training goes on without that copy.")
        report(point)

    return copied


def kept_at(train: Train, name: str) -> Store | None:
    """Where the files of a run or a trial are kept besides its own folder; None without `train.storage`."""
    return Store(train.storage) / name if train.storage else None


def place_of(out: Path) -> str:
    """The name of a run's folder in its storage: its path from the folder that the command runs in."""
    return os.path.relpath(out).replace("../", "").strip("/")


def _run(
    experiment: Experiment, faces: FaceSet, networks: FaceNetworks, out: Path, report: Report, store: Store | None, *,
    resume: bool,
) -> Progress:  # fmt: skip
    start = go_on(out, report, resume=resume)
    if under_ray(experiment.train):
        return _under_ray(experiment, faces, out, report, start, store)
    from visage.training.loop import train

    def note(point: Progress) -> None:
        append(out, point)
        report(point)

    return train(experiment, faces, out, note, networks=networks, resume=start)


def go_on(out: Path, report: Report, *, resume: bool) -> Path | None:
    """The checkpoint that a run goes on from, None of one that begins.

    The journal is brought level with it: points beyond it go, and an evaluation that nobody heard of, as the run was
    killed between the checkpoint and the journal, is told.
    """
    start = out / CHECKPOINT if resume else None
    state = load(start) if start else None
    known = forget_after(out / JOURNAL, state["images"] if state else 0)
    missed = evaluation_in(state) if state else None
    if missed and missed.images not in known:
        append(out, missed)
        report(missed)
    return start


def under_ray(train: Train) -> bool:
    return train.workers > 1 or bool(os.environ.get("RAY_ADDRESS"))


def threads(train: Train) -> int:
    """CPU threads that a run of `train` computes with when it starts now."""
    import torch

    return worker_threads(train) if under_ray(train) else torch.get_num_threads()


@contextmanager
def lock_run(out: Path, *, resume: bool | None, store: Store | None = None) -> Iterator[bool]:
    """The folder of a run, for this process alone as long as the block lasts; made where it is not there.

    resume: None goes on where there is a checkpoint, and begins where there is none. store: what it keeps of the run
    is brought into the folder first, unless the folder's own checkpoint is beyond it. Yields whether the run goes on.
    Raises UserError when there is a checkpoint and `resume` is false, or the other way round, and when another process
    trains in the folder.
    """
    if store is None:
        _require(out, resume)
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out / ".lock", wait=False))
        except BlockingIOError:
            raise UserError(f"{out}: another process trains in it; wait for that, or choose another --out.") from None
        except OSError as error:
            raise UserError(f"{out}: cannot be made or written ({error.strerror}); choose another --out.") from None
        if store:
            if resume is False:  # before anything there is replaced
                _require(out, resume)
            level(out, store)
            _require(out, resume)
        yield resumable(out)


def level(out: Path, store: Store) -> None:
    """Bring what the store keeps into the folder; or the other way round where a later copy did not get through."""
    own, kept = out / CHECKPOINT, -1
    if resumable(out):
        with tempfile.TemporaryDirectory(dir=out, prefix=".kept-") as folder:
            (store / CHECKPOINT).get(Path(folder))
            kept = _reached(Path(folder))
    if _reached(own) > kept:
        store.push(out, skip=NOT_KEPT)
    else:
        store.get(out, skip=NOT_KEPT)


def _reached(checkpoint: Path) -> int:
    """Images of a checkpoint; -1 where there is none that is whole."""
    try:
        return int(load(checkpoint)["images"])
    except UserError:
        return -1


def _require(out: Path, resume: bool | None) -> None:
    if resumable(out) and resume is False:
        raise UserError(f"{out}: holds a run already; add --resume to go on with it, or choose another --out.")
    if resume and not resumable(out):
        raise UserError(f"{out}: holds no checkpoint to go on from; start the run without --resume.")


def resumable(out: Path) -> bool:
    """Whether the folder holds a run with a checkpoint."""
    return (out / CHECKPOINT / FILE).is_file()


def _under_ray(
    experiment: Experiment, faces: FaceSet, out: Path, report: Report, start: Path | None, store: Store | None
) -> Progress:
    from visage.config import replaced
    from visage.infra.ray_session import local_ray, root
    from visage.training.ray_train import Journal, train_on_ray
    from visage.training.resources import room

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
        room(experiment.train)  # Ray would wait for ever for what is not there
        follower.start()
        try:
            train_on_ray(experiment, out.absolute(), store, callbacks=[Journal(out.absolute())], resume=start)
        except Exception as error:
            raise (root(error) if isinstance(root(error), UserError) else error) from None
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


def forget_after(journal: Path, images: int) -> set[int]:
    """Drop the points beyond a checkpoint, which the resumed run reports again, and a line that was cut off.

    Returns the images of the evaluations that are left.
    """
    if not journal.exists():
        return set()
    kept = list[Progress]()
    for line in journal.read_text(errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            kept.append(Progress.from_json(line))
    kept = [point for point in kept if point.images <= images]
    write_whole(journal, "".join(point.to_json() + "\n" for point in kept).encode())
    return {point.images for point in kept if point.metrics is not None}
