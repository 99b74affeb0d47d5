"""What the methods share: the contract with the training loop, and terms of their losses."""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.config.method import Loss

Parts = dict[str, Tensor]
ASKING = ("adversarial", "feature_matching", "classification")  # the terms that the discriminator answers


class Method(Protocol):
    """Two networks, and what each pays on a batch. A term whose weight is 0 is not computed.

    generator: what is averaged, kept and served. trained: what makes everything of a batch that the losses need; its
    weights are the generator's. The batches and what is generated are the method's own kinds.
    """

    loss: Loss
    generator: Any
    trained: nn.Module
    discriminator: Any
    embedding: nn.Module

    def generate(self, trained: nn.Module, batch: Any) -> Any:
        """What is made of a batch. trained: self.trained or its data-parallel wrapper."""

    @property
    def adversarial(self) -> bool:
        """Whether a term of the loss asks the discriminator, so that it is to be trained."""

    def pixels(self, generated: Any) -> Tensor:
        """The generated faces, N,3,S,S, by whose gradients the parts of the loss are compared."""

    def for_discriminator(self, discriminator: nn.Module, batch: Any, generated: Any) -> tuple[Tensor, Parts]:
        """What the discriminator pays, and its parts."""

    def for_generator(self, batch: Any, generated: Any) -> tuple[Tensor, Parts]:
        """What the generator pays, and its parts before weighting, each named as its section of the configuration."""


def adversarial_real(logits: Tensor, form: str) -> Tensor:
    """What D pays for a real sample, N,1,h,w logits to a scalar: -log D in the log form."""
    if form == "log":
        return F.softplus(-logits).mean()
    return F.relu(1 - logits).mean() if form == "hinge" else F.mse_loss(logits, torch.ones_like(logits))


def adversarial_fake(logits: Tensor, form: str) -> Tensor:
    """What D pays for a sample that is not real: -log(1 - D) in the log form."""
    if form == "log":
        return F.softplus(logits).mean()
    return F.relu(1 + logits).mean() if form == "hinge" else F.mse_loss(logits, torch.zeros_like(logits))


def adversarial_generator(logits: Tensor, form: str) -> Tensor:
    """What G pays for a generated sample: -log D in the log form (non-saturating)."""
    return -logits.mean() if form == "hinge" else adversarial_real(logits, form)


def triplet_loss(generated: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, |f(g) - f(p)|^2 - |f(g) - f(n)|^2 + margin) on N,D unit vectors, as in FaceNet."""
    nearer = (generated - positive).square().sum(1) - (generated - negative).square().sum(1)
    return F.relu(nearer + margin).mean()


def without_discriminator(loss: Loss) -> Loss:
    """The loss of a run's first stage, before `adversarial.start`: nothing in it asks the discriminator."""
    idle = {name: getattr(loss, name).model_copy(update={"weight": 0.0}) for name in ASKING}
    return loss.model_copy(update=idle)


def total(parts: Parts, loss: Loss) -> Tensor:
    """The weighted sum of the generator's parts."""
    return torch.stack([weight(name, loss) * part for name, part in parts.items()]).sum()


def weight(part: str, loss: Loss) -> float:
    """The weight of a part of the generator's loss, whose name is its section in the configuration."""
    return float(getattr(loss, part).weight)
