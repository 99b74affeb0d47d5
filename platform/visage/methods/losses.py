"""Terms that the losses of several methods have."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from visage.config.method import Loss

Parts = dict[str, Tensor]
AnyLoss = TypeVar("AnyLoss", bound=Loss)
ASKING = ("adversarial", "feature_matching", "classification")  # the terms that the discriminator answers


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


def without_discriminator(loss: AnyLoss) -> AnyLoss:
    """The loss of a run's first stage, before `adversarial.start`: nothing in it asks the discriminator."""
    there = [name for name in ASKING if name in type(loss).model_fields]
    idle = {name: getattr(loss, name).model_copy(update={"weight": 0.0}) for name in there}
    return loss.model_copy(update=idle)


def total(parts: Parts, loss: Loss) -> Tensor:
    """The weighted sum of the generator's parts."""
    return torch.stack([weight(name, loss) * part for name, part in parts.items()]).sum()


def weight(part: str, loss: Loss) -> float:
    """The weight of a part of the generator's loss, whose name is its section in the configuration."""
    return float(getattr(loss, part).weight)
