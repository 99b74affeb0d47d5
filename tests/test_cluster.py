import json
import os
import secrets
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from ray_head import TOKEN, ray_head

from tests.cuda import pretended
from visage.config.experiment import Train
from visage.errors import UserError
from visage.training.resources import DRIVER_CPUS, cautions, concurrency, this_machine


def test_a_cluster_that_does_not_answer_is_one_sentence() -> None:
    # In a process of its own: in this one another test may have started Ray, which is then used.
    code = "from visage.infra.ray_session import start_ray; start_ray()"
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:9", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "UserError: RAY_ADDRESS = 127.0.0.1:9: no Ray answers" in done.stderr
    assert "unset it." in done.stderr


def test_what_this_machine_lacks_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"train\.workers = 1.*1000 GPUs each"):
        concurrency(this_machine(), Train(gpus_per_worker=1000))
    assert concurrency(this_machine(), Train()) >= 1


def test_gpus_that_stay_idle_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cautions(Train()) == []
    with pretended():
        assert "gpus_per_worker=1" in cautions(Train())[0]
        assert cautions(Train(gpus_per_worker=1)) == []
        assert "the others stay idle" in cautions(Train(gpus_per_worker=2))[0]


GROWING = """
import ray
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import AutoscalingState
from visage.config.experiment import Train
from visage.errors import UserError
from visage.training.resources import room

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)  # of which the job itself holds one
large = Train(gpus_per_worker=8)
try:
    room(large)
except UserError as error:
    print(error)
print(room(Train()), room(Train(), 3))
# What an autoscaler tells Ray of itself once in a few seconds.
state = AutoscalingState(autoscaler_state_version=1, last_seen_cluster_resource_state_version=1)
GcsClient(ray.get_runtime_context().gcs_address).report_autoscaling_state(state.SerializeToString())
print(room(large), room(large, 9))
"""


@pytest.mark.ray
def test_where_an_autoscaler_adds_nodes_what_is_not_there_yet_is_waited_for() -> None:
    # A Ray of its own, as this one stays one that grows.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), DRIVER_CPUS: "1"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run([sys.executable, "-c", GROWING], env=environment, capture_output=True, text=True, timeout=300)
    refused, *rooms = done.stdout.splitlines()
    assert "8 GPUs each, do not fit here" in refused, done.stderr
    assert rooms == ["1 1", "4 9"]


BESIDE = """
import ray
from ray.cluster_utils import Cluster
from visage.config.experiment import Train
from visage.training.resources import room

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0}, shutdown_at_exit=False)
cluster.add_node(num_cpus=2)
cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)
print(room(Train()))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
def test_a_driver_s_cpu_is_counted_where_several_nodes_share_a_machine() -> None:
    """As in `make cluster`: Ray has the driver join the head, whose CPUs are none."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), DRIVER_CPUS: "1"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run([sys.executable, "-c", BESIDE], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["2"], done.stderr


ENDING = """
import asyncio
import time
import ray
from visage.infra.ray_session import local_ray

with local_ray(dashboard=False):
    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Controller:  # like Ray Serve's, which is killed while its end is waited for
        async def begin(self):
            pass

        async def end(self):
            await asyncio.sleep(600)

    controller = Controller.remote()
    ray.get(controller.begin.remote())
    ending = controller.end.remote()
    time.sleep(1)
    ray.kill(controller)
    try:
        ray.get(ending, timeout=60)
    except ray.exceptions.RayActorError:
        print("ended")
    time.sleep(2)
"""


@pytest.mark.ray
def test_an_endpoint_that_ends_says_nothing_of_a_task_that_failed() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run([sys.executable, "-c", ENDING], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "ended\n", done.stdout + done.stderr


NETWORK = "ip link set lo up && ip link add out type bridge && ip addr add 10.98.0.1/24 dev out && ip link set out up"
APART = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "sh", "-ec"]
LISTENING = """
import json, os
import httpx, psutil, ray
from visage.infra.ray_session import local_ray

with local_ray():
    # As a command on the next node of the network would.
    agent = f"{ray.util.get_node_ip_address()}:{ray._private.worker._global_node.dashboard_agent_listen_port}"
    path = f"http://{agent}/api/job_agent/jobs/none/logs"
    asked = httpx.get(path).status_code
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [found for each in processes for found in each.net_connections("tcp")]
    open_to = {found.laddr.ip for found in sockets if found.status == "LISTEN"}
    print(json.dumps([asked, sorted(open_to), ray.get(ray.remote(lambda: os.environ["RAY_AUTH_MODE"]).remote())]))
"""


def without_token(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user who has set nothing of Ray's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home), **more}


@pytest.mark.ray
def test_a_local_ray_asks_for_a_token_and_listens_on_loopback(tmp_path: Path) -> None:
    # In a network of its own, where no other Ray's agent has the port.
    try:
        probe = subprocess.run([*APART, NETWORK], capture_output=True, text=True)
    except FileNotFoundError as missing:
        pytest.skip(f"{missing.filename} is not installed (Debian's packages util-linux and iproute2)")
    if probe.returncode:
        pytest.skip(f"no network of its own is allowed here: {probe.stderr.strip()}")
    script = f'{NETWORK} && ip route add default via 10.98.0.2 && exec "$0" -c "$1"'
    command = [*APART, script, sys.executable, LISTENING]
    done = subprocess.run(command, env=without_token(tmp_path), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    asked, open_to, mode = json.loads(done.stdout)
    assert asked == 401
    assert all(ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in open_to), open_to
    assert mode == "token"
    kept = tmp_path / ".ray" / "auth_token"
    assert kept.stat().st_mode & 0o077 == 0
    assert kept.read_text() not in done.stdout + done.stderr


JOINED = """
import ray
from visage.infra.ray_session import local_ray

@ray.remote
class Actor:
    def answer(self): return "an actor answers"

with local_ray():
    print(ray.get(Actor.remote().answer.remote(), timeout=60))
"""


@pytest.mark.ray
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_a_cluster_gets_the_token_that_it_asks_for(tmp_path: Path, mode: str) -> None:
    """RAY_ADDRESS alone is enough where ~/.ray has the token, and a token there does not hinder where none is asked."""
    home, other = tmp_path / "home", secrets.token_hex(32)
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text(TOKEN)

    def joined(home: Path, **more: str) -> subprocess.CompletedProcess[str]:
        environment = without_token(home, RAY_ADDRESS=head.gcs, **more)
        command = [sys.executable, "-c", JOINED]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)

    with ray_head(mode) as head:
        found = joined(home)
        assert found.stdout == "an actor answers\n", found.stderr
        if mode == "token":
            none = joined(tmp_path)
            assert f"UserError: RAY_ADDRESS = {head.gcs}: asks for a token; set RAY_AUTH_TOKEN" in none.stderr
            wrong = joined(tmp_path, RAY_AUTH_TOKEN=other)
            assert f"UserError: RAY_ADDRESS = {head.gcs}: refuses the token; set RAY_AUTH_TOKEN" in wrong.stderr
            assert other not in wrong.stderr
