import os
import subprocess
import sys

import pytest

from tests.cuda import pretended
from visage.config.experiment import Train
from visage.errors import UserError
from visage.training.resources import cautions, concurrency, this_machine


def test_a_cluster_that_does_not_answer_is_one_sentence() -> None:
    # In a process of its own: in this one another test may have started Ray, which is then used.
    code = "from visage.cluster import start_ray; start_ray()"
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

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
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
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run([sys.executable, "-c", GROWING], env=environment, capture_output=True, text=True, timeout=300)
    refused, *rooms = done.stdout.splitlines()
    assert "8 GPUs each, do not fit here" in refused, done.stderr
    assert rooms == ["1 1", "4 9"]


ENDING = """
import asyncio
import time
import ray
from visage.cluster import local_ray

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
