"""MLflow's pages: a server of them, and what they open on: the runs of an experiment by their score, with what was
searched beside it.

MLflow keeps a view that is shared as a tag of the experiment, under a key that the page's address names.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from visage.errors import UserError
from visage.registry.store import absolute, database_of, every, open_store, store_faults

if TYPE_CHECKING:
    from mlflow import MlflowClient

HOST = "127.0.0.1"
START_SECONDS = 300
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"  # else the pages open on traces
KEY = "visage"
SHARED = f"mlflow.sharedViewState.{KEY}"
FIRST = ("score", "identity_similarity", "expression_probability", "au_agreement")  # each method has most of them
MOST = 8  # searched values that have a column


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


def prepare_view(client: "MlflowClient", experiment_id: str, searched: Sequence[str] = ()) -> None:
    """Let the experiment's page show its runs, the best score first. searched: dotted names of what a study searches,
    whose columns stand before those of earlier ones."""
    tags = client.get_experiment(experiment_id).tags
    if KIND not in tags:
        client.set_experiment_tag(experiment_id, KIND, TRAINING)
    before = _searched(tags.get(SHARED, ""))
    names = list(dict.fromkeys([*searched, *before]))[:MOST]
    if SHARED not in tags or names != before:
        client.set_experiment_tag(experiment_id, SHARED, json.dumps(_state(names)))


def views(uri: str) -> list[str]:
    """The paths of the prepared views of a store's pages; of the experiment that changed last first."""
    client = open_store(uri)
    with store_faults(uri):
        found = every(client.search_experiments, order_by=["last_update_time DESC"])
    asked = f"runs?workflowType=machine_learning&viewStateShareKey={KEY}"
    return [f"/#/experiments/{each.experiment_id}/{asked}" for each in found if SHARED in each.tags]


def _searched(state: str) -> list[str]:
    """What a state was made for; nothing of one that somebody else has put there."""
    try:
        return [str(name) for name in json.loads(state)["searched"]]
    except (ValueError, KeyError, TypeError):
        return []


def _state(searched: Sequence[str]) -> dict[str, object]:
    """The state of MLflow's table of runs; it passes over `searched`, which is for the next study."""
    score, *parts = (f"metrics.`{name}`" for name in FIRST)
    columns = [score, *(f"params.`{name}`" for name in searched), *parts, "tags.`visage.state`", "tags.`visage.study`"]
    return {
        "searched": list(searched),
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "searchFilter": "",
        "selectedColumns": columns,
        "columnOrder": columns,
    }
