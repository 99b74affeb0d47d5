"""The losses of EFT, explicit facial expression transfer: the expression of one picture on the face of another.

Shao, Zhu, Tang, Lu, Ma: IEEE TIP 2021, doi 10.1109/TIP.2021.3073857. The published text gives the parts and not their
exact form; the formulas here are our reading. Terms marked (extension) are not in the paper.

Symbols: I_a, I_b two pictures of two people; r, f the AU-related and the AU-free feature of a picture; G the decoder;
C reads action units from r. S_a = G(f_a, r_b) is swapped, R_a = G(f_a, r_a) reconstructed.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from visage.methods.base import Training
from visage.methods.eft.batches import SwapBatch
from visage.methods.eft.config import Loss, Networks
from visage.methods.eft.networks.critic import Critic
from visage.methods.eft.networks.disentangler import Disentangler, Features
from visage.methods.losses import (
    Parts,
    adversarial_fake,
    adversarial_generator,
    adversarial_real,
    total,
    triplet_loss,
)


class Swapped(NamedTuple):
    """Everything a step makes of N pairs, first the faces, then the drivers: 2N each.

    swapped, reconstructed: S and R; painted: R without the mask; cycled: what swapping the swapped ones again gives, or
    None; paired: other pictures of the people with the expressions of these, or None. free: f. read: C(r) of the real
    pictures; read_swapped: C(r) of S; both 2N,U logits.
    """

    swapped: Tensor
    reconstructed: Tensor
    painted: Tensor
    cycled: Tensor | None
    paired: Tensor | None
    free: Tensor
    read: Tensor
    read_swapped: Tensor


class Swap(nn.Module):
    """One forward pass over all that the losses need, as data-parallel training allows one for each backward pass."""

    def __init__(self, network: Disentangler, cycle: bool, taught: float = 1.0) -> None:
        super().__init__()
        self.network, self.cycle, self.taught = network, cycle, taught

    def forward(self, face: Tensor, driver: Tensor, others: Tensor | None = None) -> Swapped:
        """face, driver: N,3,S,S in [-1, 1]; others: 2N,3,S,S, further pictures of the same people, for `paired`."""
        network, count = self.network, len(face)
        pictures = torch.cat([face, driver])
        related, free = network.features(pictures)
        carried = torch.lerp(related.detach(), related, self.taught)
        out = network.decoder(torch.cat([free, free]), torch.cat([carried.roll(count, 0), carried]))
        swapped, reconstructed = network.shown(out, torch.cat([pictures, pictures])).chunk(2)
        painted = network.painted(out[2 * count :], pictures)
        # What reads the swapped faces is held still: else the encoders would agree on a sign that nobody sees.
        again = frozen(network.related, swapped)
        read_swapped = frozen(network.reader, again).float()
        cycled = None
        if self.cycle:
            cycled = network.compose(Features(again.roll(count, 0), network.free(swapped)), swapped)
        paired = None if others is None else network.compose(Features(carried, network.free(others)), others)
        return Swapped(
            swapped, reconstructed, painted, cycled, paired, free, network.reader(related).float(), read_swapped
        )


def frozen(network: nn.Module, inputs: Tensor) -> Tensor:
    """The network's answer, through which gradients reach the inputs and not its weights."""
    return functional_call(network, {name: weight.detach() for name, weight in network.named_parameters()}, inputs)


def action_unit_loss(logits: Tensor, aus: Tensor) -> Tensor:
    """Mean binary cross-entropy of N,U logits with intensities N,U in 0..1; what is NaN there does not count."""
    known = ~aus.isnan()
    terms = F.binary_cross_entropy_with_logits(logits, aus.nan_to_num(), reduction="none")
    return (terms * known).sum() / known.sum().clamp_min(1)


def unit_classes(aus: Tensor) -> Tensor:
    """The classes that the feature's discriminator is to tell: N,U intensities to N,U+1, each row adding up to 1.

    The paper's class is one action unit; a face shows several, so that each has its share, and rest is one more.
    """
    shown = aus.nan_to_num()
    rest = 1 - shown.amax(dim=1, keepdim=True)
    shares = torch.cat([shown, rest], dim=1)
    return shares / shares.sum(dim=1, keepdim=True)


def feature_discriminator_loss(classes: Tensor, aus: Tensor) -> Tensor:
    """Least squares to the true classes, summed over them: M,K answers on AU-free features, M,U intensities."""
    return (classes - unit_classes(aus)).square().sum(1).mean()


def feature_adversarial_loss(classes: Tensor) -> Tensor:
    """What the encoder pays where the AU-free feature still tells the class: least squares to 1/K for each."""
    return (classes - 1 / classes.shape[1]).square().sum(1).mean()


