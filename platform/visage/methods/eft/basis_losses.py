"""The losses of EFT on a basis of 2D blendshapes (extension), which gives each action unit of each side its own maps.

The AU-related feature r is the units themselves, 2U numbers in 0..1 that the encoder reads from a picture; G moves and
tints the source I_a by the change r_b - r_a. It learns from two pictures of one person, I and J, whose units u are
known: G(f_J, u_I - u_J) is I. Units that no label tells are those that the encoder reads. With `paired.exchanged` half
of the u_I are what it reads in another person who shows them: I is the true answer to that driver.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from visage.methods.base import Training
from visage.methods.eft.batches import SwapBatch
from visage.methods.eft.config import Loss, Networks
from visage.methods.eft.losses import action_unit_loss, frozen, swap_triplet_loss, unasked
from visage.methods.eft.networks.critic import FeatureProbe
from visage.methods.eft.networks.disentangler import NARROW, Disentangler
from visage.methods.eft.networks.unit_reader import UnitReader, intensities
from visage.methods.losses import Parts, total

LEAST = 1e-3  # a variance over people that no number of a feature falls below


def feature_paired_loss(one: Tensor, other: Tensor) -> Tensor:
    """The distance of AU-free features N,C,H,W between two pictures of a person, relative to that between people: the
    mean over features of the squared difference within a person divided by the variance over the N people."""
    one, other = one.float(), other.float()
    between = ((one + other) / 2).var(0, correction=0) + LEAST
    return ((one - other).square().mean(0) / between).mean()


class Exchanged(NamedTuple):
    """Everything a step makes of N tuples. made: 2N faces, the positives with the units of face and driver. free: 2N,
    the AU-free features that these are of. free_others: 2N, those of face and driver themselves, or None.
    read: 4N,2U logits of face, driver and the two positives; read_made: 2N,2U
    of what was made, or None."""

    made: Tensor
    free: Tensor
    free_others: Tensor | None
    read: Tensor
    read_made: Tensor | None


class Exchange(nn.Module):
    """One forward pass over all that the losses need, as data-parallel training allows one for each backward pass."""

    def __init__(self, network: Disentangler, carried: bool, both: bool) -> None:
        super().__init__()
        self.network, self.carried, self.both = network, carried, both

    def forward(
        self, pictures: Tensor, others: Tensor, units: Tensor, others_units: Tensor, same: Tensor | None
    ) -> Exchanged:
        """pictures, others: 2N,3,S,S of the same people; the labels of each, 2N,2U, NaN where one is not known. same:
        2N,3,S,S of other people who show the units of `pictures`, or None."""
        network, reader = self.network, self.network.related
        assert isinstance(reader, UnitReader)
        read = reader.logits(torch.cat([pictures, others]))
        own_read, other_read = intensities(read.detach()).chunk(2)
        # Half of the sources are known by what is read of them alone, as all are once it is trained.
        read_alone = torch.arange(len(others), device=others.device)[:, None] % 2 == 1
        own = torch.where(units.isnan(), own_read, units)
        if same is not None:
            by_driver = torch.arange(len(own), device=own.device)[:, None] % 4 < 2
            own = torch.where(by_driver, intensities(reader.logits(same)), own)
        other = torch.where(read_alone | others_units.isnan(), other_read, others_units)
        free = network.left(others, other_read)
        made = network.exchanged(free, other, own, others)
        # What reads the made faces is held still: else encoder and decoder would agree on a sign that nobody sees.
        read_made = frozen(reader.logits, made) if self.carried else None
        return Exchanged(made, free, network.left(pictures, own_read) if self.both else None, read, read_made)


class BasisEFT(Training):
    """The networks of the method, and what each pays on a batch. units: number U of action units."""

    asking = ("feature_adversarial",)
    loss: Loss
    generator: Disentangler
    discriminator: nn.Module
    embedding: nn.Module

    def __init__(self, method: Networks, loss: Loss, size: int, units: int, embedding: nn.Module) -> None:
        self.loss = loss
        self.generator = Disentangler(size, method.width, 2 * units, units, basis=True)
        carried = loss.action_units.weight * loss.action_units.carried > 0
        self.trained = Exchange(self.generator, carried, loss.feature_paired.weight > 0)
        self.probe = FeatureProbe(method.discriminator_width, NARROW, 2 * units)
        self.discriminator = self.probe
        self.embedding = embedding

    def generate(self, trained: nn.Module, batch: SwapBatch) -> Exchanged:
        return trained(*_both(batch), *_labels(batch), batch.same)

    def pixels(self, generated: Exchanged) -> Tensor:
        return generated.made

    def for_discriminator(
        self, discriminator: nn.Module, batch: SwapBatch, generated: Exchanged
    ) -> tuple[Tensor, Parts]:
        free, units = generated.free.detach(), _labels(batch)[1]
        self.probe.learn(free, units)
        missed = (discriminator(free) - units).square() / self.probe.variances()
        parts = {"d_feature": torch.where(units.isnan(), 0, missed).mean()}
        return parts["d_feature"], parts

    def for_generator(self, batch: SwapBatch, generated: Exchanged) -> tuple[Tensor, Parts]:
        """w_au [BCE(C(r), u) + BCE(C(r of G), u)] + w_f |D_f(f) - mean u|^2 + w_paired |G(f_J, u_I - u_J) - I|_1
        + w_fp |f_I - f_J|^2 / its mean over two people (+ w_tri triplet, extension)."""
        loss, (pictures, others), (units, others_units) = self.loss, _both(batch), _labels(batch)
        parts: Parts = {}
        if loss.action_units.weight:
            parts["action_units"] = action_unit_loss(generated.read, torch.cat([units, others_units]))
            if generated.read_made is not None:
                carried = action_unit_loss(generated.read_made, units)
                parts["action_units"] = parts["action_units"] + loss.action_units.carried * carried
        if loss.paired.weight:
            weights = 1 + loss.paired.change * (pictures - others).abs().mean(1, keepdim=True)
            parts["paired"] = ((generated.made - pictures).abs() * weights).mean()
        if loss.feature_adversarial.weight:
            said = self.discriminator(generated.free) - self.probe.means()[self.probe.numbers :]
            told = said.square() + self.probe.linear(generated.free).square()
            parts["feature_adversarial"] = (told / self.probe.variances()).mean()
        if generated.free_others is not None:
            parts["feature_paired"] = feature_paired_loss(generated.free, generated.free_others)
        if loss.triplet.weight:
            parts["triplet"] = swap_triplet_loss(self.embedding, batch, generated.made, loss.triplet.margin)
        return total(parts, loss) + unasked(generated.read), parts


def _both(batch: SwapBatch) -> tuple[Tensor, Tensor]:
    """Face and driver, 2N; the positives of each, 2N."""
    return torch.cat([batch.face, batch.driver]), torch.cat([batch.positive, batch.driver_positive])


def _labels(batch: SwapBatch) -> tuple[Tensor, Tensor]:
    """The labels of these, 2N,2U each."""
    assert batch.by_side is not None
    pictures, others = batch.by_side.chunk(2)
    return pictures, others
