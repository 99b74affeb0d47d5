"""The losses of UC-GAN: a U-Net conditional GAN with other-identity pairs and a triplet loss.

Wang, Wang, Li: ACM TOMM 15(3s) 88, 2019, doi 10.1145/3355397. The published text gives the terms and not their exact
form; the formulas here are our reading. Terms marked (extension) are not in the paper.

Symbols: x input face of identity i; c target expression; y real face of i with c; g = G(x, c); x_j input face of
another identity j; p real face of i that is not x; n real face of j; f frozen identity embedding on the unit sphere.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.methods.base import Training
from visage.methods.by_expression.batches import Batch
from visage.methods.losses import (
    ASKING,
    Parts,
    adversarial_fake,
    adversarial_generator,
    adversarial_real,
    total,
    triplet_loss,
    weight,
)
from visage.methods.ucgan.config import Loss, Networks
from visage.models.basis import BasisGenerator
from visage.models.discriminator import PatchDiscriminator
from visage.models.identity import CrossedEncoder
from visage.models.reader import ExpressionReader
from visage.models.unet import UNet

Features = list[Tensor]


def discriminator_loss(logits: Mapping[str, Tensor], loss: Loss) -> tuple[Tensor, Parts]:
    """L_D = -log D(x, y | c) - log(1 - D(x, g | c)) - w_pair log(1 - D(x_j, g | c)).

    logits: of the kinds of pairs `real`, `fake` and `pairing`; `wrong_input` (extension, GAN-CLS) adds
    - w_wrong log(1 - D(x_j, y | c)). A kind that is not there leaves its term out. Returns the total and its parts
    before weighting.
    """
    form = loss.adversarial.form
    parts = {"d_real": adversarial_real(logits["real"], form), "d_fake": adversarial_fake(logits["fake"], form)}
    total = parts["d_real"] + parts["d_fake"]
    for name in ("pairing", "wrong_input"):
        if name in logits:
            parts[f"d_{name}"] = adversarial_fake(logits[name], form)
            total = total + weight(name, loss) * parts[f"d_{name}"]
    return total, parts


def pixel_loss(generated: Tensor, target: Tensor, face: Tensor, change: float) -> Tensor:
    """|y - g|_1; with change > 0 (extension) each pixel weighs 1 + change |y - x|, and weights average one."""
    difference = (generated - target).abs()
    if not change:
        return difference.mean()
    weight = 1 + change * (target - face).abs().mean(dim=1, keepdim=True)
    return (difference * weight / weight.mean(dim=(2, 3), keepdim=True)).mean()


def feature_distance(generated: Features, real: Features) -> Tensor:
    """(extension) mean L1 distance of two faces' features, over levels.

    Of the discriminator's it is feature matching (pix2pixHD); of the embedding's, the perceptual loss.
    """
    terms = [F.l1_loss(a, b.detach()) for a, b in zip(generated, real, strict=True)]
    return torch.stack(terms).float().mean()


def classification_loss(scores: Tensor, condition: Tensor) -> Tensor:
    """(extension, AC-GAN) -log p(c | face) of N,K scores; a condition between two expressions counts for both."""
    return F.cross_entropy(scores, condition.clamp(0, 1))


class UCGAN(Training):
    """The two networks of the method, and what each pays on a batch; see `base.Training`.

    reader: fitted to the training people; what `method.basis` knows the input's own expression by.
    """

    asking = ASKING
    loss: Loss
    generator: UNet | BasisGenerator
    discriminator: PatchDiscriminator
    embedding: nn.Module

    def __init__(
        self,
        method: Networks,
        loss: Loss,
        size: int,
        conditions: int,
        embedding: nn.Module,
        reader: ExpressionReader | None = None,
    ) -> None:
        self.loss = loss
        if method.basis:
            self.generator = BasisGenerator(size, method.width, conditions, method.exaggeration)
            if reader is not None:
                self.generator.reader.load_state_dict(reader.state_dict())
        else:
            self.generator = UNet(size, method.width, conditions, method.mask, method.warp)
        classifies = loss.classification.weight > 0
        self.discriminator = PatchDiscriminator(method.discriminator_width, conditions, classifies)
        self.trained = self.generator
        self.embedding = embedding

    def generate(self, trained: nn.Module, batch: Batch) -> Tensor:
        return trained(batch.face, batch.condition)

    def for_discriminator(self, discriminator: nn.Module, batch: Batch, generated: Tensor) -> tuple[Tensor, Parts]:
        loss, fake = self.loss, generated.detach()
        target = self.generator.reachable(batch.target, batch.face)
        kinds = {"real": (batch.face, target, batch.condition), "fake": (batch.face, fake, batch.condition)}
        if loss.pairing.weight:
            kinds["pairing"] = (batch.other, fake, batch.condition)
        if loss.wrong_input.weight:
            kinds["wrong_input"] = (batch.other, target, batch.condition)
        if loss.classification.weight:
            kinds["class"] = (batch.face, target, torch.zeros_like(batch.condition))
        # One pass over all kinds of pairs: a data-parallel wrapper allows one forward per backward.
        answer = discriminator(*(torch.cat(column) for column in zip(*kinds.values(), strict=True)))
        total, parts = discriminator_loss(dict(zip(kinds, answer.logits.chunk(len(kinds)), strict=True)), loss)
        if loss.classification.weight:
            parts["d_classification"] = classification_loss(answer.scores.chunk(len(kinds))[-1], batch.condition)
            total = total + loss.classification.weight * parts["d_classification"]
        return total, parts

    def for_generator(self, batch: Batch, generated: Tensor) -> tuple[Tensor, Parts]:
        """L_G = w_adv -log D(x, g | c) + w_pix |y - g|_1 + w_tri triplet (+ extensions), and its parts."""
        loss = self.loss
        target = self.generator.reachable(batch.target, batch.face)
        parts: Parts = {}
        if loss.adversarial.weight or loss.feature_matching.weight:
            logits, features, _ = self.discriminator(batch.face, generated, batch.condition)
            parts["adversarial"] = adversarial_generator(logits, loss.adversarial.form)
        parts["pixel"] = pixel_loss(generated, target, batch.face, loss.pixel.change)
        if loss.perceptual.weight:
            parts |= self._measured(batch, generated, target)
        elif loss.triplet.weight:
            with torch.no_grad():
                positive, negative = self._seen(self.embedding, batch, batch.positive, batch.negative).chunk(2)
            own = self._seen(self.embedding, batch, generated)
            parts["triplet"] = triplet_loss(own, positive, negative, loss.triplet.margin)
        if loss.feature_matching.weight:
            with torch.no_grad():
                real = self.discriminator(batch.face, target, batch.condition).features
            parts["feature_matching"] = feature_distance(features, real)
        if loss.classification.weight:
            scores = self.discriminator(batch.face, generated, torch.zeros_like(batch.condition)).scores
            parts["classification"] = classification_loss(scores, batch.condition)
        if loss.smoothness.weight and isinstance(self.generator, BasisGenerator):
            parts["smoothness"] = self.generator.basis.roughness()
        return total(parts, loss), parts

    def _measured(self, batch: Batch, generated: Tensor, target: Tensor) -> Parts:
        """The perceptual part, with the triplet part from the same pass of the embedding over each face."""
        loss, measured = self.loss, self.embedding.measured
        faces = [target, batch.positive, batch.negative] if loss.triplet.weight else [target]
        with torch.no_grad():
            vectors, features = self._seen(measured, batch, *faces)
        own, levels = self._seen(measured, batch, generated)
        parts = {"perceptual": feature_distance(levels, [level[: len(target)] for level in features])}
        if loss.triplet.weight:
            _, positive, negative = vectors.chunk(3)
            parts["triplet"] = triplet_loss(own, positive, negative, loss.triplet.margin)
        return parts

    def _seen(self, ask: Any, batch: Batch, *faces: Tensor) -> Any:
        """What the embedding, or its `measured`, says of several faces of each of the batch's people."""
        told = (batch.half.repeat(len(faces)),) if isinstance(self.embedding, CrossedEncoder) else ()
        return ask(torch.cat(faces), *told)
