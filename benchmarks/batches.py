"""What live callers notice of a batch: their p99 with and without one, in alternate phases of one run.

    python benchmarks/batches.py [--rounds 15] [--seconds 6] [--clients 2]

One replica with one core answers `benchmarks/load.py`, and the worker of batches has one core by its settings; the
clients and HAProxy take of the same two. Batches of 640 px photographs are in work all the time; for every second phase
the worker is stopped (SIGSTOP). Ratios are of neighbours, so that a machine that changes its pace changes both; the
median is what counts, the aim is at most 1.2.
"""

import argparse
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.finding import photograph
from benchmarks.load import cpu_of
from benchmarks.machine import measured_with
from benchmarks.served import untrained_bundle

PHOTOGRAPHS, DIFFERENT, BATCHES = 2000, 40, 4


def photographs(path: Path) -> Path:
    from PIL import Image

    files = []
    for number in range(DIFFERENT):
        buffer = io.BytesIO()
        Image.fromarray(photograph(number)).save(buffer, "JPEG", quality=92)
        files.append(buffer.getvalue())
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(PHOTOGRAPHS):
            archive.writestr(f"{number:04d}.jpg", files[number % DIFFERENT])
    return path


def live(url: str, clients: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name("load.py")), f"{url}/v1/expressions"]
    command += ["--clients", str(clients), "--seconds", str(seconds), "--warm-up", "1"]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def beside(url: str, clients: int, seconds: float, worker: int) -> dict[str, float]:
    """The same with the worker, with the share of a core that it got."""
    os.kill(worker, signal.SIGCONT)
    start, used = time.perf_counter(), cpu_of(worker)
    found = live(url, clients, seconds)
    found["core_of_the_worker"] = round((cpu_of(worker) - used) / (time.perf_counter() - start), 2)
    os.kill(worker, signal.SIGSTOP)
    return found


def worker_process() -> int:
    from ray.serve.context import _get_global_client

    deployments = _get_global_client().get_serve_details()["applications"]["visage"]["deployments"]
    return int(deployments["Worker"]["replicas"][0]["pid"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--clients", type=int, default=2)
    options = parser.parse_args()

    from serve_app.app import serve, stop
    from serve_app.ingress import free_ports
    from visage.client import Client
    from visage.config import Serving, validated

    with tempfile.TemporaryDirectory() as scratch:
        tree: dict[str, Any] = {
            "model": str(untrained_bundle(Path(scratch, "bundle"))),
            "tracking_uri": f"sqlite:///{scratch}/mlflow.db",
            "port": free_ports(1)[0],
            "replicas": {"max": 1},
            "access": {"required": False},
            "batches": {"dir": f"{scratch}/batches", "of_a_key": 20},
        }
        url = serve(validated(Serving, tree, "batches"), block=False)
        rounds, worker = [], 0
        try:
            sent = photographs(Path(scratch, "photos.zip"))
            with Client(url) as client:
                batches = [client.send_batch(sent, "happy", view="photo") for _ in range(BATCHES)]
                while client.batch(batches[0].id).state == "waiting":
                    time.sleep(0.2)
                time.sleep(10)  # until its networks are loaded
                worker = worker_process()
                os.kill(worker, signal.SIGSTOP)
                for _ in range(options.rounds):
                    alone = live(url, options.clients, options.seconds)
                    rounds.append({"alone": alone, "beside": beside(url, options.clients, options.seconds, worker)})
                    print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
                assert client.batch(batches[-1].id).state != "done", "they ended too soon; take more photographs"
        finally:
            if worker:
                os.kill(worker, signal.SIGCONT)
            stop()
    result: dict[str, Any] = {"clients": options.clients, "seconds": options.seconds, "rounds": len(rounds)}
    for name in ("alone", "beside"):
        result[name] = {key: statistics.median(each[name][key] for each in rounds) for key in rounds[0][name]}
    for name in ("p50_ms", "p99_ms"):
        ratios = [round(each["beside"][name] / each["alone"][name], 2) for each in rounds]
        result[f"{name}_ratio"] = {"rounds": ratios, "median": statistics.median(ratios)}
    print(json.dumps(result | measured_with("ray", "torch"), indent=1))


if __name__ == "__main__":
    main()
