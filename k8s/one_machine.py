"""The parts of k8s/base as processes of this machine, to try them and to test with: `make cluster`.

PostgreSQL, an S3-compatible store (SeaweedFS), MLflow's server with both, a Ray head without work and two worker
nodes. All but Ray's nodes listen on loopback alone; all but MLflow's server ask for a password or a token. Those are
made at the first start and kept in FOLDER; FOLDER/env holds what the commands need.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8s.servers import HOST, USER, Server, answer, mlflow, objects, postgres
from serve_app.ingress import free_ports, require_free
from visage.errors import UserError

NODES = 2


@dataclass(frozen=True)
class Parts:
    """What runs. job_server: for `visage submit`. nodes: the worker nodes.

    environment: what a command of Visage needs to reach all of it. stores: what the tools of PostgreSQL and of S3 need.
    """

    job_server: str
    environment: dict[str, str]
    stores: dict[str, str]
    mlflow: Server
    nodes: list[Server]


@contextmanager
def cluster(folder: Path, *, job_port: int, mlflow_port: int, cpus: int = 1) -> Iterator[Parts]:
    """All parts, for as long as the block lasts. What they keep lies in `folder`, for the next time.

    cpus: of each worker node, and one more of the first. Raises UserError for what is not installed, a port that is in
    use, and a part that does not come up.
    """
    require_free(HOST, job_port, "JOB_PORT")
    require_free(HOST, mlflow_port, "MLFLOW_PORT")
    folder = folder.absolute()
    shared = folder / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    password, key, token = _secrets(folder / "secrets.json")
    with ExitStack() as parts:
        database = parts.enter_context(postgres(folder, password))
        s3 = parts.enter_context(objects(folder, key))
        tracking = parts.enter_context(mlflow(folder, mlflow_port, database, password, s3))
        environment = {
            "MLFLOW_TRACKING_URI": f"http://{HOST}:{mlflow_port}",
            "OPTUNA_STORAGE": f"postgresql://{USER}@{HOST}:{database}/optuna",
            "PGPASSWORD": password,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "VISAGE_HOME": str(shared),
        }
        job_server = f"http://{HOST}:{job_port}"
        bearer = {"Authorization": f"Bearer {token}"}
        gcs, client = free_ports(2)
        # Short, as a socket's path may have a hundred letters; not Ray's own, where other commands would find it.
        session = Path("/tmp") / f"visage-{secrets.token_hex(3)}"
        parts.callback(shutil.rmtree, session, ignore_errors=True)

        def alive() -> int:
            found = answer(f"{job_server}/api/v0/nodes", bearer)
            nodes = found.json()["data"]["result"]["result"] if found else []
            return sum(node["state"] == "ALIVE" for node in nodes)

        def node(name: str, *options: object, head: Server | None = None) -> Server:
            """A node of Ray, when it has joined; it ends with its children."""
            before, [agent] = alive(), free_ports(1)

            def joined() -> bool:
                if head:
                    head.require()
                return alive() > before

            # Ray's ranges of ports may hold one of the others here.
            ports = ("--min-worker-port", 0, "--max-worker-port", 0, "--dashboard-agent-listen-port", agent)
            place = ("--node-ip-address", HOST, "--disable-usage-stats", *ports)
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options, *place]
            known = environment | s3  # for faces and checkpoints in the bucket
            return parts.enter_context(Server(folder, name, command, joined, known))

        work = ("--num-cpus", 0, "--dashboard-host", HOST, "--dashboard-port", job_port)
        own_ports = ("--port", gcs, "--ray-client-server-port", client)
        head = node("head", "--head", *own_ports, "--temp-dir", session, *work)
        nodes: list[Server] = []
        for number in range(NODES):
            own = cpus + (not number)  # a job's driver holds one
            nodes.append(node(f"node-{number + 1}", "--address", f"{HOST}:{gcs}", "--num-cpus", own, head=head))
        stores = {**s3, "PGHOST": HOST, "PGPORT": str(database), "PGUSER": USER, "PGPASSWORD": password}
        environment = environment | {"RAY_API_SERVER_ADDRESS": job_server}
        yield Parts(job_server, environment, stores, tracking, nodes)


def _secrets(kept: Path) -> list[str]:
    """PostgreSQL's password, the object store's key and Ray's token: those of the last time, or new ones."""
    if not kept.is_file():
        kept.touch(0o600)
        kept.write_text(json.dumps([secrets.token_hex(16) for _ in range(3)]))
    found: list[str] = json.loads(kept.read_text())
    return found


def main() -> None:
    words = argparse.ArgumentParser(description="A small cluster on this machine, until Ctrl-C.")
    words.add_argument("--folder", type=Path, default=Path("runs/cluster"))
    words.add_argument("--job-port", type=int, default=8265)
    words.add_argument("--mlflow-port", type=int, default=5000)
    given: Any = words.parse_args()
    cpus = max(1, (os.cpu_count() or 1) // NODES)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped either way
    print(f"PostgreSQL, an object store, MLflow and Ray's three nodes start; logs: {given.folder}", flush=True)
    try:
        with cluster(given.folder, job_port=given.job_port, mlflow_port=given.mlflow_port, cpus=cpus) as parts:
            env = given.folder / "env"
            env.touch(0o600)
            told = {**parts.stores, **parts.environment}
            env.write_text("".join(f"export {name}='{value}'\n" for name, value in told.items()))
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
