"""The endpoint's throughput against what the same machine does without a server.

    python benchmarks/serving.py [--model FOLDER] [--clients 32] [--seconds 20]

One run measures both, and prints JSON. bare: one process that decodes aligned PNG faces, runs the generator in batches
of 8 and encodes PNG, over all cores. endpoint: the same work asked for over HTTP, one expression a request,
`Accept: image/png`, self-check off, by clients in a process of its own that shares the machine; with all replicas that
autoscaling would reach under this load. Without --model the generator is untrained (64 px, width 32, 8 expressions),
which takes the same time. Run it on a machine that does nothing else.
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

import numpy as np

BATCH = 8
EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "anger", "disgust", "contempt")


def untrained_bundle(out: Path) -> Path:
    """A bundle of untrained networks in the folder `out`."""
    import torch

    from visage.faces.picture import write_png
    from visage.models.identity import CompactEncoder
    from visage.models.judges import ExpressionCheck
    from visage.models.unet import UNet
    from visage.registry.bundle import write_bundle

    torch.manual_seed(0)
    write_bundle(
        out,
        generator=UNet(64, 32, len(EXPRESSIONS)),
        encoder=CompactEncoder(),
        check=ExpressionCheck(EXPRESSIONS),
        faces_png=write_png(None, np.zeros((8, 8, 3), np.uint8)),
        results=[],
        method="ucgan",
        expressions=EXPRESSIONS,
        config={},
        metrics={},
        data={"name": "none", "layout": "synthetic", "sha256": "0" * 64, "judges": "0" * 64},
        run_id="0" * 32,
        self_check={},
    )
    return out


def sample_faces(size: int, count: int = 64) -> list[bytes]:
    """PNG files of procedural faces."""
    from visage.faces.facs import prototype
    from visage.faces.picture import write_png
    from visage.faces.synthetic import render, traits

    names = [EXPRESSIONS[number % len(EXPRESSIONS)] for number in range(count)]
    return [write_png(None, render(traits(number), prototype(name), size)) for number, name in enumerate(names)]


def bare(folder: Path, seconds: float) -> float:
    """Faces a second of decode, generator in batches and encode, in this process alone."""
    import torch

    from visage.editing import Editor
    from visage.faces.picture import read_picture, write_png
    from visage.registry.bundle import read_bundle

    torch.set_num_threads(os.cpu_count() or 1)
    editor = Editor(read_bundle(folder))
    files = sample_faces(editor.size)

    def batch(number: int) -> None:
        chosen = [files[(number * BATCH + place) % len(files)] for place in range(BATCH)]
        faces = np.stack([read_picture(file) for file in chosen])
        expressions = [(number + place) % len(editor.expressions) for place in range(BATCH)]
        for face in editor.run(faces, range(BATCH), expressions, [1.0] * BATCH).faces:
            write_png(None, face)

    for number in range(5):
        batch(number)
    start, number = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        batch(number)
        number += 1
    return number * BATCH / (time.perf_counter() - start)


async def load(url: str, clients: int, seconds: float) -> dict[str, float]:
    """Requests a second and their times in ms, of so many clients that each ask again as soon as they are answered."""
    import aiohttp

    times: list[float] = []

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        async with session.get(f"{url}/v1/model") as answer:
            model = await answer.json()
        files = sample_faces(model["image_size"])

        async def client(number: int, end: float, record: bool) -> None:
            while time.perf_counter() < end:
                form = aiohttp.FormData()
                form.add_field("image", files[number % len(files)], filename="face.png", content_type="image/png")
                form.add_field("expression", model["expressions"][number % len(model["expressions"])])
                form.add_field("aligned", "true")
                number += clients
                start = time.perf_counter()
                async with session.post(f"{url}/v1/expressions", data=form, headers={"Accept": "image/png"}) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise SystemExit(f"{answer.status}: {body[:200]!r}")
                if record:
                    times.append(time.perf_counter() - start)

        for length, record in ((min(5.0, seconds), False), (seconds, True)):
            start = time.perf_counter()
            await asyncio.gather(*(client(number, start + length, record) for number in range(clients)))
        spent = time.perf_counter() - start
    p50, p95, p99 = (round(float(value) * 1000, 1) for value in np.percentile(times, (50, 95, 99)))
    return {"requests_per_s": round(len(times) / spent, 1), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def apart(*arguments: str) -> Any:
    """What this script prints with other arguments, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a bundle's folder; default: an untrained one")
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "serve.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the endpoint")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(json.dumps(bare(arguments.bare, arguments.seconds)))
        return
    if arguments.load:
        print(json.dumps(asyncio.run(load(arguments.load, arguments.clients, arguments.seconds))))
        return

    from serve_app.app import serve, stop
    from serve_app.ingress import free_ports
    from visage.config import Serving, read_config

    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.model or untrained_bundle(Path(scratch) / "bundle")
        seconds = ("--seconds", str(arguments.seconds))
        limit = apart("--bare", str(model), *seconds)
        settings = [f"model={model}", f"port={free_ports(1)[0]}", "self_check=false", *arguments.set]
        serving = read_config(Serving, arguments.config, settings)
        steady = serving.replicas.model_copy(update={"min": serving.replicas.max})
        serving = serving.model_copy(update={"replicas": steady})
        url = serve(serving, block=False)
        try:
            served = apart("--load", url, "--clients", str(arguments.clients), *seconds)
        finally:
            stop()
    result = {
        "bare_faces_per_s": round(limit, 1),
        "endpoint": served,
        "ratio": round(served["requests_per_s"] / limit, 3),
        "clients": arguments.clients,
        "settings": serving.model_dump(mode="json", include={"ingress", "replicas", "batching"}),
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("visage", "ray", "torch", "fastapi", "uvicorn", "pillow")},
    }
    print(json.dumps(result, indent=1))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
