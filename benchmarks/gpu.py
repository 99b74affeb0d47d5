"""Whether Visage's networks, step and endpoint work on a GPU as on the CPU, and how fast they are there.

    python benchmarks/gpu.py --out runs/gpu [--device cpu --quick] [--parts parity train ...]

For a bare CUDA machine with torch, torchvision, safetensors, torchmetrics, typer, rich, numpy and pillow, and neither
Ray nor MLflow. Its few other needs, into a folder that PYTHONPATH names beside this checkout's own, which it finds:

    pip install --target DIR --no-deps pydantic pydantic-core annotated-types typing-inspection typing-extensions \
        pyyaml threadpoolctl facenet-pytorch==2.5.3 requests urllib3 idna certifi charset-normalizer

Each part stands alone: one that fails says so in the table and the next begins. It writes gpu.json and gpu.md to --out
and prints the table. On the CPU with --quick it shows that the script itself runs; its figures then mean nothing.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

EXPRESSIONS = ("neutral", "happy", "surprise")
METHODS: dict[str, dict[str, Any]] = {"ucgan": {}, "basis": {"basis": True}, "eft": {"name": "eft"}}


class Bench:
    """What the parts share. scale: of a quick run, small numbers everywhere."""

    def __init__(self, device: str, quick: bool, folder: Path) -> None:
        self.device, self.quick, self.folder = torch.device(device), quick, folder
        self.width, self.batch, self.steps = (8, 4, 3) if quick else (32, 16, 200)
        self.sizes = (32, 64) if quick else (64, 128, 256)
        self.size = self.sizes[0]
        self.sets: dict[int, Any] = {}

    def faces(self, size: int) -> Any:
        """A face set of drawn people, and judges that nothing was taught."""
        if size not in self.sets:
            from visage.config.data import Shares
            from visage.faces.faceset import write_face_set
            from visage.faces.layouts import Row
            from visage.faces.synthetic.people import picture_of

            rows, pictures = [], []
            for person in range(12 if self.quick else 40):
                for session in range(2):
                    for shown in EXPRESSIONS:
                        row, face = picture_of(person, shown, session, 64, seed=5)
                        rows.append(Row(Path(f"{len(rows)}.png"), row.identity, shown, str(session)))
                        pictures.append(np.asarray(Image.fromarray(face).resize((size, size))))
            shares = Shares(train=0.5, validation=0.25, test=0.25)
            out, kind = self.folder / f"faces-{size}", {"layout": "synthetic", "size": size, "shares": shares}
            self.sets[size] = write_face_set(out, rows, pictures, name="gpu", **kind)
        return self.sets[size], untaught(self.sets[size])

    def experiment(self, method: str = "ucgan", size: int = 0, **train: Any) -> Any:
        from visage.config import Experiment

        size = size or self.size
        narrow = {"width": self.width, "discriminator_width": self.width}
        length = {"images": 10**6, "batch": self.batch, "evaluate_every": 10**6, "evaluate_pairs": 16}
        return Experiment.model_validate(
            {
                "data": {"dir": str(self.faces(size)[0].dir), "size": size},
                "method": narrow | METHODS[method],
                "train": length | {"gpus_per_worker": float(self.device.type == "cuda")} | train,
                "judge": {"images": 1_000},
            }
        )

    def trainer(self, method: str = "ucgan", size: int = 0, device: Any = None, **train: Any) -> Any:
        from visage.training.trainer import Place, Trainer

        asked = self.experiment(method, size, **train)
        return Trainer(asked, *self.faces(asked.data.size), Place(device=device or self.device))

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rate(self, run: Callable[[], object], each: int, count: int = 0) -> float:
        """Things a second: the median of three turns after a warm one. each: things of a run."""
        count = count or (2 if self.quick else 20)
        found = []
        for turn in range(4):
            self.wait()
            start = time.perf_counter()
            for _ in range(3 if turn == 0 else count):
                run()
            self.wait()
            found.append(count * each / (time.perf_counter() - start))
        return round(statistics.median(found[1:]), 1)

    def bundle(self, size: int, network: Any) -> Any:
        """What `ExpressionEditor` asks of a bundle."""
        from visage.models.judges import NaturalCheck

        networks = self.faces(size)[1]
        return SimpleNamespace(
            require=lambda method: None,
            generator=lambda: network.float().cpu(),
            card=SimpleNamespace(expressions=EXPRESSIONS),
            self_check=lambda: (networks.encoder, networks.check),
            natural=lambda: NaturalCheck().eval(),
            facts=SimpleNamespace(name="gpu", version="0", run_id="0" * 32),
        )


def untaught(faces: Any) -> Any:
    from visage.judging.networks.train import FaceNetworks
    from visage.models.identity import CompactEncoder
    from visage.models.judges import ExpressionCheck, ExpressionJudge, IdentityJudge
    from visage.models.reader import ExpressionReader

    torch.manual_seed(0)
    networks = {
        "identity_judge": IdentityJudge(dimensions=16),
        "expression_judge": ExpressionJudge(faces.expressions),
        "encoder": CompactEncoder(dimensions=16),
        "check": ExpressionCheck(faces.expressions),
        "reader": ExpressionReader(len(faces.expressions)),
    }
    still: Any = {name: network.eval().requires_grad_(False) for name, network in networks.items()}
    return FaceNetworks(**still, expressions=faces.expressions, report={}, doubts={}, sha256="0" * 64)


def parity(bench: Bench) -> dict[str, Any]:
    """The same losses and golden pictures as on the CPU, in float32."""
    from visage.methods.by_expression.editor import ExpressionEditor
    from visage.methods.requests import EXPRESSION
    from visage.models.basis import BasisGenerator
    from visage.models.unet import UNet
    from visage.registry.golden import make_golden

    found: dict[str, Any] = {}
    for method in METHODS:
        near, far = (
            bench.trainer(method, device=torch.device(device), precision="float32").step(gradients=True)
            for device in ("cpu", bench.device)
        )
        apart = {name: abs(float(near[name]) - float(far[name])) / max(1e-3, abs(float(near[name]))) for name in near}
        worst = max(apart, key=lambda name: apart[name])
        found[f"{method}: largest relative difference of a loss or gradient ({worst})"] = f"{apart[worst]:.1e}"
    torch.manual_seed(1)
    kinds = {
        "plain": UNet(64, bench.width, len(EXPRESSIONS)),
        "mask": UNet(64, bench.width, len(EXPRESSIONS), mask=True),
        "mask and warp": UNet(64, bench.width, len(EXPRESSIONS), mask=True, warp=True),
        "basis": BasisGenerator(64, bench.width, len(EXPRESSIONS)),
    }
    for name, network in kinds.items():
        golden = make_golden(network, EXPRESSION, EXPRESSIONS)
        editor = ExpressionEditor(bench.bundle(bench.size, network), device=str(bench.device))
        asked = {name: value.tolist() for name, value in golden.asked.items()}
        made = editor.run(golden.faces, golden.source.tolist(), **asked).faces
        found[f"golden pictures, {name}: levels of 255"] = round(golden.difference(made), 2)
        found[f"served in, {name}"] = str(editor._format).removeprefix("torch.")
    return found


def training(bench: Bench) -> dict[str, Any]:
    """Steps of each method, whose networks stay finite."""
    found: dict[str, Any] = {}
    for method in METHODS:
        trainer = bench.trainer(method)
        losses = [{name: float(part) for name, part in trainer.step().items()} for _ in range(bench.steps)]
        trainer.check(losses[-1])
        found[f"{method}: steps"] = len(losses)
        found[f"{method}: fallen losses of {len(losses[0])}"] = sum(losses[-1][n] < losses[0][n] for n in losses[0])
    return found


def judges(bench: Bench) -> dict[str, Any]:
    """Fitted on the CPU, and asked on the device."""
    from visage.config.experiment import Judge
    from visage.judging.judges import Judges
    from visage.judging.networks.train import face_networks

    faces = bench.faces(64)[0]
    start = time.perf_counter()
    networks = face_networks(faces, Judge(images=1_000 if bench.quick else 12_000))
    fitted = time.perf_counter() - start
    near, far = (Judges(networks, faces, "validation", device).seen for device in ("cpu", bench.device))
    return {
        "seconds to fit": round(fitted, 1),
        "largest difference of a probability": f"{np.nanmax(np.abs(near.probability - far.probability)):.1e}",
    }


def resume(bench: Bench) -> dict[str, Any]:
    """A training that was cut off and went on, beside one that was not."""
    from visage.training.checkpoint import load

    found: dict[str, Any] = {}
    for method in METHODS:
        whole, cut = bench.folder / f"{method}-whole", bench.folder / f"{method}-cut"
        run_until(bench, method, whole, 4)
        run_until(bench, method, cut, 2)
        run_until(bench, method, cut, 4, resume=cut / "checkpoint")
        ends = [load(out / "checkpoint")["generator"] for out in (whole, cut)]
        apart = max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0])
        found[f"{method}: largest difference of a weight"] = f"{apart:.1e}"
    return found


def run_until(bench: Bench, method: str, out: Path, steps: int, resume: Path | None = None) -> None:
    """A training of four steps with an evaluation after every second one, cut off after so many."""
    from visage.training.loop import train

    asked = bench.experiment(method, images=4 * bench.batch, evaluate_every=2 * bench.batch)
    faces, networks = bench.faces(bench.size)

    def stop(point: Any) -> None:
        if steps < 4 and point.metrics is not None:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        train(asked, faces, out, stop, networks=networks, resume=resume)


def compiled(bench: Bench) -> dict[str, Any]:
    """torch.compile of the step."""
    plain = bench.trainer()
    eager = bench.rate(plain.step, bench.batch)
    trainer = bench.trainer(compile=True)
    start = time.perf_counter()
    trainer.step()
    bench.wait()
    first = time.perf_counter() - start
    quick = bench.rate(trainer.step, bench.batch)
    return {
        "seconds of the first step": round(first, 1),
        "images a second": quick,
        "times eager": round(quick / eager, 2),
    }


def bfloat16(bench: Bench) -> dict[str, Any]:
    """The step in both number formats."""
    found: dict[str, Any] = {}
    for method in METHODS:
        rates = {p: bench.rate(bench.trainer(method, precision=p).step, bench.batch) for p in ("float32", "bfloat16")}
        found |= {f"{method}, {name}: images a second": value for name, value in rates.items()}
    return found


def step(bench: Bench) -> dict[str, Any]:
    """Images a second of the step, beside the usual pix2pix loop (benchmarks/step.py)."""
    from step import UsualLoop

    found: dict[str, Any] = {}
    for size in bench.sizes:
        asked, faces = bench.experiment(size=size), bench.faces(size)[0]
        own = bench.rate(bench.trainer(size=size).step, bench.batch)
        found[f"{size} px: images a second"] = own
        for precision in ("float32", "auto"):
            usual = UsualLoop(
                asked, faces, untaught(faces), precision, bench.device, workers=min(8, os.cpu_count() or 1)
            )
            rate = bench.rate(usual.step, bench.batch)
            found[f"{size} px: times the usual loop, {precision}"] = round(own / rate, 2)
    return found


def endpoint(bench: Bench) -> dict[str, Any]:
    """Faces a second of `ExpressionEditor.run`, what a replica's batches call, and its share of the bare network."""
    from visage.methods.by_expression.editor import ExpressionEditor
    from visage.models.unet import UNet

    found: dict[str, Any] = {}
    for size in bench.sizes:
        bundle = bench.bundle(size, UNet(size, bench.width, len(EXPRESSIONS), mask=True, warp=True))
        editor = ExpressionEditor(bundle, self_check=True, device=str(bench.device))
        for count in (1, 4) if bench.quick else (1, 4, 8, 16, 32):
            own, checked, bare = served(bench, editor, count)
            found |= {
                f"{size} px, batches of {count}: faces a second": own,
                f"{size} px, batches of {count}: with the self-check": checked,
                f"{size} px, batches of {count}: share of the bare network": round(own / bare, 2),
            }
    return found


