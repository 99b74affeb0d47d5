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
from pathlib import Path
from typing import Any

import pytest

INSTALLED = "/usr/lib/postgresql"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of an empty database on a server of its own, on loopback; it refuses to run as root."""
    programs = sorted(Path(INSTALLED).glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="visage-postgres-"))  # pytest's own is closed to other users
    server = None
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, user, user)
        account: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(
            [programs[-1], "-D", folder / "data", "-U", "visage", "--auth=trust", "-E", "UTF8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **account,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (folder / "log").open("w") as log:
            places = ["-D", folder / "data", "-k", folder, "-h", "127.0.0.1", "-p", str(port)]
            server = subprocess.Popen(
                [programs[-1].with_name("postgres"), "-F", *places], stdout=log, stderr=log, cwd=folder, **account
            )
        for _ in range(600):
            assert server.poll() is None, (folder / "log").read_text()
            if "ready to accept connections" in (folder / "log").read_text():
                break
            time.sleep(0.1)
        yield f"postgresql://visage@127.0.0.1:{port}/postgres"
    finally:
        if server:
            server.send_signal(signal.SIGINT)  # a fast shutdown, which waits for no client
            server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
