"""A node is parted from the others by the network: for a while, and for longer than Ray waits for it."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.search.fakes import GOAL, experiment
from tests.search.partition import NODES, TRIALS
from visage.search.study.records import open_study, table

pytestmark = [pytest.mark.soak, pytest.mark.ray]

ALL = list(range(100, GOAL + 1, 100))
# Root has the right already; anybody else is root in a user namespace.
APART = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
Steps = dict[str, list[tuple[int, str]]]


@pytest.fixture
def study(tmp_path: Path, request: pytest.FixtureRequest) -> Steps:
    """What each trial did, as (images, node), in a study of which a node was parted in this way."""
    try:
        probe = subprocess.run([*APART, "ip", "link", "add", "probe", "type", "bridge"], capture_output=True, text=True)
    except FileNotFoundError as missing:
        pytest.skip(f"{missing.filename} is not installed (Debian's packages util-linux and iproute2)")
    if probe.returncode:
        pytest.skip(f"no network of its own is allowed here: {probe.stderr.strip()}")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [*APART, sys.executable, "-m", "tests.search.partition", str(tmp_path), request.param]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found: Steps = defaultdict(list)
    for line in (tmp_path / "steps").read_text().splitlines():
        number, images, node = line.split()
        found[number].append((int(images), node))
    assert (tmp_path / "healed").exists(), done.stderr
    assert (tmp_path / "living").read_text() == "3"  # the head and both nodes
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=TRIALS)
    rows = table(open_study(asked, resume=True))
    assert [row["state"] for row in rows] == ["complete"] * TRIALS
    client = MlflowClient(asked.registry.tracking_uri)
    for row in rows:
        run = client.get_run(row["run_id"])
        assert (run.info.status, run.data.tags["visage.state"]) == ("FINISHED", "complete")
        assert sorted(point.step for point in client.get_metric_history(row["run_id"], "score")) == ALL
    return found


@pytest.mark.parametrize("study", ["shortly"], indirect=True)
def test_a_network_that_soon_comes_back_costs_nothing(study: Steps) -> None:
    for number, did in study.items():
        assert [images for images, _ in did] == ALL, number
        assert len({node for _, node in did}) == 1, number
    assert {node for did in study.values() for _, node in did} == set(NODES)


@pytest.mark.parametrize("study", ["longer"], indirect=True)
def test_a_network_that_breaks_connections_costs_one_step_at_most(study: Steps) -> None:
    """After 20 s without an answer gRPC gives a connection up, and with it Tune a trial; the node is not dead yet."""
    for number, did in study.items():
        images = [images for images, _ in did]
        assert (sorted(set(images)), len(images) <= len(ALL) + 1) == (ALL, True), number
        assert images == sorted(images), number


@pytest.mark.parametrize("study", ["lost"], indirect=True)
def test_a_node_that_is_parted_for_longer_loses_its_trial_to_another_and_joins_anew(study: Steps) -> None:
    [cut] = [number for number, did in study.items() if len({node for _, node in did}) == 2]
    nodes = [node for _, node in study[cut]]
    assert nodes == sorted(nodes)  # on the parted node first; from then on nothing came from there
    assert sorted({images for images, _ in study[cut]}) == ALL
    assert len(study[cut]) <= len(ALL) + 1  # the step in which it was cut off may be done twice
    for number in study.keys() - {cut}:
        assert [images for images, _ in study[number]] == ALL, number
    assert any(node == NODES[0] for number in study.keys() - {cut} for _, node in study[number])  # it works again
