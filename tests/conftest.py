"""Shared fixtures: one local Ray for the session, and the real photographs where they are to be had."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# A new local cluster asks for a token by default; the tests' own cluster listens on loopback only.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

LONDON = Path(__file__).parents[2] / "shared" / "data" / "london"


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of two CPUs in this machine; the dashboard stays, as Train inside Tune needs its state API."""
    import ray

    ray.init(num_cpus=2, log_to_driver=False, logging_level="warning")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def london() -> Path:
    """The folder of real photographs, which are not part of the project."""
    if not LONDON.is_dir():
        pytest.skip("the London photographs are not beside the project")
    return LONDON
