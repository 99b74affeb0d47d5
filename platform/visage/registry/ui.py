"""MLflow's pages on the configured store."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from visage.errors import UserError
from visage.registry.store import absolute, database_of, open_store

HOST = "127.0.0.1"
START_SECONDS = 300


@contextmanager
def pages(uri: str, port: int) -> Iterator[tuple[str, subprocess.Popen]]:
    """MLflow's server on the SQLite store at `uri`: its address, once it answers, and its process.

    It listens on the loopback only and ends with the block. Raises UserError when the port is in use, when the store
    cannot be opened, and for a store that is a server, which has pages of its own.
    """
    address = absolute(uri)
    database = database_of(address)
    if database is None:
        raise UserError(f"tracking_uri = {uri}: is a server with pages of its own; open that address in a browser.")
    open_store(address)
    with socket.socket() as probe:
        # As the server does, so that a port that a connection has just left counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            raise UserError(f"port {port}: is in use or not allowed; give another one with --port.") from None
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", address, "--artifacts-destination", str(database.parent / "mlartifacts")]
    # The job runner would start processes that Visage has no use for.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_LOGGING_LEVEL": "ERROR"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its workers end with it
    )
    try:
        url = f"http://{HOST}:{port}"
        _wait(url, process)
        yield url, process
    finally:
        _end(process)


def _wait(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"{url}: MLflow's server did not start; see what `mlflow server` says on this machine.")


def _end(process: subprocess.Popen) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