def served(bench: Bench, editor: Any, count: int) -> tuple[float, float, float]:
    """Faces a second of batches without and with the self-check, and of the network alone on what lies there."""
    asked = (np.full((count, editor.size, editor.size, 3), 127, np.uint8), range(count), [1] * count, [1.0] * count)
    condition = torch.eye(len(EXPRESSIONS), device=bench.device, dtype=editor._format)[[1] * count]
    inputs = torch.zeros(count, 3, editor.size, editor.size, device=bench.device, dtype=editor._format)
    inputs = inputs.contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode():
            editor._network(inputs, condition)

    runs = (lambda: editor.run(*asked), lambda: editor.run(*asked, [True] * count), bare)
    own, checked, most = (bench.rate(run, count) for run in runs)
    return own, checked, most


def memory(bench: Bench) -> dict[str, Any]:
    """The most that a step held."""
    if bench.device.type != "cuda":
        return {"GiB": "none is counted on a CPU"}
    found: dict[str, Any] = {}
    for method in METHODS:
        for size in bench.sizes:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            trainer = bench.trainer(method, size)
            for _ in range(2):
                trainer.step()
            found[f"{method}, {size} px: GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


def busy(bench: Bench) -> dict[str, Any]:
    """The share of time in which the GPU computes, over a few steps."""
    from torch.profiler import ProfilerActivity, profile

    found: dict[str, Any] = {}
    for method in METHODS:
        trainer = bench.trainer(method)
        trainer.step()
        bench.wait()
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (bench.device.type == "cuda")
        with profile(activities=kinds) as seen:
            start = time.perf_counter()
            for _ in range(2 if bench.quick else 10):
                trainer.step()
            bench.wait()
            wall = time.perf_counter() - start
        computed = sum(getattr(event, "self_device_time_total", 0) for event in seen.key_averages()) / 1e6
        found[f"{method}: share of time"] = round(computed / wall, 2)
    return found


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "parity": parity,
    "train": training,
    "judges": judges,
    "resume": resume,
    "bfloat16": bfloat16,
    "step": step,
    "endpoint": endpoint,
    "memory": memory,
    "busy": busy,
    "compile": compiled,  # last, as it is the slowest to begin
}


def markdown(results: dict[str, Any], machine: dict[str, str]) -> str:
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        "",
        "| part | what | figure |",
        "|---|---|---|",
    ]
    for part, found in results.items():
        lines += [f"| {part} | {name} | {value} |" for name, value in found.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small numbers: whether the script runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    card = torch.cuda.get_device_name() if given.device.startswith("cuda") else "no GPU"
    machine = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, {card}", "torch": str(torch.__version__)}
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="visage-gpu-") as folder:
        bench = Bench(given.device, given.quick, Path(folder))
        for name in given.parts:
            start = time.perf_counter()
            try:
                found = PARTS[name](bench)
            except Exception as error:
                found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            results[name] = found | {"seconds of this part": round(time.perf_counter() - start, 1)}
            print(f"{name}: {results[name]}", flush=True)
            (given.out / "gpu.json").write_text(json.dumps({"results": results, **machine}, indent=1))
            (given.out / "gpu.md").write_text(markdown(results, machine))
    print(markdown(results, machine))


if __name__ == "__main__":
    main()
