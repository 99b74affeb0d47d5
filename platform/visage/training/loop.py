"""The training loop: the same in this process, in a Ray Train worker and in a Tune trial. It knows no Ray."""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visage.config import Experiment
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.train import FaceNetworks
from visage.methods.ucgan import UCGAN, Batch, Parts
from visage.models.identity import load_embedding
from visage.models.precision import autocast
from visage.training import checkpoint
from visage.training.batches import Batches
from visage.training.progress import Diverged, Progress, Report
from visage.training.validation import Validation

LOGS_PER_EVALUATION = 10
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Place:
    """Where a worker stands: its rank among the workers, its device, and how it makes a network data parallel."""

    rank: int = 0
    workers: int = 1
    device: torch.device = CPU
    parallel: Callable[[nn.Module], nn.Module] = lambda network: network


def here() -> Place:
    """This process alone, on its GPU if it has one."""
    return Place(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))


class Trainer:
    """Networks, optimisers, moving average and position of a run; one `step` at a time."""

    def __init__(self, experiment: Experiment, faces: FaceSet, networks: FaceNetworks, place: Place) -> None:
        self.experiment, self.faces, self.place = experiment, faces, place
        if faces.size != experiment.data.size:
            raise UserError(
                f"data.size = {experiment.data.size}: the face set {faces.dir} holds {faces.size} px; make them agree."
            )
        torch.manual_seed(experiment.train.seed)
        embedding = load_embedding(experiment.loss.triplet.embedding, networks.encoder).to(place.device)
        self.method = UCGAN(experiment.method, experiment.loss, faces.size, len(faces.expressions), embedding)
        for network in (self.method.generator, self.method.discriminator):
            network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.method.generator.state_dict().items()}
        self.generator = place.parallel(self.method.generator)
        self.discriminator = place.parallel(self.method.discriminator)
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), experiment.optim.rate, betas=experiment.optim.betas)
            for name, network in (("generator", self.method.generator), ("discriminator", self.method.discriminator))
        }
        self.batches = Batches(faces, experiment.train, place.device)
        self.images = 0

    def step(self) -> Parts:
        """One batch through both networks. Returns the parts of both losses as detached scalars on the device."""
        train, share = self.experiment.train, self.experiment.train.batch // self.place.workers
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate_at(self.images, self.experiment)
        batch = self.batches.at(self.images + self.place.rank * share, share)
        with autocast(self.place.device, train.precision):
            generated = self.generator(batch.face, batch.condition)
            d_total, d_parts = self.method.for_discriminator(self.discriminator, batch, generated)
        self._descend("discriminator", d_total)
        parts = self._generator_step(batch, generated)
        self.images += train.batch
        decay = 0.5 ** (train.batch / self.experiment.optim.ema_images)
        weights = self.method.generator.state_dict()
        torch._foreach_lerp_(list(self.average.values()), [weights[name] for name in self.average], 1 - decay)
        return {name: part.detach() for name, part in (d_parts | parts).items()}

    def _generator_step(self, batch: Batch, generated: Tensor) -> Parts:
        self.method.discriminator.requires_grad_(False)
        with autocast(self.place.device, self.experiment.train.precision):
            g_total, parts = self.method.for_generator(batch, generated)
        self._descend("generator", g_total)
        self.method.discriminator.requires_grad_(True)
        return parts

    def _descend(self, name: str, total: Tensor) -> None:
        self.optimisers[name].zero_grad(set_to_none=True)
        total.backward()
        self.optimisers[name].step()

    def averaged(self) -> nn.Module:
        """A copy of the generator with the averaged weights, in eval mode on the device."""
        from visage.models.unet import build_generator

        generator = build_generator(self.method.generator.architecture())
        generator.load_state_dict(self.average)
        return generator.to(self.place.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def save(self, folder: Path) -> None:
        checkpoint.save(
            folder,
            {
                "images": self.images,
                "architecture": self.method.generator.architecture(),
                "expressions": list(self.faces.expressions),
                "experiment": self.experiment.model_dump_json(),
                "faces": self.faces.sha256,
                "generator": self.method.generator.state_dict(),
                "discriminator": self.method.discriminator.state_dict(),
                "ema": self.average,
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
                "random": torch.get_rng_state(),
            },
        )

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint of the same run. Raises UserError when it belongs to other faces or networks."""
        state: dict[str, Any] = checkpoint.load(folder)
        for name, saved, own in (
            ("faces", state["faces"], self.faces.sha256),
            ("expressions", state["expressions"], list(self.faces.expressions)),
            ("networks", state["architecture"], self.method.generator.architecture()),
        ):
            if saved != own:
                raise UserError(f"{folder}: was made with other {name} than this run; start afresh in another folder.")
        self.method.generator.load_state_dict(state["generator"])
        self.method.discriminator.load_state_dict(state["discriminator"])
        for name, value in state["ema"].items():
            self.average[name].copy_(value)
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        torch.set_rng_state(state["random"])
        self.images = state["images"]


def train(
    experiment: Experiment,
    faces: FaceSet,
    out: Path,
    report: Report,
    *,
    networks: FaceNetworks,
    place: Place | None = None,
    resume: Path | None = None,
) -> Progress:
    """Train to `train.images` and return the last evaluation.

    out: folder for the checkpoint and the pictures. report: told the losses now and then and each evaluation; every
    worker calls it at the same points, and only the first one's carry metrics. resume: a checkpoint folder.
    Raises Diverged when a loss is not finite. On Ctrl-C the checkpoint is written first.
    """
    place = place or here()
    trainer = Trainer(experiment, faces, networks, place)
    if resume:
        trainer.restore(resume)
    goal, every = experiment.train.images, experiment.train.evaluate_every
    validation = (
        Validation(faces, networks, experiment.train.evaluate_pairs, place.device, experiment.train.precision)
        if not place.rank
        else None
    )
    sums: Parts = {}
    steps = 0
    last = Progress(trainer.images)
    try:
        while trainer.images < goal:
            before = trainer.images
            with uninterrupted():
                parts = trainer.step()
            for name, part in parts.items():
                sums[name] = sums[name] + part if name in sums else part
            steps += 1
            done = trainer.images >= goal
            evaluate = done or crossed(before, trainer.images, every)
            if not evaluate and not crossed(before, trainer.images, max(1, every // LOGS_PER_EVALUATION)):
                continue
            losses = {name: value.item() / steps for name, value in sums.items()}
            sums, steps = {}, 0
            check_finite(losses, trainer.images)
            last = Progress(trainer.images, losses)
            if evaluate:
                last = evaluated(trainer, last, validation, out)
            report(last)
    except torch.OutOfMemoryError:
        raise UserError(
            f"train.batch = {experiment.train.batch}: is too much for the memory of {place.device}; lower it, or add "
            "workers (train.workers)."
        ) from None
    except KeyboardInterrupt:
        if not place.rank:
            trainer.save(out / "checkpoint")
        raise
    if last.metrics is None:  # a run that was at its end already
        last = evaluated(trainer, last, validation, out)
        report(last)
    return last


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: a checkpoint with half a step in it would not go on exactly."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never come here
        return
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


def evaluated(trainer: Trainer, point: Progress, validation: Validation | None, out: Path) -> Progress:
    """The point with metrics, a picture of faces and a checkpoint; on other workers than the first, with none."""
    if validation is None:
        return Progress(point.images, point.losses, metrics={})
    generator = trainer.averaged()
    metrics = validation.metrics(generator)
    picture = out / "faces" / f"{point.images:08d}.png"
    validation.picture(generator, picture)
    trainer.save(out / "checkpoint")
    return Progress(point.images, point.losses, metrics, picture, out / "checkpoint")


def rate_at(images: int, experiment: Experiment) -> float:
    """The learning rate after so many images: constant, then falling to zero in a line."""
    start = experiment.optim.decay_from * experiment.train.images
    rest = experiment.train.images - start
    return experiment.optim.rate * (1.0 if images <= start else max(0.0, 1 - (images - start) / rest))


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return before // every != after // every


def check_finite(losses: dict[str, float], images: int) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise Diverged(
                f"loss {name} = {value} after {images} images: the run diverged; lower optim.rate or the loss weights."
            )
