"""Trials of several workers: a process that starts a Ray Train run inside Tune, and waits for it."""

import os
from pathlib import Path
from typing import Any

import ray

from visage.config import Experiment
from visage.search.ray_private import hand_on
from visage.search.trials.trial import Trainable, with_endings
from visage.training.progress import Report
from visage.training.run_folder import RunFolder


def on_workers(experiment: Experiment, study: Path) -> Trainable:
    """A trial that trains under Ray Train with `train.workers` workers."""

    def work(chosen: Experiment, folder: RunFolder, report: Report) -> None:
        from visage.training.run import run_on_ray

        run_on_ray(chosen, folder, report, resume=folder.resumable())

    def trial(config: dict[str, Any]) -> None:
        # Train's helper that frees a stopped trial's workers looks for a Ray on this machine, dies when it finds two (a
        # served model's beside the study's), and the next trial waits for ever. Only Train's own list of variables
        # reaches the helper.
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        hand_on("RAY_ADDRESS")
        with_endings(work, experiment, study, config)

    return trial
