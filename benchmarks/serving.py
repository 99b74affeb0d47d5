"""The endpoint beside what the same machine does without a server, and beside other servers of the same model.

    python benchmarks/serving.py [--rounds 3] [--seconds 8] [--clients 1 8 32 64] [--peers fastapi litserve bentoml]

Each round measures everything once, one after the other, each server started for it and stopped after, so that a
machine that changes its pace changes it for all:

- bare: one process that decodes aligned 64 px PNG faces, runs the generator in batches of 8 and encodes PNG, over all
  cores. Visage's ratio is to this.
- visage: the endpoint with HAProxy and as many replicas as cores, self-check off; asked by 1, 8, 32 and 64 clients for
  one expression a request, `Accept: image/png`.
- visage+check: the same at 32 clients with the answer in JSON and its self-check, and once without, as its price.
- peers: FastAPI with uvicorn, LitServe, BentoML (`benchmarks/peers/`), two workers each, at 32 clients.

The clients are one process (`benchmarks/load.py`) that shares the cores with the server; what it takes of them is
reported, as is the CPU time of the server with all its processes. Medians over the rounds, with the lowest and highest.
Needs `pip install '.[bench]'`; BentoML gets an environment of its own (`--bentoml`), as it does not bear the versions
of Visage's. Run it on a machine that does nothing else.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import peers
from benchmarks.served import sample_faces, untrained_bundle

BATCH = 8
COMPARED = 32  # clients


def bare(folder: Path, seconds: float) -> dict[str, float]:
    """Decode, generator in batches and encode, in this process alone: faces a second, and CPU ms of one."""
    import torch

    from visage.faces.picture import encode_picture, read_picture
    from visage.methods.by_expression.editor import ExpressionEditor
    from visage.registry.bundle import read_bundle

    torch.set_num_threads(os.cpu_count() or 1)
    editor = ExpressionEditor(read_bundle(folder))
    files = sample_faces(64)

    def batch(number: int) -> None:
        chosen = [files[(number * BATCH + place) % len(files)] for place in range(BATCH)]
        faces = np.stack([read_picture(file) for file in chosen])
        expressions = [(number + place) % len(editor.expressions) for place in range(BATCH)]
        for face in editor.run(faces, range(BATCH), expressions, [1.0] * BATCH).faces:
            encode_picture(face)

    for number in range(20):
        batch(number)
    start, spent, number = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        batch(number)
        number += 1
    took, spent = time.perf_counter() - start, time.process_time() - spent
    faces = number * BATCH
    return {"requests_per_s": round(faces / took, 1), "server_cpu_ms": round(1000 * spent / faces, 3)}


def endpoint(model: Path, seconds: float, clients: list[int], settings: list[str], accept: str) -> dict[int, Any]:
    """What `load` says of the endpoint, by the number of clients; in a process of its own, that Ray ends with it."""
    from serve_app.app import serve, stop
    from serve_app.ingress import free_ports
    from visage.config import Serving, read_config

    cores = os.cpu_count() or 1
    config = Path(__file__).parents[1] / "configs" / "serve.yaml"
    replicas = [f"replicas.min={cores}", f"replicas.max={cores}"]
    serving = read_config(
        Serving, config, [f"model={model}", f"port={free_ports(1)[0]}", "self_check=false", *replicas, *settings]
    )
    url = serve(serving, block=False)
    try:
        return {count: peers.asked(f"{url}/v1/expressions", os.getpid(), count, seconds, accept) for count in clients}
    finally:
        stop()


def apart(*arguments: str) -> Any:
    """What this script prints with other arguments, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    # Ray may still say something when it ends.
    return json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))


def summary(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "low": min(values), "high": max(values)}


def over_rounds(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, lowest and highest of each figure that every round has."""
    return {
        key: over_rounds([each[key] for each in rounds])
        if isinstance(value, dict)
        else summary([each[key] for each in rounds])
        for key, value in rounds[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a bundle's folder of 64 px; default: an untrained one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the endpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--peers", nargs="*", default=list(peers.PEERS), choices=list(peers.PEERS))
    parser.add_argument("--bentoml", type=Path, default=Path(".venv-bentoml"), help="where its environment is made")
    parser.add_argument("--only", choices=["bare", "endpoint"], help=argparse.SUPPRESS)
    parser.add_argument("--accept", default="image/png", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only == "bare":
        print(json.dumps(bare(arguments.model, arguments.seconds)))
        return
    if arguments.only == "endpoint":
        found = endpoint(arguments.model, arguments.seconds, arguments.clients, arguments.set, arguments.accept)
        print(json.dumps(found))
        return

    if "bentoml" in arguments.peers:
        peers.make_bentoml(arguments.bentoml)
    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.model or untrained_bundle(Path(scratch) / "bundle")
        common = ("--model", str(model), "--seconds", str(arguments.seconds))
        sets = [part for setting in arguments.set for part in ("--set", setting)]
        rounds = []
        for number in range(arguments.rounds):
            measured: dict[str, Any] = {"bare": apart("--only", "bare", *common)}
            ours = apart("--only", "endpoint", "--clients", *map(str, arguments.clients), *common, *sets)
            measured |= {f"visage, {count} clients": value for count, value in ours.items()}
            for name in arguments.peers:
                with peers.running(name, model, arguments.bentoml) as (url, server):
                    measured[f"{name}, {COMPARED} clients"] = peers.asked(url, server, COMPARED, arguments.seconds)
            for check in ("false", "true"):
                settings = (*sets, "--set", f"self_check={check}", "--accept", "application/json")
                answer = apart("--only", "endpoint", "--clients", str(COMPARED), *common, *settings)
                measured[f"visage, JSON, self-check {check}"] = answer[str(COMPARED)]
            for count in ours:
                share = ours[count]["requests_per_s"] / measured["bare"]["requests_per_s"]
                measured[f"visage, {count} clients"]["of_bare"] = round(share, 3)
            rounds.append(measured)
            print(f"round {number + 1}: {json.dumps(measured)}", file=sys.stderr, flush=True)
    report(over_rounds(rounds), arguments)


def report(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    what = f"{arguments.rounds} rounds of {arguments.seconds:g} s"
    print(f"| {what} | a second | p50 ms | p95 ms | p99 ms | server CPU ms | client CPU ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, figures in found.items():
        first = figures["requests_per_s"]
        cells = [f"{first['median']} ({first['low']} to {first['high']})"]
        for key in ("p50_ms", "p95_ms", "p99_ms", "server_cpu_ms", "generator_cpu_ms"):
            cells.append(str(figures[key]["median"]) if key in figures else "")
        print(f"| {name} | " + " | ".join(cells) + " |")
    machine = {"cores": os.cpu_count(), "processor": processor(), "python": platform.python_version()}
    names = ("visage", "ray", "torch", "fastapi", "starlette", "uvicorn", "pillow")
    versions = {name: version(name) for name in names} | peers.versions(arguments.peers, arguments.bentoml)
    shares = {key: value["of_bare"] for key, value in found.items() if "of_bare" in value}
    print(
        json.dumps({"of_bare": shares, "machine": machine, "versions": versions, "settings": arguments.set}, indent=1)
    )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
