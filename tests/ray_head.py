"""A Ray head of its own for the jobs: with a job server on a free port, and asking for a token."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_cli import visage

from k8s.servers import answer
from serve_app.ingress import free_ports

TOKEN = "a-token-of-the-tests-0123456789abcdef"
SECONDS = 300  # a head of a machine that is busy otherwise


@dataclass(frozen=True)
class Head:
    """address: of its job server. gcs: as RAY_ADDRESS names it."""

    address: str
    gcs: str
    folder: Path

    def visage(self, command: str, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """`visage COMMAND` against this head, with its token."""
        token = {"RAY_AUTH_TOKEN": TOKEN, **more}
        return visage(command, *arguments, "--address", self.address, folder=folder, **token)


@pytest.fixture(scope="module")  # an idle Ray takes a tenth of a core from all others
def head() -> Iterator[Head]:
    with ray_head() as made:
        yield made


@contextmanager
def ray_head(mode: str = "token") -> Iterator[Head]:
    """Two CPUs on loopback. Not the session's own Ray, as no other Ray's agent has its port here.

    mode: token, or disabled for a head that asks for none.
    """
    gcs, dashboard, agent, client = free_ports(4)
    # Not pytest's, whose paths are too long for a socket's; nor Ray's own, where others would find and join it.
    folder = Path(tempfile.mkdtemp(prefix="visage-ray-"))
    ports = ("--port", gcs, "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent)
    ports += ("--ray-client-server-port", client)  # a head ends when it cannot have that one
    options = ("--head", "--block", "--num-cpus", 2, "--dashboard-host", "127.0.0.1", "--temp-dir", folder)
    options += ("--node-ip-address", "127.0.0.1")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *map(str, (*options, *ports))]
    environment = {**os.environ, "RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": TOKEN}
    environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or Ray listens on the outward address instead
    environment.pop("RAY_ADDRESS", None)
    # A job's command is `python`, and must be this one.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    made = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", folder)
    try:
        deadline = time.monotonic() + SECONDS
        while not answer(f"{made.address}/api/jobs/", {"Authorization": f"Bearer {TOKEN}"}):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.5)
        yield made
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
