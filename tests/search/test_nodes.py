"""A study over several nodes: each a raylet of its own, one of which dies, and some of which come later."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections import defaultdict
from pathlib import Path

import pytest

from k8s.servers import HOST, Server, listens
from serve_app.ingress import free_ports
from tests.search.fakes import GOAL, experiment
from visage.search.study.records import open_study, table

pytestmark = [pytest.mark.soak, pytest.mark.ray]

# The head has no CPUs. When all three nodes work, one is killed; then another one joins.
STUDY = """
    import threading
    import time
    from pathlib import Path

    import ray
    from ray.cluster_utils import Cluster
    from serve_app.ingress import free_ports
    from tests.search.fakes import experiment, trials
    from visage.search.tune import tune

    folder = Path("{folder}")
    steps = folder / "steps"
    steps.touch()
    head = {{"num_cpus": 0, "include_dashboard": True, "dashboard_port": free_ports(1)[0]}}
    # Hooks for its own end could be set by the main thread alone, and that one tunes.
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    ray.init(address=cluster.address, log_to_driver=False)

    def behaviour(number, values, images):
        node = ray.get_runtime_context().get_node_id()
        with steps.open("a") as file:
            file.write(f"{{number}} {{images}} {{node}}\\n")
        time.sleep(0.5)
        while (folder / "killed").exists() and not (folder / "worked").exists():
            time.sleep(0.2)  # or on a busy machine all is done before the new node has begun
        return images / 900

    def at_work():
        return {{line.split()[2] for line in steps.read_text().splitlines()}}

    def change():
        while len(at_work()) < 3:
            time.sleep(0.2)
        (folder / "killed").write_text(nodes[0].node_id)
        cluster.remove_node(nodes[0], allow_graceful=False)
        joined = cluster.add_node(num_cpus=1).node_id
        (folder / "joined").write_text(joined)
        while joined not in at_work():
            time.sleep(0.2)
        (folder / "worked").touch()

    changing = threading.Thread(target=change, daemon=True)
    changing.start()
    try:
        tune(experiment(folder, "sqlite:///{folder}/mlflow.db", trials=12), trials=trials(behaviour))
        changing.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
"""


def run(script: str, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    print(done.stderr)  # of a thread


def test_a_node_dies_and_another_joins(tmp_path: Path) -> None:
    run(STUDY.format(folder=tmp_path))
    killed, joined = (tmp_path / "killed").read_text(), (tmp_path / "joined").read_text()
    where: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, list[int]] = defaultdict(list)
    for line in (tmp_path / "steps").read_text().splitlines():
        number, images, node = line.split()
        where[number].append(node)
        seen[number].append(int(images))
    assert len(set().union(*where.values())) == 4
    assert joined in set().union(*where.values())

    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=12)
    states = {str(row["number"]): row["state"] for row in table(open_study(asked, resume=True))}
    assert list(states.values()) == ["complete"] * 12
    [cut] = [number for number, nodes in where.items() if killed in nodes and nodes[-1] != killed]
    # It went on from its last report, and so repeated one step at most.
    assert sorted(set(seen[cut])) == list(range(100, GOAL + 1, 100))
    assert len(seen[cut]) <= GOAL // 100 + 1


# Of no use here, and asked for.
LISTS = (
    "cluster_synced_files", "head_setup_commands", "head_start_ray_commands", "initialization_commands",
    "rsync_exclude", "rsync_filter", "setup_commands", "worker_setup_commands", "worker_start_ray_commands",
)  # fmt: skip
WAITING = """
    from pathlib import Path

    import ray
    from tests.search.fakes import experiment, trials
    from visage.search.tune import tune

    folder = Path("{folder}")

    def behaviour(number, values, images):
        (folder / f"{{number}}-{{ray.get_runtime_context().get_node_id()}}").touch()
        return images / 900

    tune(experiment(folder, "sqlite:///{folder}/mlflow.db", trials=3), trials=trials(behaviour))
"""


def test_a_study_waits_for_the_nodes_that_an_autoscaler_adds(tmp_path: Path) -> None:
    """Ray's own autoscaler, as KubeRay runs it, but with raylets of this machine for pods."""
    gcs, dashboard, agent, client = free_ports(4)
    # Ray looks for the head among the provider's nodes by this name.
    head_id = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
    provider = {
        "type": "external",  # the type of its own wants a file that Ray's wheel does not hold
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "head_node_id": head_id,
        "gcs_address": f"{HOST}:{gcs}",
        "launch_multiple": True,
    }
    types = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    config = tmp_path / "autoscaler.json"
    config.write_text(
        json.dumps(
            {
                "cluster_name": "test",
                "max_workers": 2,
                "provider": provider,
                "available_node_types": types,
                "head_node_type": "ray.head.default",
                "idle_timeout_minutes": 10,
                "upscaling_speed": 1,
                **{name: [] for name in LISTS},
                "auth": {},
                "file_mounts": {},
                "file_mounts_sync_continuously": False,
            }
        )
    )
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": head_id,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": head_id,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"],
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    ports = ("--port", gcs, "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent)
    options = ("--head", "--block", "--num-cpus", 0, "--autoscaling-config", config, "--node-ip-address", HOST, *ports)
    with tempfile.TemporaryDirectory(prefix="visage-ray-", ignore_cleanup_errors=True) as session:
        place = ("--temp-dir", session, "--ray-client-server-port", client, "--disable-usage-stats")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *place]
        with Server(tmp_path, "head", command, lambda: listens(dashboard), variables):
            run(WAITING.format(folder=tmp_path), RAY_ADDRESS=f"{HOST}:{gcs}")
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3)
    assert [row["state"] for row in table(open_study(asked, resume=True))] == ["complete"] * 3
    assert {path.name.split("-")[0] for path in tmp_path.glob("?-*")} == {"0", "1", "2"}


UNSEEN = """
    from pathlib import Path

    from tests.search.fakes import experiment, trials
    from visage.errors import UserError
    from visage.search.tune import tune

    folder = Path("{folder}")

    def behaviour(number, values, images):
        (folder / "trained").touch()
        return 0.5

    try:
        tune(experiment(folder, "sqlite:///{folder}/mlflow.db"), trials=trials(behaviour))
    except UserError as error:
        (folder / "said").write_text(str(error))
"""


def test_a_node_without_the_folder_is_named_before_the_first_trial(tmp_path: Path) -> None:
    """Its file system holds an empty folder in the place of the study's."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no file systems of its own are allowed here")
    folder = tmp_path / "shared"
    folder.mkdir()
    gcs, dashboard, agent, client, second = free_ports(5)
    variables = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    start = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", 1, "--disable-usage-stats")
    ports = ("--port", gcs, "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent)
    apart = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', folder)
    join = ("--address", f"{HOST}:{gcs}", "--dashboard-agent-listen-port", second)
    with tempfile.TemporaryDirectory(prefix="visage-ray-", ignore_cleanup_errors=True) as session:
        place = ("--head", "--node-ip-address", HOST, "--temp-dir", session, "--ray-client-server-port", client)
        with (
            Server(tmp_path, "head", [*start, *place, *ports], lambda: listens(dashboard), variables),
            Server(tmp_path, "node", [*apart, *start, *join], lambda: listens(second), variables),
        ):
            run(UNSEEN.format(folder=folder), RAY_ADDRESS=f"{HOST}:{gcs}")
    assert f": this node does not see {folder}/studies/test, " in (folder / "said").read_text()
    assert not (folder / "trained").exists()
