"""UC-GAN: a U-Net conditional GAN with other-identity pairs and a triplet loss.

Wang, Wang, Li: ACM TOMM 15(3s) 88, 2019, doi 10.1145/3355397. The published text gives the terms and not their exact
form; the formulas here are our reading. Terms marked (extension) are not in the paper.

Symbols: x input face of identity i; c target expression; y real face of i with c; g = G(x, c); x_j input face of
another identity j; p real face of i that is not x; n real face of j; f frozen identity embedding on the unit sphere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.config.experiment import Loss, Method
from visage.models.discriminator import PatchDiscriminator
from visage.models.unet import UNet

Parts = dict[str, Tensor]
Features = list[Tensor]


@dataclass(frozen=True)
class Batch:
    """One training batch. Faces: N,3,S,S in [-1, 1]; condition: N,K one-hot."""

    face: Tensor
    target: Tensor
    positive: Tensor
    other: Tensor
    negative: Tensor
    condition: Tensor


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


def discriminator_loss(real: Tensor, fake: Tensor, other: Tensor, loss: Loss) -> tuple[Tensor, Parts]:
    """L_D = -log D(x, y | c) - log(1 - D(x, g | c)) - w_pair log(1 - D(x_j, g | c)).

    real, fake, other: logits of the three kinds of pairs. Returns the total and its parts before weighting.
    """
    form = loss.adversarial.form
    parts = {
        "d_real": adversarial_real(real, form),
        "d_fake": adversarial_fake(fake, form),
        "d_pairing": adversarial_fake(other, form),
    }
    return parts["d_real"] + parts["d_fake"] + loss.pairing.weight * parts["d_pairing"], parts


def pixel_loss(generated: Tensor, target: Tensor, face: Tensor, change: float) -> Tensor:
    """|y - g|_1; with change > 0 (extension) each pixel weighs 1 + change |y - x|, and weights average one."""
    difference = (generated - target).abs()
    if not change:
        return difference.mean()
    weight = 1 + change * (target - face).abs().mean(dim=1, keepdim=True)
    return (difference * weight / weight.mean(dim=(2, 3), keepdim=True)).mean()


def triplet_loss(generated: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, |f(g) - f(p)|^2 - |f(g) - f(n)|^2 + margin) on N,D unit vectors, as in FaceNet."""
    nearer = (generated - positive).square().sum(1) - (generated - negative).square().sum(1)
    return F.relu(nearer + margin).mean()


def feature_matching_loss(generated: Features, real: Features) -> Tensor:
    """(extension) mean L1 distance of the discriminator's features of (x, g) and (x, y), as in pix2pixHD."""
    terms = [F.l1_loss(a, b.detach()) for a, b in zip(generated, real, strict=True)]
    return torch.stack(terms).float().mean()


class UCGAN:
    """The two networks of the method, and what each pays on a batch."""

    def __init__(self, method: Method, loss: Loss, size: int, conditions: int, embedding: nn.Module) -> None:
        self.loss = loss
        self.generator = UNet(size, method.width, conditions, method.mask, method.warp)
        self.discriminator = PatchDiscriminator(method.discriminator_width, conditions)
        self.embedding = embedding

    def for_discriminator(self, discriminator: nn.Module, batch: Batch, generated: Tensor) -> tuple[Tensor, Parts]:
        """L_D of a batch. discriminator: self.discriminator or its data-parallel wrapper; generated: N,3,S,S."""
        fake = generated.detach()
        target = self.generator.reachable(batch.target, batch.face)
        # One pass over the three kinds of pairs: a data-parallel wrapper allows one forward per backward.
        logits, _ = discriminator(
            torch.cat([batch.face, batch.face, batch.other]),
            torch.cat([target, fake, fake]),
            batch.condition.repeat(3, 1),
        )
        real, of_fake, other = logits.chunk(3)
        return discriminator_loss(real, of_fake, other, self.loss)

    def for_generator(self, batch: Batch, generated: Tensor) -> tuple[Tensor, Parts]:
        """L_G = w_adv -log D(x, g | c) + w_pix |y - g|_1 + w_tri triplet (+ extensions), and its parts."""
        loss = self.loss
        target = self.generator.reachable(batch.target, batch.face)
        logits, features = self.discriminator(batch.face, generated, batch.condition)
        parts = {
            "adversarial": adversarial_generator(logits, loss.adversarial.form),
            "pixel": pixel_loss(generated, target, batch.face, loss.pixel.change),
        }
        if loss.triplet.weight:
            with torch.no_grad():
                positive, negative = self.embedding(torch.cat([batch.positive, batch.negative])).chunk(2)
            parts["triplet"] = triplet_loss(self.embedding(generated), positive, negative, loss.triplet.margin)
        if loss.feature_matching.weight:
            with torch.no_grad():
                _, real = self.discriminator(batch.face, target, batch.condition)
            parts["feature_matching"] = feature_matching_loss(features, real)
        return total(parts, loss), parts


def total(parts: Parts, loss: Loss) -> Tensor:
    """The weighted sum of the generator's parts; a part's name is its section in the configuration."""
    weight: Callable[[str], float] = lambda name: getattr(loss, name).weight  # noqa: E731
    return torch.stack([weight(name) * part for name, part in parts.items()]).sum()
