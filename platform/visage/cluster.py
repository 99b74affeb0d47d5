"""The Ray that a command runs on: the one that is there, the one at RAY_ADDRESS, or a local one of its own."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from visage.errors import UserError, one_line
from visage.interrupt import sigterm_kept

KNOCK_SECONDS = 10


def start_ray(*, dashboard: bool = True) -> bool:
    """Connect to Ray; true when this did it, and `ray.shutdown` is due later.

    With Ray initialised already it is used as it is; with RAY_ADDRESS set that cluster is used; else a local one
    over all cores starts on loopback, with a dashboard, as Train inside Tune asks it which workers to free, or quicker
    without one.
    Raises UserError when no Ray answers or starts.
    """
    import ray

    if ray.is_initialized():
        return False
    # A new local cluster asks for tokens by default; this one is reached from this machine alone.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # Ray would run its workers at nice 15, behind all else that the machine does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray would print each task that it means to try again, as the one in which Serve's controller ends itself.
    os.environ.setdefault("RAY_enable_output_error_log_if_still_retry", "0")
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _knock(address)
        quick = None if dashboard else False
        with sigterm_kept():  # Ray's would end the process at once, with a stack of its C++
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=quick)
    except Exception as error:  # of a machine that is too busy to start it, Ray raises a bare one
        if address:
            fault = f"RAY_ADDRESS = {address}: no Ray answers ({one_line(error)}); start one there, or unset it."
        else:
            fault = f"Ray does not start on this machine ({one_line(error)}); free memory and disk for it."
        raise UserError(fault) from None
    return True


@contextmanager
def local_ray(*, dashboard: bool = True) -> Iterator[None]:
    """Ray, as `start_ray` finds it, for the time of the block; what this started, and only that, is stopped after."""
    import ray

    started = start_ray(dashboard=dashboard)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nothing listens: Ray would try for ten minutes. `auto` has no port to try."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.port:
        socket.create_connection((parts.hostname or "", parts.port), KNOCK_SECONDS).close()


def root(error: BaseException) -> BaseException:
    """The error itself, without the layers that Ray Core, Train and Tune wrap around it."""
    workers = getattr(error, "worker_failures", None)
    inner = next(iter(workers.values())) if workers else None
    inner = inner or getattr(error, "cause", None) or getattr(error, "controller_failure", None) or error.__cause__
    return root(inner) if isinstance(inner, BaseException) and inner is not error else error
