import pytest

from visage.config.experiment import Train
from visage.errors import UserError
from visage.training.cluster import local_ray
from visage.training.resources import concurrency, this_machine


def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"RAY_ADDRESS = 127\.0\.0\.1:9.*unset it"), local_ray():
        pass


def test_what_this_machine_lacks_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"train\.workers = 1.*1000 GPUs each"):
        concurrency(this_machine(), Train(gpus_per_worker=1000))
    assert concurrency(this_machine(), Train()) >= 1
