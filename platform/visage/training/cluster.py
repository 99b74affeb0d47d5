"""The Ray that a command runs on: the one that is there, the one at RAY_ADDRESS, or a local one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def local_ray() -> Iterator[None]:
    """Connect to Ray for the time of the block; what this started, and only that, is stopped afterwards.

    With Ray initialised already it is used as it is; with RAY_ADDRESS set that cluster is used; else a local one
    over all cores starts on loopback. Its dashboard stays on, as Train inside Tune asks it which workers to free.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    # A new local cluster asks for tokens by default; this one is reached from this machine alone.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # Ray would run its workers at nice 15, behind all else that the machine does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
