"""A Ray head of its own for the jobs: with a job server on a free port, and asking for a token."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_cli import visage

from serve_app.ingress import free_ports

TOKEN = "a-token-of-the-tests-0123456789abcdef"


@dataclass(frozen=True)
class Head:
    address: str
    folder: Path

    def visage(self, command: str, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """`visage COMMAND` against this head, with its token."""
        token = {"RAY_AUTH_TOKEN": TOKEN, **more}
        return visage(command, *arguments, "--address", self.address, folder=folder, **token)


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """Two CPUs on loopback. Not the session's own Ray, as no other Ray's agent has its port here."""
    gcs, dashboard, agent = free_ports(3)
    # Not pytest's, whose paths are too long for a socket's; nor Ray's own, where others would find and join it.
    folder = Path(tempfile.mkdtemp(prefix="visage-ray-"))
    ports = ("--port", gcs, "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent)
    options = ("--head", "--block", "--num-cpus", 2, "--dashboard-host", "127.0.0.1", "--temp-dir", folder)
    options += ("--node-ip-address", "127.0.0.1")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *map(str, (*options, *ports))]
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    environment.pop("RAY_ADDRESS", None)
    # A job's command is `python`, and must be this one.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    made = Head(f"http://127.0.0.1:{dashboard}", folder)
    try:
        for _ in range(120):
            assert process.poll() is None, (folder / "log").read_text()
            if made.visage("jobs", folder=folder).returncode == 0:
                break
            time.sleep(1)
        yield made
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
