"""Images per second of a whole training step against the usual pix2pix loop of the same networks, in one run.

    python benchmarks/step.py [--sizes 64 128 256] [--batch 16] [--width 32] [--steps 6] [--turns 3]

Visage's step is `visage.training.trainer.Trainer.step` as it is configured by default: other-identity pairs,
adversarial, pixel and triplet loss, moving average. The usual loop is the one below, as a pix2pix user writes it: a
DataLoader over PNG files, torch's own GroupNorm, upsampling and concatenation, a discriminator pass for each kind of
pair, an embedding pass for each face, Adam, `.item()` for the log, all contiguous in float32; then the same under the
bfloat16 autocast that Visage uses, which tells the number format's gain from the rest. The arithmetic is equal: the
same weights give the same first losses, which is checked. One thread; the rates are of CPU time, so that what else
the machine does is left out, and the three take turns.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import types
from collections import Counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from visage.config import Experiment
from visage.faces.faceset import FaceSet
from visage.faces.prepare import prepare_if_absent
from visage.faces.sampling import Tuples
from visage.judging.networks.train import FaceNetworks, face_networks
from visage.methods.ucgan.losses import UCGAN
from visage.models.identity import load_embedding
from visage.models.layers import ConditionedNorm
from visage.models.precision import autocast
from visage.models.unet import Up
from visage.training.trainer import CPU, Place, Trainer


def plain_norm(self: ConditionedNorm, x: Tensor, embedding: Tensor) -> Tensor:
    scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, dim=1)
    return F.leaky_relu(self.norm(x) * (1 + scale) + shift, 0.2)


def plain_up(self: Up, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
    return self.norm(self.conv(torch.cat([F.interpolate(x, scale_factor=2), skip], dim=1)), embedding)


class Pictures(Dataset[tuple[Tensor, ...]]):
    """Tuples of PNG files, mirrored at random, as tensors in [-1, 1]."""

    def __init__(self, faces: FaceSet, experiment: Experiment) -> None:
        train = experiment.train
        self.faces = faces
        self.tuples = Tuples(faces.identity, faces.expression, faces.part("train"), train.augment, train.seed)

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, k: int) -> tuple[Tensor, ...]:
        drawn = self.tuples.draw(k)
        pictures = [np.asarray(Image.open(self.faces.dir / self.faces.path[place])) for place in drawn.pictures]
        if drawn.augmentation[0] < 0:
            pictures = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
        faces = [torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1 for picture in pictures]
        return (*faces, F.one_hot(torch.tensor(drawn.target), len(self.faces.expressions)).float())


class UsualLoop:
    """The same networks and losses without anything of Visage's training."""

    def __init__(
        self, experiment: Experiment, faces: FaceSet, networks: FaceNetworks, precision: Any,
        device: torch.device = CPU, workers: int = 0,
    ) -> None:  # fmt: skip
        torch.manual_seed(experiment.train.seed)
        self.loss, self.precision, self.device = experiment.loss, precision, device
        embedding = load_embedding("compact", networks.encoder).to(device)
        method = UCGAN(experiment.method, experiment.loss, faces.size, len(faces.expressions), embedding)
        self.g, self.d, self.embedding = method.generator, method.discriminator, embedding
        for network in (self.g, self.d):
            network.to(device)
            for module in network.modules():
                if isinstance(module, ConditionedNorm):
                    module.forward = types.MethodType(plain_norm, module)  # type: ignore[method-assign]
                elif isinstance(module, Up):
                    module.forward = types.MethodType(plain_up, module)  # type: ignore[method-assign]
        self.g_adam, self.d_adam = (
            torch.optim.Adam(n.parameters(), 2e-4, betas=(0.5, 0.999)) for n in (self.g, self.d)
        )
        pictures, batch = Pictures(faces, experiment), experiment.train.batch
        self.batches = iter(DataLoader(pictures, batch_size=batch, num_workers=workers, pin_memory=device != CPU))

    def step(self, batch: tuple[Tensor, ...] | None = None) -> dict[str, float]:
        given = batch or next(self.batches)
        x, y, positive, other, negative, c = (tensor.to(self.device, non_blocking=True) for tensor in given)
        with autocast(self.device, self.precision):
            g = self.g(x, c)
            d_real = F.softplus(-self.d(x, y, c).logits).mean()
            d_fake = F.softplus(self.d(x, g.detach(), c).logits).mean()
            d_pairing = F.softplus(self.d(other, g.detach(), c).logits).mean()
        self.d_adam.zero_grad()
        (d_real + d_fake + self.loss.pairing.weight * d_pairing).backward()
        self.d_adam.step()
        self.d.requires_grad_(False)
        with autocast(self.device, self.precision):
            adversarial = F.softplus(-self.d(x, g, c).logits).mean()
            pixel = F.l1_loss(g, y)
            with torch.no_grad():
                p, n = self.embedding(positive), self.embedding(negative)
            e = self.embedding(g)
            triplet = F.relu((e - p).square().sum(1) - (e - n).square().sum(1) + self.loss.triplet.margin).mean()
        self.g_adam.zero_grad()
        (adversarial + self.loss.pixel.weight * pixel + self.loss.triplet.weight * triplet).backward()
        self.g_adam.step()
        self.d.requires_grad_(True)
        losses = (d_real, d_fake, d_pairing, adversarial, pixel, triplet)
        names = ("d_real", "d_fake", "d_pairing", "adversarial", "pixel", "triplet")
        return {name: loss.item() for name, loss in zip(names, losses, strict=True)}


