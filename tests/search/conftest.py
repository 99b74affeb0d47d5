"""A PostgreSQL of the tests' own, from Debian's package."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

INSTALLED = "/usr/lib/postgresql"


class Server:
    """A PostgreSQL on loopback that can be stopped and started; it refuses to run as root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        user = "postgres" if os.geteuid() == 0 else getpass.getuser()
        self.account: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, user, user)
            self.account = {"user": user, "group": user, "extra_groups": []}
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "visage", "--auth=trust", "-E", "UTF8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **self.account,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"postgresql://visage@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        places = ["-D", self.folder / "data", "-k", self.folder, "-h", "127.0.0.1", "-p", str(self.port)]
        log = self.folder / "log"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-F", *places], stdout=file, stderr=file, cwd=self.folder, **self.account
            )
        for _ in range(600):
            assert self.process.poll() is None, log.read_text()
            if "ready to accept connections" in log.read_text():
                return
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGINT)  # a fast shutdown, which waits for no client
            self.process.wait(60)
            self.process = None


@contextmanager
def server() -> Iterator[Server]:
    found = sorted(Path(INSTALLED).glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="visage-postgres-"))  # pytest's own is closed to other users
    made = None
    try:
        made = Server(found[-1].parent, folder)
        made.start()
        yield made
    finally:
        if made:
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of an empty database on a server of its own."""
    with server() as running:
        yield running.address


@pytest.fixture
def stoppable() -> Iterator[Server]:
    """A server for a test that stops it."""
    with server() as running:
        yield running
