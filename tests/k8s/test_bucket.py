"""A cluster whose nodes share a bucket and no folder: the disks are emptied in the middle of a study."""

import shutil

import pytest

from k8s.servers import BUCKET
from tests.k8s.test_one_machine import User, ask_to_stop, until, user

__all__ = ["user"]

pytestmark = [pytest.mark.soak, pytest.mark.ray]


def test_a_study_in_a_bucket_outlives_the_disks_of_its_nodes(user: User) -> None:
    user.variables["VISAGE_STORAGE"] = f"s3://{BUCKET}/visage"
    config = user.study("apart", images=2400, every=240)
    placed = (config, "--env", "VISAGE_STORAGE")
    job = user.submitted(*placed)
    until(lambda: len(user.ended("apart")) > 0)
    ask_to_stop(user, job, config)
    until(lambda: user.state(job) in ("stopped", "failed"))
    for place in ("studies", "data", "tune"):
        shutil.rmtree(user.home / "runs" / place, ignore_errors=True)
    done = user.visage("submit", "tune", *placed, "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert user.ended("apart") == ["complete"] * 3
    assert user.curves("apart") == [list(range(240, 2401, 240))] * 3
    judged = user.visage("submit", "evaluate", "visage-ucgan/1", "--data", "runs/faces", *placed[1:], "--wait")
    assert judged.returncode == 0, judged.stdout + judged.stderr
