"""What trials are given: workers of Ray Train inside Tune, and GPUs."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.search.fakes import GOAL, experiment
from visage.config import Experiment
from visage.search.tune import tune
from visage.training.progress import Diverged
from visage.training.ray_train import PICTURE

pytestmark = pytest.mark.ray


def worker(number: int, settings: dict[str, Any]) -> None:
    """One of two workers: trial 0 is good, trial 1 poor and so pruned, trial 2 diverges."""
    import tempfile

    import ray.train
    import torch
    import torch.distributed

    if number == 2:
        raise Diverged("loss pixel = nan")
    for images in (300, 600, GOAL):
        total = torch.ones(1)
        torch.distributed.all_reduce(total)
        score = total.item() / 4 if number == 0 else 0.1
        metrics = dict.fromkeys(("score", "identity_similarity", "expression_probability"), score)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / PICTURE).write_bytes(b"a picture")
            (Path(folder) / "state.pt").write_text(str(images))
            first = ray.train.get_context().get_world_rank() == 0
            checkpoint = ray.train.Checkpoint.from_directory(folder) if first else None
            ray.train.report({"images": images, "losses": {"pixel": 0.5}, **metrics}, checkpoint)


def faked(experiment: Experiment, folder: Path) -> Callable[[dict[str, Any]], None]:
    def trial(config: dict[str, Any]) -> None:
        from visage.search.trials.trial import on_workers
        from visage.training import ray_train

        ray_train.RESTARTS = 0
        ray_train._worker = lambda settings: worker(config["number"], settings)  # type: ignore[assignment]
        on_workers(experiment, folder)(config)

    return trial


@pytest.mark.usefixtures("local_ray")
def test_two_workers_a_trial_pruning_and_divergence_included(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    asked = experiment(tmp_path, tracking, trials=3, scheduler="asha", grace_images=300)
    asked = asked.model_copy(update={"train": asked.train.model_copy(update={"workers": 2})})
    # Both CPUs are taken by each trial's workers: the last starts only when those of the pruned one are freed.
    result = tune(asked, trials=faked)
    assert (result.complete, result.pruned, result.failed) == (1, 1, 1)
    trials = optuna.load_study(study_name="test", storage=asked.search.storage).trials
    assert [trial.user_attrs["state"] for trial in trials] == ["complete", "pruned", "diverged"]
    assert trials[1].user_attrs["images"] == 300
    assert trials[2].user_attrs["reason"] == "loss pixel = nan"
    assert result.best is not None
    assert (Path(result.best.checkpoint) / "state.pt").read_text() == str(GOAL)
    logged = {item.path for item in MlflowClient(tracking).list_artifacts(result.best.run_id, "faces")}
    assert logged == {f"faces/{images:08d}.png" for images in (300, 600, GOAL)}


PLACEMENT = """
    import os
    from pathlib import Path
    import ray
    from tests.search.fakes import experiment, trials
    from visage.search.tune import tune

    def behaviour(number, values, images):
        import json, time
        if images == 100:
            given = {{"gpus": ray.get_gpu_ids(), "visible": os.environ["CUDA_VISIBLE_DEVICES"]}}
            Path("{folder}", f"given-{{number}}.json").write_text(json.dumps(given))
            for _ in range(1000):
                if len(list(Path("{folder}").glob("given-*.json"))) == 2:
                    return 0.5
                time.sleep(0.1)
            raise TimeoutError("the other trial did not run beside this one")
        return images / 900

    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    asked = experiment(Path("{folder}"), "sqlite:///{folder}/mlflow.db", trials=2)
    asked = asked.model_copy(update={{"train": asked.train.model_copy(update={{"gpus_per_worker": 1}})}})
    tune(asked, trials=trials(behaviour))
"""


def test_trials_side_by_side_have_a_gpu_each(tmp_path: Path) -> None:
    """Ray hands out the GPUs that it is told of, so this needs none."""
    script = textwrap.dedent(PLACEMENT).format(folder=tmp_path)
    environment = os.environ | {"PYTHONPATH": f"platform{os.pathsep}."}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=300)
    given = [json.loads((tmp_path / f"given-{number}.json").read_text()) for number in range(2)]
    assert sorted(one["visible"] for one in given) == ["0", "1"]
    assert sorted(one["gpus"] for one in given) == [[0], [1]]
