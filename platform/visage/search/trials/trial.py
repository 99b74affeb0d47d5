"""What Tune runs for a trial: the training loop with the suggested values, in one process or under Ray Train."""

import errno
import json
import shutil
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config import Experiment, replaced
from visage.config.data import Data
from visage.config.experiment import Judge, Train
from visage.errors import NotWritten, one_line
from visage.infra.files import write_whole
from visage.infra.ray_session import root
from visage.infra.remote_store import Store
from visage.search.patience import patiently
from visage.search.study.endings import DIVERGED, FAILED, HALTED, reason_of
from visage.training.progress import Diverged, Progress
from visage.training.resources import unseen, worker_threads
from visage.training.run import CHECKPOINT, NOT_KEPT, kept_at, resumable

if TYPE_CHECKING:
    import torch

RESTARTS = 2  # times that a trial whose process died is started again from its last checkpoint
# Files of a trial's folder: the study that it belongs to, and its last results, which nobody may have kept.
STUDY, TOLD = "study", "told.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Trainable = Callable[[dict[str, Any]], None]


def folder_of(study: Path, number: int) -> Path:
    """Where a trial keeps its checkpoint and pictures."""
    return study / f"trial-{number:04d}"


def in_process(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains in its own process, which goes on to the next trial: cheap to start."""

    def trial(config: dict[str, Any]) -> None:
        import torch
        from ray import tune

        from visage.training.checkpoint import evaluation_in, load
        from visage.training.loop import here, train

        torch.set_num_threads(worker_threads(experiment.train))
        history: list[tuple[int, dict[str, float]]] = []
        last: dict[str, Any] = {}
        store = storage_of(experiment, study, config)

        def report(point: Progress) -> None:
            history.append((point.images, point.losses))
            if point.metrics is not None:
                result = as_result(point, store) | {"history": list(history)}
                tune.report(save_result(result, last, folder_of(study, config["number"]), store))
                history.clear()

        def attempt(chosen: Experiment, out: Path) -> None:
            history.clear()
            faces, networks, judges = _loaded(
                experiment.data, experiment.judge, here(chosen.train).device, paired=experiment.method.paired
            )
            own = out / CHECKPOINT if resumable(out) else None
            missed = evaluation_in(load(own)) if own else None
            if missed and missed.images > last.get("images", 0):  # killed before it was told
                report(missed)
            train(chosen, faces, out, report, networks=networks, resume=own, judges=judges)

        with_endings(attempt, experiment, study, config, last, store)

    return trial


def storage_of(experiment: Experiment, study: Path, config: Mapping[str, Any]) -> Store | None:
    """Where a trial's files are kept besides its folder; None without `train.storage`."""
    out = folder_of(study, config["number"])
    place = config.get("place") or study.name  # of a study that was begun before places held their study's id
    return kept_at(experiment.train, f"studies/{place}/{out.name}")


def restore_or_reset(study: Path, config: Mapping[str, Any], store: Store | None = None) -> Path:
    """The folder of a trial, with what the trial has reached so far, on whatever machine that was.

    What another study of this name, whose database is gone, left there goes: a trial would go on from it.
    """
    out = folder_of(study, config["number"])
    if not store:
        _require_seen(study, config)
    elif not _of_study(out, config):  # nor may it be mixed with what is got
        shutil.rmtree(out, ignore_errors=True)
    if store:
        patiently(lambda: store.get(out, skip=NOT_KEPT))
    if not _of_study(out, config):
        _reset(out, config, store)
    return out


def mark(folder: Path, study: str) -> None:
    """Note in the folder of a study, or of a trial, which study that is."""
    (folder / STUDY).write_text(study)


def _of_study(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a folder is noted to be of the trial's study."""
    noted = folder / STUDY
    return noted.is_file() and noted.read_text() == config["study"]


def _require_seen(study: Path, config: Mapping[str, Any]) -> None:
    """Raises NotWritten on a node that does not see the study's folder: one that joined after all were asked."""
    if not _of_study(study, config):
        raise NotWritten(f"{socket.gethostname()}: {unseen(study)}")


def _reset(out: Path, config: Mapping[str, Any], store: Store | None) -> None:
    """An empty folder for a trial, with its mark."""
    shutil.rmtree(out, ignore_errors=True)
    if store:
        patiently(store.drop)
    out.mkdir(parents=True)
    mark(out, config["study"])


def as_result(point: Progress, store: Store | None) -> dict[str, Any]:
    """An evaluation as Tune is told it; the same keys as `train_on_ray` and TuneReportCallback give.

    Its files are named where the driver finds them, which may be on another machine.
    """
    result: dict[str, Any] = {"images": point.images, "losses": point.losses, **(point.metrics or {})}
    if point.checkpoint:
        result["checkpoint_path"] = f"{store.address}/{CHECKPOINT}" if store else str(point.checkpoint)
    if point.warning:
        result["warning"] = point.warning
    if point.faces:
        result["faces"] = picture_place(point.faces, store)
    return result


def picture_place(picture: Path, store: Store | None) -> str:
    """Where the driver finds a picture of a trial's folder."""
    return f"{store.address}/{picture.parent.name}/{picture.name}" if store else str(picture)


def save_result(
    result: Mapping[str, Any], last: dict[str, Any], out: Path, store: Store | None = None
) -> dict[str, Any]:
    """Keep the result as the trial's last one, in `last` and in the trial's folder, and return it.

    A trial that goes on tells the last two once more, as the study may have been killed, or its stores away, before
    they were kept: Tune takes a result and lets the trial train on while it looks at it.
    """
    before = [dict(last)] if "images" in last else []
    last.clear()
    last.update(result)
    write_whole(out / TOLD, json.dumps([*before, last], default=float).encode())
    if store:
        patiently(lambda: store.push(out, skip=NOT_KEPT))
    return dict(last)


def with_endings(
    run: Callable[[Experiment, Path], object],
    experiment: Experiment,
    study: Path,
    config: Mapping[str, Any],
    last: dict[str, Any],
    store: Store | None = None,
) -> None:
    """Run a trial, and tell Tune as a result how it ended when it did not reach its end: its process is sound.

    So what Tune takes for a failure is the death of a process, which it starts again. run: given the trial's experiment
    and its folder. last: the last result, as `save_result` keeps it.
    """
    from ray import tune

    chosen = replaced(experiment, config["values"])

    def attempt() -> None:
        out = restore_or_reset(study, config, store)
        if (out / TOLD).is_file():
            for result in json.loads((out / TOLD).read_text()):
                last.update(result)
                tune.report(dict(last))
        run(chosen, out)

    if ending := _ending(attempt):
        name, reason = ending
        tune.report(last | {name: reason})


def _ending(run: Callable[[], object]) -> tuple[str, str] | None:
    """Run; the key of a result and the reason when an error ended it. What the error holds is let go."""
    from visage.training.memory import OutOfMemory

    try:
        run()
        return None
    except Exception as error:
        inner = root(error)
        if isinstance(inner, Diverged):
            return DIVERGED, str(inner)
        if isinstance(inner, OutOfMemory):
            return FAILED, f"out of memory: {inner}"
        if isinstance(inner, NotWritten):
            return HALTED, str(inner)
        if isinstance(inner, OSError) and inner.errno in FULL:
            return HALTED, f"{inner.filename}: cannot be written ({one_line(inner)}); make room."
        return FAILED, reason_of(error)


@lru_cache(maxsize=1)
def _loaded(data: Data, judge: Judge, device: "torch.device", *, paired: bool) -> tuple[Any, Any, Any]:
    """The face set, its networks and the judges with what they say of the real faces, once for all trials of a process.

    The faces themselves are mapped: all processes of a node share them.
    """
    from visage.faces.shared import opened
    from visage.judging.judges import Judges
    from visage.judging.train import face_networks

    faces = opened(data)
    networks = face_networks(faces, judge)
    return faces, networks, Judges(networks, faces, "validation", device, paired=paired)


def resources(train: Train) -> Any:
    """What Tune reserves for a trial. Under Ray Train the workers reserve their own CPUs and GPUs."""
    from ray.tune import PlacementGroupFactory

    if train.workers > 1:
        return PlacementGroupFactory([{"memory": 1}])  # one byte, as Tune refuses to reserve nothing
    gpus = {"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}
    return PlacementGroupFactory([{"CPU": train.cpus_per_worker, **gpus}])
