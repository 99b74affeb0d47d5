"""Trials of several workers: Ray Train inside Tune."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.fakes import GOAL, experiment
from visage.config import Experiment
from visage.search.trial import free_workers_on_this_cluster, with_divergence
from visage.search.tune import tune
from visage.training.progress import Diverged
from visage.training.ray_train import torch_trainer


def worker(settings: dict[str, Any]) -> None:
    import ray.train
    import torch
    import torch.distributed

    rank, number = ray.train.get_context().get_world_rank(), settings["number"]
    for images in (300, 600, GOAL):
        total = torch.ones(1)
        torch.distributed.all_reduce(total)
        score = total.item() / 4 if number == 0 else 0.1
        if number == 2:
            raise Diverged("loss pixel = nan")
        metrics = dict.fromkeys(("score", "identity_similarity", "expression_probability"), score)
        ray.train.report({"images": images, "losses": {}, **metrics})
        (Path(settings["folder"]) / f"{number}-{images}-{rank}").touch()


def on_workers(experiment: Experiment, folder: Path) -> Callable[[dict[str, Any]], None]:
    def trial(config: dict[str, Any]) -> None:
        free_workers_on_this_cluster()
        from ray.tune.integration.ray_train import TuneReportCallback

        number = config["number"]
        settings = {"number": number, "folder": str(folder)}
        out = folder / str(number)
        trainer = torch_trainer(experiment.train, worker, settings, out, callbacks=[TuneReportCallback()])
        with_divergence(trainer.fit)

    return trial


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_two_workers_a_trial_pruning_and_divergence_included(tmp_path: Path) -> None:
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, scheduler="asha", grace_images=300)
    asked = asked.model_copy(update={"train": asked.train.model_copy(update={"workers": 2})})
    result = tune(asked, trials=on_workers)
    assert (result.complete, result.pruned, result.failed) == (1, 1, 1)