def critic_loss(realism: list[Tensor], swap: list[Tensor], loss: Loss) -> tuple[Tensor, Parts]:
    """L_D of faces. realism: logits of real and swapped faces; swap: of reconstructed ones, which play real, and
    swapped ones. Returns the total and its parts; a question whose weight is 0 is left out."""
    form = loss.adversarial.form
    parts: Parts = {}
    if loss.adversarial.weight:
        parts |= {"d_real": adversarial_real(realism[0], form), "d_fake": adversarial_fake(realism[1], form)}
    if loss.swap.weight:
        parts |= {"d_own": adversarial_real(swap[0], form), "d_swapped": adversarial_fake(swap[1], form)}
    return sum(parts.values(), unasked(*realism, *swap)), parts


def swap_triplet_loss(embedding: nn.Module, batch: SwapBatch, made: Tensor, margin: float) -> Tensor:
    """What was made of a, of 2N faces, nearer to another picture of a than to one of b, and the other way round."""
    with torch.no_grad():
        positive = embedding(torch.cat([batch.positive, batch.driver_positive]))
    return triplet_loss(embedding(made), positive, positive.roll(len(batch.face), 0), margin)


def unasked(*answers: Tensor) -> Tensor:
    """Nothing to pay, for answers that may be in no loss: data-parallel workers wait for a gradient of every weight."""
    return torch.stack([0 * answer.sum() for answer in answers]).sum()


class EFT(Training):
    """The networks of the method, and what each pays on a batch. units: number U of action units."""

    asking = ("adversarial", "swap", "feature_adversarial")
    loss: Loss
    generator: Disentangler
    discriminator: nn.Module
    embedding: nn.Module

    def __init__(self, method: Networks, loss: Loss, size: int, units: int, embedding: nn.Module) -> None:
        self.loss = loss
        self.generator = Disentangler(size, method.width, method.related, units, method.mask, method.warp)
        self.trained = Swap(self.generator, loss.cross_cycle.weight > 0, method.taught)
        self.discriminator = Critic(method.discriminator_width, 4 * method.width, units + 1)
        self.embedding = embedding

    def generate(self, trained: nn.Module, batch: SwapBatch) -> Swapped:
        others = torch.cat([batch.positive, batch.driver_positive]) if self.loss.paired.weight else None
        return trained(batch.face, batch.driver, others)

    def pixels(self, generated: Swapped) -> Tensor:
        return generated.swapped

    def for_discriminator(self, discriminator: nn.Module, batch: SwapBatch, generated: Swapped) -> tuple[Tensor, Parts]:
        real = torch.cat([batch.face, batch.driver])
        faces = torch.cat([real, generated.reconstructed.detach(), generated.swapped.detach()])
        realism, swap, classes = discriminator(faces, generated.free.detach())
        (real_logits, _, fake), (_, own, swapped) = realism.chunk(3), swap.chunk(3)
        whole, parts = critic_loss([real_logits, fake], [own, swapped], self.loss)
        whole = whole + unasked(classes)
        if self.loss.feature_adversarial.weight:
            parts["d_feature"] = feature_discriminator_loss(classes, torch.cat([batch.aus, batch.driver_aus]))
            whole = whole + parts["d_feature"]
        return whole, parts

    def for_generator(self, batch: SwapBatch, generated: Swapped) -> tuple[Tensor, Parts]:
        """w_au [BCE(C(r), au) + carried BCE(C(r of S), the other's au)] + w_f |D_f(f) - 1/K|^2 + w_rec |R - I|_1
        + w_cycle |swapped twice - I|_1 + w_swap -D_swap(S) + w_adv -D(S) (+ w_paired |G(f_J, r_I) - I|_1 with J another
        picture of I's person, + w_tri triplet: extensions)."""
        loss, real = self.loss, torch.cat([batch.face, batch.driver])
        aus = torch.cat([batch.aus, batch.driver_aus])
        realism, swap, classes = self.discriminator(generated.swapped, generated.free)
        parts: Parts = {}
        if loss.action_units.weight:
            others = aus.roll(len(batch.face), 0)
            carried = action_unit_loss(generated.read_swapped, others)
            parts["action_units"] = action_unit_loss(generated.read, aus) + loss.action_units.carried * carried
        if loss.reconstruction.weight:
            # Painted too: with a mask the input's own pixels reconstruct it, and teach neither encoder anything.
            made = torch.cat([generated.painted, generated.reconstructed])
            parts["reconstruction"] = (made - torch.cat([real, real])).abs().mean()
        if generated.cycled is not None:
            parts["cross_cycle"] = (generated.cycled - real).abs().mean()
        if generated.paired is not None:
            parts["paired"] = (generated.paired - real).abs().mean()
        if loss.feature_adversarial.weight:
            parts["feature_adversarial"] = feature_adversarial_loss(classes)
        if loss.swap.weight:
            parts["swap"] = adversarial_generator(swap, loss.adversarial.form)
        if loss.adversarial.weight:
            parts["adversarial"] = adversarial_generator(realism, loss.adversarial.form)
        if loss.triplet.weight:
            parts["triplet"] = swap_triplet_loss(self.embedding, batch, generated.swapped, loss.triplet.margin)
        return total(parts, loss) + unasked(generated.read, generated.swapped), parts
