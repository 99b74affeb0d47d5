"""What Tune runs for a trial, and what it is told of it."""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config import Experiment, replaced
from visage.config.data import Data
from visage.config.experiment import Judge, Train
from visage.errors import NotWritten, one_line
from visage.infra import traces
from visage.infra.patience import patiently
from visage.infra.ray_session import root
from visage.search.private import hand_on
from visage.search.study.endings import DIVERGED, FAILED, HALTED, reason_of
from visage.training.progress import Diverged, Progress, Report
from visage.training.resources import unseen, worker_threads
from visage.training.run_folder import CHECKPOINT, RunFolder

if TYPE_CHECKING:
    import torch

RESTARTS = 2  # times that a trial whose process died is started again from its last checkpoint
STUDY = "study"  # file of a trial's folder: the study that it belongs to
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Trainable = Callable[[dict[str, Any]], None]
Work = Callable[[Experiment, RunFolder, Report], object]
"""Trains a trial's experiment in its folder, and reports each evaluation once it stands in the folder's journal. A
trial that goes on reports its last two evaluations again: a trial trains on while Tune handles its last report, so the
study may have been killed before it stored them, or its stores may have been away."""


def training(experiment: Experiment, study: Path) -> Trainable:
    """The trial function of an experiment, with its face set and judges made ready here, once for all trials."""
    from visage.faces.prepare import prepare_if_absent
    from visage.judging.networks.train import face_networks

    face_networks(prepare_if_absent(experiment.data), experiment.judge)
    return in_process(experiment, study) if experiment.train.workers == 1 else on_workers(experiment, study)


def in_process(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains in its own process, which goes on to the next trial: cheap to start."""

    def work(chosen: Experiment, folder: RunFolder, report: Report) -> None:
        from visage.training.run import run_here
        from visage.training.trainer import here

        with traces.span("load"):
            faces, networks, judges = _loaded(
                experiment.data, experiment.judge, here(chosen.train).device, paired=experiment.method.paired
            )
        run_here(chosen, faces, networks, folder, report, resume=folder.resumable(), judges=judges)

    def trial(config: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(worker_threads(experiment.train))
        with_endings(work, experiment, study, config)

    return trial


def on_workers(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains under Ray Train with `train.workers` workers; its process starts them and waits."""

    def work(chosen: Experiment, folder: RunFolder, report: Report) -> None:
        from visage.training.run import run_on_ray

        run_on_ray(chosen, folder, report, resume=folder.resumable())

    def trial(config: dict[str, Any]) -> None:
        import ray

        # Train's helper that frees a stopped trial's workers looks for a Ray on this machine, dies when it finds two (a
        # served model's beside the study's), and the next trial waits for ever. Only Train's own list of variables
        # reaches the helper.
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        hand_on("RAY_ADDRESS")
        with_endings(work, experiment, study, config)

    return trial


def folder_of(experiment: Experiment, study: Path, config: Mapping[str, Any]) -> RunFolder:
    """Where a trial keeps its files. study: the folder of its study."""
    out = study / f"trial-{config['number']:04d}"
    place = config["place"] or study.name  # of a study that was begun before places held their study's id
    return RunFolder.of(out, experiment.train, f"studies/{place}/{out.name}")


def restore_or_reset(folder: RunFolder, study: Path, config: Mapping[str, Any]) -> None:
    """Bring into a trial's folder what the trial has reached so far, on whatever machine that was.

    What another study of this name, whose database is gone, left there is deleted: a trial would go on from it.
    """
    if not folder.remote:
        _require_seen(study, config)
    elif not _of_study(folder.path, config):  # nor may it be mixed with what is downloaded
        shutil.rmtree(folder.path, ignore_errors=True)
    patiently(folder.sync)
    if not _of_study(folder.path, config):
        patiently(folder.reset)
        mark(folder.path, config["study"])


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


def results(folder: RunFolder, journal: Sequence[Progress]) -> list[dict[str, Any]]:
    """The evaluations in a trial's journal as Tune is told them, with the losses since the one before as `history`.

    Files are named where the driver finds them, which may be on another machine. faces: pictures that are there now.
    """
    found, history = list[dict[str, Any]](), list[tuple[int, dict[str, float]]]()
    for point in journal:
        history.append((point.images, point.losses))
        if point.metrics is not None:
            result: dict[str, Any] = {"images": point.images, "losses": point.losses, **point.metrics}
            if point.warning:
                result["warning"] = point.warning
            faces = [folder.place(f"faces/{point.faces.name}")] if point.faces else []
            found.append(result | {"checkpoint_path": folder.place(CHECKPOINT), "faces": faces, "history": history})
            history = []
    return found


def tell_tune(folder: RunFolder) -> Report:
    """Tells Tune each evaluation of a trial, and where its picture is once the copy has it."""
    from ray import tune

    waiting = list[str]()

    def tell(point: Progress) -> None:
        if point.metrics is None:
            return
        result = next(
            result for result in reversed(results(folder, folder.points())) if result["images"] == point.images
        )
        waiting.extend(result["faces"])
        result["faces"] = [] if folder.behind else waiting.copy()
        if not folder.behind:
            waiting.clear()
        with traces.span("report"):
            tune.report(result | ({"warning": point.warning} if point.warning else {}))

    return tell


def with_endings(work: Work, experiment: Experiment, study: Path, config: Mapping[str, Any]) -> None:
    """Run a trial, and tell Tune as a result how it ended when it did not reach its end: its process is sound.

    So what Tune takes for a failure is the death of a process, which it starts again.
    """
    from ray import tune

    folder = folder_of(experiment, study, config)

    def attempt() -> None:
        with traces.span("start"):
            restore_or_reset(folder, study, config)
        work(replaced(experiment, config["values"]), folder, tell_tune(folder))

    try:
        with traces.within("process", config.get("traceparent")):
            try:
                ending = _ending(attempt)
            finally:  # also of a trial that Tune stops
                with traces.span("release"):
                    folder.release()
    finally:
        traces.flush()  # Tune ends this process at once
    if ending:
        name, reason = ending
        last = results(folder, folder.points())[-1:] if _of_study(folder.path, config) else []
        tune.report((last[0] if last else {}) | {name: reason})


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
    from visage.judging.networks.train import face_networks

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
