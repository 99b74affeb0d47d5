"""What callers notice of a new champion: the slowest request while it takes its place, against the p99 before.

    python benchmarks/swap.py [--swaps 6] [--clients 32] [--gap 10]

An endpoint with one replica and two versions of an untrained 64 px model; clients in a process of their own ask all the
time, as in `benchmarks/load.py`. Every `gap` seconds the alias moves to the other version. A swap lasts from that
moment until `/v1/model` names the new version; the p99 is that of the requests in the `gap` before. Prints a table and
the machine. Any answer that is no picture ends the run. Run it on a machine that does nothing else.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.load import Client, request_of
from benchmarks.served import EXPRESSIONS, sample_faces, untrained_bundle
from benchmarks.serving import processor

PATH = "/v1/expressions"


class Stamped(list[Any]):
    """Times of requests, each with the moment of its end."""

    def append(self, seconds: float) -> None:
        super().append((time.time(), seconds))


async def load(url: str, clients: int, until: float) -> list[tuple[float, float]]:
    """(end, seconds) of every request of so many clients, until a moment of `time.time()`."""
    parts, times = urlsplit(url), Stamped()
    faces = sample_faces(64)
    requests = [
        request_of(face, EXPRESSIONS[number % len(EXPRESSIONS)], parts.netloc, PATH, "image/png")
        for number, face in enumerate(faces)
    ]
    end = time.perf_counter() + until - time.time()
    made = [
        await asyncio.get_running_loop().create_connection(
            lambda number=number: Client(requests, number, clients, times, end),  # type: ignore[misc]
            parts.hostname,
            parts.port,
        )
        for number in range(clients)
    ]
    await asyncio.gather(*(client.ended for _, client in made))
    return times


def swaps(url: str, registry: Any, count: int, gap: float) -> list[tuple[float, float]]:
    """Move the alias so many times; (moved, seen) of each."""
    import httpx

    found = []
    with httpx.Client(timeout=60) as http:
        for number in range(count):
            time.sleep(gap)
            wanted, moved = 2 - number % 2, time.time()
            registry.client.set_registered_model_alias("visage-ucgan", "champion", str(wanted))
            while http.get(f"{url}/v1/model").json()["version"] != wanted:
                if time.time() - moved > 60:
                    raise SystemExit("the new version was not taken within 60 s")
                time.sleep(0.05)
            found.append((moved, time.time()))
    time.sleep(gap)
    return found


def report(times: list[tuple[float, float]], found: list[tuple[float, float]], gap: float) -> None:
    ends, seconds = (np.array(column) for column in zip(*times, strict=True))
    print("| swap | seconds from alias to answer | p99 before, ms | slowest during, ms | above p99, ms |")
    print("|--:|--:|--:|--:|--:|")
    above = []
    for number, (moved, seen) in enumerate(found, 1):
        before = np.percentile(seconds[(ends > moved - gap) & (ends <= moved)], 99) * 1000
        slowest = seconds[(ends > moved) & (ends - seconds < seen)].max() * 1000
        above.append(slowest - before)
        print(f"| {number} | {seen - moved:.2f} | {before:.1f} | {slowest:.1f} | {slowest - before:+.1f} |")
    print(f"\nabove the p99: median {np.median(above):+.1f} ms, lowest {min(above):+.1f}, highest {max(above):+.1f}")
    print(f"{len(times)} requests, each answered with a picture; {len(times) / (ends.max() - ends.min()):.0f} a second")
    versions = ", ".join(f"{name} {version(name)}" for name in ("visage", "ray", "torch"))
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=6)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--gap", type=float, default=10, help="seconds between swaps")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        # The other end of the pipe says until when.
        print(json.dumps(asyncio.run(load(arguments.load, arguments.clients, float(sys.stdin.readline())))))
        return

    from serve_app.app import serve, stop
    from serve_app.ingress import free_ports
    from visage.config import Serving, validated
    from visage.registry.models import Registry
    from visage.registry.tracking import Tracking

    with tempfile.TemporaryDirectory() as scratch:
        registry = Registry(f"sqlite:///{scratch}/mlflow.db")
        tracking, bundle = Tracking(registry.uri, "swap"), untrained_bundle(Path(scratch) / "bundle")
        for _ in range(2):
            registry.register(bundle, tracking.start_run("run").run_id)
        registry.client.set_registered_model_alias("visage-ucgan", "champion", "1")
        tree = {"tracking_uri": registry.uri, "port": free_ports(1)[0], "replicas": {"max": 1}, "self_check": False}
        url = serve(validated(Serving, {**tree, "access": {"required": False}}, "swap"), block=False)
        try:
            longest = (arguments.swaps + 1) * arguments.gap + arguments.swaps * 10
            command = [sys.executable, __file__, "--load", url, "--clients", str(arguments.clients)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
                assert clients.stdin
                assert clients.stdout
                print(time.time() + longest, file=clients.stdin, flush=True)
                time.sleep(5)  # until they ask, and everything is warm
                found = swaps(url, registry, arguments.swaps, arguments.gap)
                times = json.loads(clients.stdout.readline())
        finally:
            stop()
    report(times, found, arguments.gap)


if __name__ == "__main__":
    main()
