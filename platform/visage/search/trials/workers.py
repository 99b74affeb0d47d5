"""Trials of several workers: a process that starts a Ray Train run inside Tune, and waits for it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.train import Checkpoint
from ray.tune.integration.ray_train import CHECKPOINT_PATH_KEY, TuneReportCallback

from visage.config import Experiment
from visage.infra.remote_store import Store
from visage.search.ray_private import hand_on
from visage.search.trials.trial import Trainable, picture_place, save_result, storage_of, with_endings

PICTURE = "faces.png"  # in the checkpoints that `train_on_ray` reports


def on_workers(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains under Ray Train with `train.workers` workers."""

    def trial(config: dict[str, Any]) -> None:
        from visage.training.ray_train import train_on_ray

        # A run that was cut off in the same folder goes on from its last checkpoint by itself.
        run_workers(
            experiment, study, config,
            lambda chosen, out, report: train_on_ray(chosen, out, report.store, callbacks=[report]),
        )  # fmt: skip

    return trial


def run_workers(
    experiment: Experiment,
    study: Path,
    config: dict[str, Any],
    fit: "Callable[[Experiment, Path, EvaluationReport], object]",
) -> None:
    """Run a Ray Train run from within a trial.

    fit: given the trial's experiment, its folder and the callback that tells Tune.
    """
    # Train's helper that frees a stopped trial's workers looks for a Ray on this machine, dies when it finds two (a
    # served model's beside the study's), and the next trial waits for ever. Only Train's own list of variables
    # reaches the helper.
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    hand_on("RAY_ADDRESS")
    last: dict[str, Any] = {}
    store = storage_of(experiment, study, config)

    def attempt(chosen: Experiment, out: Path) -> None:
        fit(chosen, out, EvaluationReport(out, last, store))

    with_endings(attempt, experiment, study, config, last, store)


class EvaluationReport(TuneReportCallback):
    """Tells Tune each evaluation, and keeps its picture, which goes when the next checkpoint replaces this one.

    last: the trial's last result, as `save_result` keeps it. store: where the trial's files are kept besides `out`.
    """

    def __init__(self, out: Path, last: dict[str, Any], store: Store | None = None) -> None:
        super().__init__()
        self.out, self.last, self.store = out, last, store

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        result = dict(metrics[0])
        if checkpoint:
            place = checkpoint.path  # which names no scheme
            result[CHECKPOINT_PATH_KEY] = f"{self.store.address.partition('://')[0]}://{place}" if self.store else place
            kept = self.out / "faces" / f"{result['images']:08d}.png"
            kept.parent.mkdir(parents=True, exist_ok=True)
            assert checkpoint.filesystem
            with checkpoint.filesystem.open_input_stream(f"{place}/{PICTURE}") as picture:
                kept.write_bytes(picture.read())
            result["faces"] = picture_place(kept, self.store)
        super().after_report(run_context, [save_result(result, self.last, self.out, self.store)], None)
