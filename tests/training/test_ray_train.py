"""The loop under a real Ray Train."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import UserCallback

from tests.faces.sets import in_shards
from visage.config import Experiment, replaced
from visage.config.experiment import Train
from visage.faces.faceset import FaceSet
from visage.faces.shared import opened, upload
from visage.judging.networks.train import FaceNetworks, face_networks
from visage.training import checkpoint, ray_train
from visage.training.progress import Diverged, Progress
from visage.training.ray_train import train_on_ray
from visage.training.run import run
from visage.training.run_folder import RunFolder

pytestmark = pytest.mark.ray
Judged = tuple[FaceSet, FaceNetworks]


@pytest.fixture
def experiment(judged: Judged) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"dir": str(judged[0].dir), "size": 64},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {
                "images": 32,
                "batch": 16,
                "evaluate_every": 16,
                "evaluate_pairs": 16,
                "precision": "float32",
                "workers": 2,
            },
            "judge": {"images": 4000},
        }
    )


def test_two_workers_train_one_model_and_resume(
    local_ray: None, judged: Judged, experiment: Experiment, tmp_path: Path
) -> None:
    points: list[Progress] = []
    last = run(experiment, *judged, RunFolder(tmp_path / "two"), points.append)
    assert [point.images for point in points] == [16, 32]
    assert last.metrics
    assert last.faces
    assert last.faces.is_file()

    # One worker with the whole batch of 16 sees the same tuples as two with 8 each: only the order of sums differs.
    run(replaced(experiment, {"train.workers": 1}), *judged, RunFolder(tmp_path / "one"), lambda point: None)
    two, one = (checkpoint.load(tmp_path / name / "checkpoint") for name in ("two", "one"))
    for network in ("generator", "discriminator", "ema"):
        flat = [torch.cat([value.flatten() for value in state[network].values()]) for state in (two, one)]
        apart = (flat[0] - flat[1]).abs()
        assert apart.quantile(0.99) < 1e-5
        # Adam moves a weight by the rate in the gradient's direction, which rounding may turn where it is near zero.
        assert apart.max() <= 2 * 2 * experiment.optim.rate

    longer = replaced(experiment, {"train.images": 48})
    assert run(longer, *judged, RunFolder(tmp_path / "two"), points.append, resume=True).images == 48
    assert [point.images for point in points] == [16, 32, 16, 32, 48]  # the last two once more


class Faults(UserCallback):
    """Counts the workers' errors: each would start them again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        with self.path.open("a") as faults:
            faults.write(f"{worker_exceptions}\n")


def test_a_run_that_diverges_is_not_started_again(
    local_ray: None, judged: Judged, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Faults] = []

    def counting(*given: Any, callbacks: Any, **named: Any) -> None:
        counted.append(Faults(tmp_path / "faults"))
        train_on_ray(*given, callbacks=[*callbacks, *counted], **named)

    monkeypatch.setattr(ray_train, "train_on_ray", counting)
    broken = replaced(experiment, {"loss.pixel.weight": 1e39})
    with pytest.raises(Diverged, match="the run diverged"):
        run(broken, *judged, RunFolder(tmp_path / "run"), lambda point: None)
    assert len(counted) == 1
    assert not (tmp_path / "faults").exists()


def placement(settings: dict[str, Any]) -> None:
    """What a worker was given, written down by each."""
    import os

    import ray

    found = {"gpus": ray.get_gpu_ids(), "visible": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    rank = ray.train.get_context().get_world_rank()
    (Path(settings["out"]) / f"{rank}.json").write_text(json.dumps(found))


GPU_SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import ray
from test_ray_train import placement
from visage.config.experiment import Train
from visage.training.ray_train import torch_trainer

ray.init("local", num_cpus=4, num_gpus=4, log_to_driver=False)
out = Path({out!r})
torch_trainer(Train(workers=2, gpus_per_worker=2, batch=2), placement, {{"out": str(out)}}, out / "ray",
              backend="gloo").fit()
ray.shutdown()
"""


@pytest.mark.soak
def test_each_worker_gets_its_own_gpus(tmp_path: Path) -> None:
    """On a Ray that is told it has four GPUs: two workers of two, none shared. No GPU is needed to be given one."""
    import os
    import subprocess
    import sys

    script = GPU_SCRIPT.format(tests=str(Path(__file__).parent), out=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    environment.pop("RAY_ADDRESS", None)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=300)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    given = [gpu for each in found for gpu in each["gpus"]]
    assert len(given) == len(set(map(str, given))) == 4
    assert all(len(each["visible"].split(",")) >= 2 for each in found)


def test_resources_are_those_of_the_configuration() -> None:
    from visage.training.ray_train import torch_trainer

    train = Train(workers=4, batch=16, cpus_per_worker=2, gpus_per_worker=1)
    scaling = torch_trainer(train, placement, {}, Path("unused")).scaling_config
    assert (scaling.num_workers, scaling.use_gpu) == (4, True)
    assert scaling.resources_per_worker == {"CPU": 2, "GPU": 1}


@pytest.mark.soak
def test_workers_with_shards_of_their_own_go_on_where_they_were(
    local_ray: None,
    judged: Judged,
    experiment: Experiment,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a bucket, each with a copy of its own; the second run is cut off in the middle of its windows."""
    monkeypatch.chdir(tmp_path)
    upload(replace(in_shards(judged[0], tmp_path / "set", 0.3), address=f"{bucket}/set"))
    changes = {"data.dir": f"{bucket}/set", "data.shards.window": 2, "train.images": 96, "train.evaluate_every": 48}
    changes |= {"optim.decay_from": 1.0}  # or the first run would slow down towards an end of its own
    streamed = replaced(experiment, changes)
    faces = opened(streamed.data)
    networks = face_networks(faces, streamed.judge)
    run(streamed, faces, networks, RunFolder(tmp_path / "whole"), lambda point: None)
    run(replaced(streamed, {"train.images": 48}), faces, networks, RunFolder(tmp_path / "cut"), lambda point: None)
    run(streamed, faces, networks, RunFolder(tmp_path / "cut"), lambda point: None, resume=True)
    whole, cut = (checkpoint.load(tmp_path / name / "checkpoint")["generator"] for name in ("whole", "cut"))
    assert all((cut[name] - value).abs().max() < 1e-5 for name, value in whole.items())