def same_arithmetic(experiment: Experiment, faces: FaceSet, networks: FaceNetworks) -> None:
    """Both loops' first losses on one batch, in float32; the discriminator's step lies between its and G's."""
    exact = experiment.model_copy(update={"train": experiment.train.model_copy(update={"precision": "float32"})})
    trainer = Trainer(exact, faces, networks, Place())
    batch = trainer.batches.at(0, exact.train.batch)
    fields = (batch.face, batch.target, batch.positive, batch.other, batch.negative, batch.condition)
    usual = UsualLoop(exact, faces, networks, "float32").step(fields)
    for name, value in trainer.step().items():
        assert abs(value.item() - usual[name]) <= 2e-3 * max(1, abs(usual[name])), (name, value.item(), usual[name])


def rate(step: Any, count: int, batch: int) -> float:
    start = time.process_time()
    for _ in range(count):
        step()
    return count * batch / (time.process_time() - start)


def parts(trainer: Trainer, count: int) -> dict[str, float]:
    """Milliseconds of CPU time a step, by what they go into; `drawing` is a thread's beside the step."""
    spent: Counter[str] = Counter()

    def timed(name: str, function: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                spent[name] += time.thread_time() - start

        return run

    whole: Any = trainer
    whole.batches.draw = timed("drawing", trainer.batches.draw)
    whole.batches.made = timed("faces", trainer.batches.made)
    whole.trained = timed("generator forward", trainer.trained)
    whole.method.for_discriminator = timed("discriminator loss", trainer.method.for_discriminator)
    whole.method.for_generator = timed("generator loss", trainer.method.for_generator)
    for name, optimiser in trainer.optimisers.items():
        whole.optimisers[name].step = timed("adam", optimiser.step)
    descend = trainer._descend
    whole._descend = lambda name, total: timed(f"{name} backward and adam", descend)(name, total)
    timed("whole step", lambda: [trainer.step() for _ in range(count)])()
    return {name: round(1000 * value / count, 1) for name, value in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    for name, value in (("batch", 16), ("width", 32), ("steps", 6), ("turns", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for size in given.sizes:
        with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
            tree: dict[str, Any] = {
                "data": {"dir": f"{folder}/faces", "layout": "synthetic", "size": size, "people": 60, "pictures": 1},
                "method": {"width": given.width, "discriminator_width": given.width},
                "train": {"batch": given.batch, "augment": {}},
                "judge": {"images": 1_000},
            }
            experiment = Experiment.model_validate(tree)
            faces = prepare_if_absent(experiment.data)
            networks = face_networks(faces, experiment.judge)
            same_arithmetic(experiment, faces, networks)
            trainer = Trainer(experiment, faces, networks, Place())
            loops = {
                "visage": trainer.step,
                "usual_bfloat16": UsualLoop(experiment, faces, networks, "auto").step,
                "usual_float32": UsualLoop(experiment, faces, networks, "float32").step,
            }
            rates: dict[str, list[float]] = {name: [] for name in loops}
            for step in loops.values():
                step()
            for _ in range(given.turns):
                for name, step in loops.items():
                    rates[name].append(rate(step, given.steps, given.batch))
            results[size] = {
                "images_per_cpu_second": {name: [round(v, 1) for v in values] for name, values in rates.items()},
                "times_usual_float32": times(rates, "usual_float32"),
                "times_usual_bfloat16": times(rates, "usual_bfloat16"),
                "milliseconds_of_a_step": parts(trainer, given.steps),
            }
    machine = {"machine": f"{platform.machine()}, one thread of {os.cpu_count()} cores", "torch": torch.__version__}
    print(json.dumps({"results": results, "given": vars(given), **machine, "python": sys.version.split()[0]}, indent=1))


def times(rates: dict[str, list[float]], usual: str) -> dict[str, Any]:
    """Visage's rate over the usual one: the medians', and turn by turn."""
    by_turn = [round(a / b, 2) for a, b in zip(rates["visage"], rates[usual], strict=True)]
    medians = statistics.median(rates["visage"]) / statistics.median(rates[usual])
    return {"ratio_of_medians": round(medians, 2), "by_turn": by_turn}


if __name__ == "__main__":
    main()
