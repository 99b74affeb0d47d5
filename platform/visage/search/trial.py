"""What Tune runs for a trial: the training loop with the suggested values, in one process or under Ray Train."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from visage.config import Experiment, replaced
from visage.config.experiment import Judge, Train
from visage.search.endings import DIVERGED, root
from visage.training.progress import Diverged, Progress

Trainable = Callable[[dict[str, Any]], None]


def folder_of(study: Path, number: int) -> Path:
    """Where a trial keeps its checkpoint and pictures."""
    return study / f"trial-{number:04d}"


def training(experiment: Experiment, study: Path) -> Trainable:
    """The trial function of an experiment, with its face set and judges made ready here, once for all trials."""
    from visage.faces.prepare import prepare_if_absent
    from visage.judging.train import face_networks

    face_networks(prepare_if_absent(experiment.data), experiment.judge)
    return in_process(experiment, study) if experiment.train.workers == 1 else on_workers(experiment, study)


def in_process(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains in its own process, which goes on to the next trial: cheap to start."""

    def trial(config: dict[str, Any]) -> None:
        import torch
        from ray import tune

        from visage.training.loop import train

        torch.set_num_threads(max(1, int(experiment.train.cpus_per_worker)))
        faces, networks = _loaded(experiment.data.dir, experiment.judge)
        history: list[tuple[int, dict[str, float]]] = []

        def report(point: Progress) -> None:
            history.append((point.images, point.losses))
            if point.metrics is not None:
                tune.report(as_result(point) | {"history": list(history)})
                history.clear()

        chosen = replaced(experiment, config["values"])
        with_divergence(lambda: train(chosen, faces, folder_of(study, config["number"]), report, networks=networks))

    return trial


def on_workers(experiment: Experiment, study: Path) -> Trainable:
    """A trial whose workers train under Ray Train; this process only waits for them and imports no torch."""

    def trial(config: dict[str, Any]) -> None:
        free_workers_on_this_cluster()
        from ray.tune.integration.ray_train import TuneReportCallback

        from visage.training.ray_train import train_on_ray

        chosen = replaced(experiment, config["values"])
        out = folder_of(study, config["number"])
        with_divergence(lambda: train_on_ray(chosen, out, callbacks=[TuneReportCallback()]))

    return trial


def free_workers_on_this_cluster() -> None:
    """Tell Train's helpers which Ray they belong to.

    The one that frees a stopped trial's workers looks for a Ray on this machine, dies when it finds two (a served
    model's beside the study's), and the next trial then waits for ever. Only the variables of Train's own list
    reach it.
    """
    import ray
    from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")


def as_result(point: Progress) -> dict[str, Any]:
    """An evaluation as Tune is told it; the same keys as `train_on_ray` and TuneReportCallback give."""
    result: dict[str, Any] = {"images": point.images, "losses": point.losses, **(point.metrics or {})}
    if point.checkpoint:
        result["checkpoint_path"] = str(point.checkpoint)
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
