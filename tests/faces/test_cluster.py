"""The preparation on a Ray cluster at RAY_ADDRESS: its nodes do the work and read the photographs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faces.photos import people_folder

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
import os

source, seen = map(Path, sys.argv[1:])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
for _ in range(2):
    cluster.add_node(num_cpus=1)
os.environ["RAY_ADDRESS"] = cluster.address

from visage.config.data import Data, Shares
from visage.faces import photographs
from visage.faces.prepare import prepare

at_work = photographs.align_in_worker

def noting(batch, size):
    import ray

    with (seen / ray.get_runtime_context().get_node_id()).open("a") as lines:
        lines.write("batch\\n")
    return at_work(batch, size)

photographs.align_in_worker = noting
shares = Shares(train=0.5, validation=0.2, test=0.3)
faces = prepare(Data(dir=source.parent / "set", layout="folder", source=source, size=32, shares=shares))
print(len(faces.identity) + len(faces.facts["left_out"]), len(cluster.worker_nodes), cluster.head_node.node_id)
cluster.shutdown()
"""


@pytest.mark.ray
@pytest.mark.soak
def test_the_nodes_of_a_cluster_share_the_work(tmp_path: Path) -> None:
    source, seen = people_folder(tmp_path / "photographs", 70, side=160), tmp_path / "seen"
    seen.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    command = [sys.executable, "-c", CODE, str(source), str(seen)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    pictures, nodes, head = done.stdout.split()[-3:]
    assert (pictures, nodes) == ("140", "2")
    batches = {path.name: len(path.read_text().splitlines()) for path in seen.iterdir()}
    assert len(batches) == 2
    assert head not in batches
    assert sum(batches.values()) == 18
