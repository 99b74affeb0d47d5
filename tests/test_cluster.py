import os
import subprocess
import sys

import pytest

from visage.config.experiment import Train
from visage.errors import UserError
from visage.training.resources import concurrency, this_machine


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
