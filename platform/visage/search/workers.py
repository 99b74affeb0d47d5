"""Trials of several workers: a process that starts a Ray Train run inside Tune, and waits for it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.train import Checkpoint
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from ray.tune.integration.ray_train import TuneReportCallback

from visage.config import Experiment
from visage.search.trial import Trainable, told, with_endings

PICTURE = "faces.png"  # in the checkpoints that `train_on_ray` reports


def on_workers(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains under Ray Train with `train.workers` workers."""

    def trial(config: dict[str, Any]) -> None:
        from visage.training.ray_train import train_on_ray

        # A run that was cut off in the same folder goes on from its last checkpoint by itself.
        run_workers(
            experiment, study, config, lambda chosen, out, report: train_on_ray(chosen, out, callbacks=[report])
        )

    return trial


def run_workers(
    experiment: Experiment,
    study: Path,
    config: dict[str, Any],
    fit: Callable[[Experiment, Path, TuneReportCallback], object],
) -> None:
    """Run a Ray Train run from within a trial.

    fit: given the trial's experiment, its folder and the callback that tells Tune.
    """
    # Train's helper that frees a stopped trial's workers looks for a Ray on this machine, dies when it finds two (a
    # served model's beside the study's), and the next trial waits for ever. Only Train's own list of variables
    # reaches the helper.
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")
    last: dict[str, Any] = {}

    def attempt(chosen: Experiment, out: Path) -> None:
        fit(chosen, out, EvaluationReport(out, last))

    with_endings(attempt, experiment, study, config, last)


class EvaluationReport(TuneReportCallback):
    """Tells Tune each evaluation, and keeps its picture, which goes when the next checkpoint replaces this one.

    last: the trial's last result, as `told` keeps it.
    """

    def __init__(self, out: Path, last: dict[str, Any]) -> None:
        super().__init__()
        self.out, self.last = out, last

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        picture = Path(checkpoint.path) / PICTURE if checkpoint else None
        if picture and picture.is_file():
            kept = self.out / "faces" / f"{metrics[0]['images']:08d}.png"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, kept)
            metrics = [metrics[0] | {"faces": str(kept)}, *metrics[1:]]
        metrics = [told(metrics[0], self.last, self.out), *metrics[1:]]
        super().after_report(run_context, metrics, checkpoint)
