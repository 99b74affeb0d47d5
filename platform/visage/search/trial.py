"""What Tune runs for a trial: the training loop with the suggested values, in one process or under Ray Train."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from visage.cluster import root
from visage.config import Experiment, replaced
from visage.config.experiment import Judge, Train
from visage.search.endings import DIVERGED
from visage.training.progress import Diverged, Progress
from visage.training.resources import worker_threads

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
        faces, networks = _loaded(experiment.data.dir, experiment.judge)
        population = experiment.search.scheduler == "pbt"
        history: list[tuple[int, dict[str, float]]] = []

        def report(point: Progress) -> None:
            history.append((point.images, point.losses))
            if point.metrics is not None:
                # Of a population, a trial goes on from the checkpoint that Tune gives it: its own or another's.
                kept = tune.Checkpoint.from_directory(str(point.checkpoint)) if population else None
                tune.report(as_result(point) | {"history": list(history)}, checkpoint=kept)
                history.clear()

        chosen = replaced(experiment, config["values"])
        given = tune.get_checkpoint()
        with given.as_directory() if given else nullcontext() as place:
            start, out = Path(place) if place else None, folder_of(study, config["number"])
            with_divergence(lambda: train(chosen, faces, out, report, networks=networks, resume=start))

    return trial


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


def with_divergence(run: Callable[[], object]) -> None:
    """Run; a divergence is told to Tune as a result, as it is an ending of this trial and no fault of its process."""
    from ray import tune

    try:
        run()
    except Exception as error:
        if not isinstance(root(error), Diverged):
            raise
        tune.report({DIVERGED: str(root(error))})


@lru_cache(maxsize=1)
def _loaded(folder: Path, judge: Judge) -> tuple[Any, Any]:
    """The face set and its judges, loaded once for all trials of a process."""
    from visage.faces.faceset import FaceSet
    from visage.judging.train import face_networks

    faces = FaceSet.open(folder)
    return faces, face_networks(faces, judge)


def resources(train: Train) -> Any:
    """What Tune reserves for a trial. Under Ray Train the workers reserve their own CPUs and GPUs."""
    from ray.tune import PlacementGroupFactory

    if train.workers > 1:
        return PlacementGroupFactory([{"memory": 1}])  # one byte, as Tune refuses to reserve nothing
    gpus = {"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}
    return PlacementGroupFactory([{"CPU": train.cpus_per_worker, **gpus}])
