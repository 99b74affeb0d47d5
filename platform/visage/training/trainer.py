"""The state of a run: networks, optimisers, moving average and position; one step at a time. It knows no Ray."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visage.config import Experiment, shareable
from visage.config.experiment import Train
from visage.config.method import Loss
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.shard_files import ShardFiles
from visage.faces.stream import Stream
from visage.judging.networks.train import FaceNetworks
from visage.methods import method_of
from visage.methods.base import Batches
from visage.methods.losses import Parts, weight, without_discriminator
from visage.models.precision import autocast
from visage.training import checkpoint
from visage.training.ahead import Ahead
from visage.training.health import check_networks
from visage.training.memory import check_memory
from visage.training.progress import Progress
from visage.training.streamed import StreamedBatches

CPU = torch.device("cpu")
NO_LOSSES: Mapping[str, float] = {}
DEPTH_IN_SHARDS = 8  # batches drawn ahead, as the window that is made meanwhile holds a draw up now and then
YOUNG = 8  # the moving average's half-life is at most one in so many of the images seen


@dataclass(frozen=True)
class Place:
    """Where a worker stands: its rank among the workers, its device, and how it makes a network data parallel."""

    rank: int = 0
    workers: int = 1
    device: torch.device = CPU
    parallel: Callable[[nn.Module], nn.Module] = lambda network: network


def here(train: Train) -> Place:
    """This process alone, on the device that `train` asks for: a GPU that is only seen belongs to others."""
    return Place(device=torch.device("cuda" if train.gpus_per_worker and torch.cuda.is_available() else "cpu"))


class Trainer:
    """Networks, optimisers, moving average and position of a run; one `step` at a time."""

    def __init__(self, experiment: Experiment, faces: FaceSet, networks: FaceNetworks, place: Place) -> None:
        self.experiment, self.faces, self.place = experiment, faces, place
        if faces.size != experiment.data.size:
            raise UserError(
                f"data.size = {experiment.data.size}: the face set {faces.dir} holds {faces.size} px; make them agree."
            )
        torch.manual_seed(experiment.train.seed)
        method = method_of(experiment.method.name)
        self.method = method.build(experiment, faces, networks)
        if self.method.embedding is not None:
            self.method.embedding.to(place.device)
        self.networks: dict[str, nn.Module] = {"generator": self.method.generator}
        if self.method.discriminator is not None:
            self.networks["discriminator"] = self.method.discriminator
        for network in self.networks.values():
            network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The very tensors that the optimiser changes: looked up once, not at every step.
        self.weights = dict(self.method.generator.state_dict())
        self.average = {name: value.clone() for name, value in self.weights.items()}
        self.trained = place.parallel(self.method.trained)
        self.discriminator = self.method.discriminator and place.parallel(self.method.discriminator)
        self.optimisers = {
            name: torch.optim.Adam(
                network.parameters(), experiment.optim.rate, betas=experiment.optim.betas, fused=True
            )
            for name, network in self.networks.items()
        }
        self.batches = made = self._batches(faces)
        share = experiment.train.batch // place.workers
        first = place.rank * share
        depth = DEPTH_IN_SHARDS if faces.shards else 1
        self.drawn: Ahead[Any] = Ahead(lambda images: made.draw(images + first, share), experiment.train.batch, depth)
        self.images = 0
        self.evaluation: Progress | None = None  # the last one
        sample = made.sample if isinstance(made, StreamedBatches) else made
        check_memory(self.method, sample, experiment.train, place.workers)
        if experiment.train.compile:
            # `gradients_of` goes through a graph more than once, which compiled code allows if it keeps its buffers.
            torch._functorch.config.donated_buffer = False
            for compiled in (self.method.trained, self.method.discriminator, self.method.embedding):
                if compiled is not None:
                    compiled.compile()

    def _batches(self, faces: FaceSet) -> Batches:
        def of(faces: FaceSet) -> Batches:
            return method_of(self.experiment.method.name).batches(faces, self.experiment, self.place.device)

        if not faces.shards:
            return of(faces)
        shards, place = self.experiment.data.shards, self.place
        files, seed = ShardFiles(faces, shards.cache_gb * 1e9), self.experiment.train.seed
        stream = Stream(faces, files, width=shards.window, seed=seed, rank=place.rank, workers=place.workers)
        return StreamedBatches(stream, of(faces), of)

    def close(self) -> None:
        """End what draws ahead."""
        if isinstance(self.batches, StreamedBatches):
            self.batches.close()
        self.drawn.close()

    def step(self, *, gradients: bool = False) -> Parts:
        """One batch through both networks. Returns the parts of both losses as detached scalars on the device.

        gradients: with `gradient/PART`, the norm of each weighted part's gradient in a generated face, and
        `active/triplet`, the share of the batch's triplets that the margin has not put to rest.
        """
        train = self.experiment.train
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rate_at(self.images, self.experiment, name)
        self.method.loss = self.loss_now()
        batch = self.batches.made(self.drawn.at(self.images))
        with autocast(self.place.device, train.precision):
            generated = self.method.generate(self.trained, batch)
        d_parts = self._discriminator_step(batch, generated) if self.method.adversarial else {}
        parts = self._generator_step(batch, generated, gradients)
        self.images += train.batch
        # While a run is young its half-life is shorter, or its average would be of the untrained network.
        decay = 0.5 ** (train.batch / min(self.experiment.optim.ema_images, self.images / YOUNG))
        torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - decay)
        return {name: part.detach() for name, part in (d_parts | parts).items()}

    def loss_now(self) -> Loss:
        """What is paid after so many images: before `loss.start` nothing that the discriminator answers."""
        loss, train = self.experiment.loss, self.experiment.train
        return loss if self.images >= loss.start * train.images else without_discriminator(loss)

    def _discriminator_step(self, batch: Any, generated: Any) -> Parts:
        assert self.discriminator is not None
        with autocast(self.place.device, self.experiment.train.precision):
            d_total, parts = self.method.for_discriminator(self.discriminator, batch, generated)
        self._descend("discriminator", d_total)
        return parts

    def _generator_step(self, batch: Any, generated: Any, gradients: bool) -> Parts:
        if self.method.discriminator is not None:
            self.method.discriminator.requires_grad_(False)
        with autocast(self.place.device, self.experiment.train.precision):
            g_total, parts = self.method.for_generator(batch, generated)
        found = gradients_of(parts, self.method.pixels(generated), self.method.loss) if gradients else {}
        self._descend("generator", g_total)
        if self.method.discriminator is not None:
            self.method.discriminator.requires_grad_(True)
        return parts | found

    def _descend(self, name: str, total: Tensor) -> None:
        self.optimisers[name].zero_grad(set_to_none=True)
        total.backward()
        self.optimisers[name].step()

    def check(self, losses: Mapping[str, float] = NO_LOSSES) -> None:
        """Raise Diverged when a network is not finite any more: the same on every worker, as their networks are."""
        values = {name: list(network.parameters()) for name, network in self.networks.items()}
        for name, optimiser in self.optimisers.items():
            # A gradient whose square is not finite stills its weight for good, which the weight does not show.
            values[name] += [state["exp_avg_sq"] for state in optimiser.state.values()]
        check_networks(values, losses, self.images)

    def averaged(self) -> nn.Module:
        """A copy of the generator with the averaged weights, in eval mode on the device."""
        generator = method_of(self.experiment.method.name).generator_of(self.method.generator.architecture())
        generator.load_state_dict(self.average)
        return generator.to(self.place.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def save(self, folder: Path) -> None:
        """Write the checkpoint. Raises Diverged, and leaves the one before, when the networks are not finite."""
        self.check()
        checkpoint.save(
            folder,
            {
                "images": self.images,
                "architecture": self.method.generator.architecture(),
                "expressions": list(self.faces.expressions),
                "experiment": json.dumps(shareable(self.experiment)),
                "faces": self.faces.sha256,
                **{name: network.state_dict() for name, network in self.networks.items()},
                "ema": self.average,
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
                "random": torch.get_rng_state(),
                "evaluation": self.evaluation.to_json() if self.evaluation else None,
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
        with checkpoint.fitting(folder):
            for name, network in self.networks.items():
                network.load_state_dict(state[name])
            for name, value in state["ema"].items():
                self.average[name].copy_(value)
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
        torch.set_rng_state(state["random"])
        self.images, self.evaluation = state["images"], checkpoint.evaluation_in(state)


def gradients_of(parts: Parts, generated: Tensor, loss: Loss) -> Parts:
    """`gradient/PART`: how hard each weighted part pulls at a generated face, and `active/triplet`.

    A gradient's norm is that of the part of one face in its own pixels, meant over the batch, so that another batch
    size does not change it.
    """
    found: Parts = {}
    for name, part in parts.items():
        whole = weight(name, loss) * part
        (gradient,) = torch.autograd.grad(whole, generated, retain_graph=True, allow_unused=True)
        if gradient is None:  # a part that looks at features, or at faces that are not changed
            continue
        norms = gradient.flatten(1).norm(dim=1) * len(generated)
        found[f"gradient/{name}"] = norms.mean()
        if name == "triplet":
            found["active/triplet"] = (norms > 0).float().mean()
    return found


def rate_at(images: int, experiment: Experiment, network: str = "generator") -> float:
    """The learning rate of a network after so many images: constant, then falling to zero in a line."""
    optim = experiment.optim
    full = optim.discriminator_rate if network == "discriminator" and optim.discriminator_rate else optim.rate
    start = optim.decay_from * experiment.train.images
    rest = experiment.train.images - start
    return full * (1.0 if images <= start else max(0.0, 1 - (images - start) / rest))
