"""One training over two nodes, each a raylet of its own with one CPU, so that each has one of the two workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from visage.config import Experiment, replaced
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks
from visage.training import checkpoint
from visage.training.run import run
from visage.training.run_folder import RunFolder

pytestmark = [pytest.mark.soak, pytest.mark.ray]
SCRIPT = """
import os
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
os.environ["RAY_ADDRESS"] = cluster.address

from visage.config import Experiment
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import face_networks
from visage.training import ray_train
from visage.training.run import run
from visage.training.run_folder import RunFolder

out = Path(sys.argv[1])
work = ray_train._worker

def noting(settings):
    (out / ray.get_runtime_context().get_node_id()).touch()
    return work(settings)

ray_train._worker = noting
experiment = Experiment.model_validate_json((out / "experiment.json").read_text())
faces = FaceSet.open(experiment.data.dir)
killed = []

def watch(point):
    print(f"at:{point.images}", flush=True)
    if sys.argv[2:] and not killed:
        killed.append(nodes.pop())
        cluster.remove_node(killed[0], allow_graceful=False)

run(experiment, faces, face_networks(faces, experiment.judge), RunFolder(out / "two"), watch)
cluster.shutdown()
"""


def train_there(experiment: Experiment, folder: Path, *arguments: str) -> str:
    """Train on two new nodes; what was printed. A further argument: the second one dies at the first evaluation."""
    (folder / "experiment.json").write_text(experiment.model_dump_json())
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", SCRIPT, str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    assert len([path for path in folder.iterdir() if len(path.name) == 56]) == 2  # nodes that worked
    return done.stdout


def test_two_nodes_train_what_one_process_trains(
    judged: tuple[FaceSet, FaceNetworks], experiment: Experiment, tmp_path: Path
) -> None:
    exact = replaced(experiment, {"train.precision": "float32", "train.images": 32, "train.evaluate_every": 16})
    two = replaced(exact, {"train.workers": 2, "data.dir": judged[0].dir.absolute()})
    train_there(two, tmp_path)

    run(exact, *judged, RunFolder(tmp_path / "one"), lambda point: None)
    shared, alone = (checkpoint.load(tmp_path / name / "checkpoint") for name in ("two", "one"))
    assert shared["images"] == alone["images"] == 32
    for network in ("generator", "discriminator", "ema"):
        flat = [torch.cat([value.flatten() for value in state[network].values()]) for state in (shared, alone)]
        apart = (flat[0] - flat[1]).abs()
        assert apart.quantile(0.99) < 1e-5
        # Adam moves a weight by the rate in the gradient's direction, which rounding may turn where it is near zero.
        assert apart.max() <= 2 * (32 // exact.train.batch) * exact.optim.rate


def test_a_training_goes_on_with_fewer_workers_when_a_node_dies(
    judged: tuple[FaceSet, FaceNetworks], experiment: Experiment, tmp_path: Path
) -> None:
    changes = {"train.workers": 2, "train.min_workers": 1, "train.images": 400, "train.evaluate_every": 80}
    elastic = replaced(experiment, {**changes, "data.dir": judged[0].dir.absolute()})
    said = train_there(elastic, tmp_path, "one dies")
    assert sorted({int(word[3:]) for word in said.split() if word.startswith("at:")}) == [80, 160, 240, 320, 400]
    assert checkpoint.load(tmp_path / "two" / "checkpoint")["images"] == 400
