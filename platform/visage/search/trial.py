"""What Tune runs for a trial: the training loop with the suggested values, in one process or under Ray Train."""

import errno
import gc
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from visage.cluster import root
from visage.config import Experiment, replaced
from visage.config.experiment import Judge, Train
from visage.errors import NotWritten, one_line
from visage.search.endings import DIVERGED, FAILED, HALTED, RETRIED, reason_of
from visage.training.progress import Diverged, Progress
from visage.training.resources import worker_threads
from visage.training.run import CHECKPOINT, resumable

RESTARTS = 2  # times that a trial whose process died is started again from its last checkpoint
STUDY = "study"  # file of a trial's folder: the study that it belongs to
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Trainable = Callable[[dict[str, Any]], None]


def folder_of(study: Path, number: int) -> Path:
    """Where a trial keeps its checkpoint and pictures."""
    return study / f"trial-{number:04d}"


def training(experiment: Experiment, study: Path) -> Trainable:
    """The trial function of an experiment, with its face set and judges made ready here, once for all trials."""
    from visage.faces.prepare import prepare_if_absent
    from visage.judging.train import face_networks
    from visage.search.workers import on_workers

    face_networks(prepare_if_absent(experiment.data), experiment.judge)
    return in_process(experiment, study) if experiment.train.workers == 1 else on_workers(experiment, study)


def in_process(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains in its own process, which goes on to the next trial: cheap to start."""

    def trial(config: dict[str, Any]) -> None:
        import torch
        from ray import tune

        from visage.training.loop import train

        torch.set_num_threads(worker_threads(experiment.train))
        population = experiment.search.scheduler == "pbt"
        history: list[tuple[int, dict[str, float]]] = []
        last: dict[str, Any] = {}

        def report(point: Progress) -> None:
            history.append((point.images, point.losses))
            if point.metrics is not None:
                # Of a population, a trial goes on from the checkpoint that Tune gives it: its own or another's.
                kept = tune.Checkpoint.from_directory(str(point.checkpoint)) if population else None
                tune.report(told(as_result(point), last) | {"history": list(history)}, checkpoint=kept)
                history.clear()

        def attempt(chosen: Experiment) -> None:
            history.clear()
            faces, networks, judges = _loaded(experiment.data.dir, experiment.judge)
            out = begun(study, config)
            own = out / CHECKPOINT if resumable(out) else None
            given = tune.get_checkpoint()
            with given.as_directory() if given else nullcontext() as place:
                start = Path(place) if place else own
                train(chosen, faces, out, report, networks=networks, resume=start, judges=judges)

        with_endings(attempt, replaced(experiment, config["values"]), last)

    return trial


def begun(study: Path, config: Mapping[str, Any]) -> Path:
    """The folder of a trial, with what the trial has reached so far.

    What another study of this name, whose database is gone, left there goes: a trial would go on from it.
    """
    out = folder_of(study, config["number"])
    mark = out / STUDY
    if not (mark.is_file() and mark.read_text() == config["study"]):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        mark.write_text(config["study"])
    return out


def as_result(point: Progress) -> dict[str, Any]:
    """An evaluation as Tune is told it; the same keys as `train_on_ray` and TuneReportCallback give."""
    result: dict[str, Any] = {"images": point.images, "losses": point.losses, **(point.metrics or {})}
    if point.checkpoint:
        result["checkpoint_path"] = str(point.checkpoint)
    if point.warning:
        result["warning"] = point.warning
    if point.faces:
        result["faces"] = str(point.faces)
    return result


def told(result: Mapping[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """The result with what a trial that was tried again tells beside it; `last` is it from now on."""
    again = {RETRIED: last[RETRIED]} if RETRIED in last else {}
    last.clear()
    last.update(result, **again)
    return dict(last)


def with_endings(run: Callable[[Experiment], object], experiment: Experiment, last: dict[str, Any]) -> None:
    """Run, and tell Tune as a result how the trial ended when it did not reach its end: its process is sound.

    So what Tune takes for a failure is the death of a process, which it starts again. A trial that runs out of memory
    goes on once with half the batch. last: the last result, as `told` keeps it.
    """
    from ray import tune

    ending = _ending(run, experiment)
    train = experiment.train
    half = train.batch // 2 // train.workers * train.workers
    if ending and ending[0] == RETRIED:
        if half:
            gc.collect()  # of the error's frames, which hold the networks and the batch
            last[RETRIED] = f"out of memory with train.batch = {train.batch}, went on with {half}"
            ending = _ending(run, replaced(experiment, {"train.batch": half}))
        if ending and ending[0] == RETRIED:
            ending = FAILED, f"out of memory with train.batch = {train.batch} and with {half}: {ending[1]}"
    if ending:
        name, reason = ending
        tune.report(last | {name: reason})


def _ending(run: Callable[[Experiment], object], experiment: Experiment) -> tuple[str, str] | None:
    """Run; the key of a result and the reason when an error ended it. What the error holds is let go."""
    from visage.training.memory import OutOfMemory

    try:
        run(experiment)
        return None
    except Exception as error:
        inner = root(error)
        if isinstance(inner, Diverged):
            return DIVERGED, str(inner)
        if isinstance(inner, OutOfMemory):
            return RETRIED, str(inner)
        if isinstance(inner, NotWritten):
            return HALTED, str(inner)
        if isinstance(inner, OSError) and inner.errno in FULL:
            return HALTED, f"{inner.filename}: cannot be written ({one_line(inner)}); make room."
        return FAILED, reason_of(error)


@lru_cache(maxsize=1)
def _loaded(folder: Path, judge: Judge) -> tuple[Any, Any, Any]:
    """The face set, its networks and the judges with what they say of the real faces, once for all trials of a process.

    The faces themselves are mapped: all processes of a node share them.
    """
    from visage.faces.faceset import FaceSet
    from visage.judging.judges import Judges
    from visage.judging.train import face_networks
    from visage.training.trainer import here

    faces = FaceSet.open(folder)
    networks = face_networks(faces, judge)
    return faces, networks, Judges(networks, faces, "validation", here().device)


def resources(train: Train) -> Any:
    """What Tune reserves for a trial. Under Ray Train the workers reserve their own CPUs and GPUs."""
    from ray.tune import PlacementGroupFactory

    if train.workers > 1:
        return PlacementGroupFactory([{"memory": 1}])  # one byte, as Tune refuses to reserve nothing
    gpus = {"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}
    return PlacementGroupFactory([{"CPU": train.cpus_per_worker, **gpus}])
