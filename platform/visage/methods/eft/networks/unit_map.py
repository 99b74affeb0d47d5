"""From action units to the feature that shows them: what a transfer is told in place of a driver's face."""

import torch
from torch import Tensor, nn

from visage.methods.eft.networks.disentangler import Disentangler


class UnitMap(nn.Module):
    """A linear map of the intensities of a disentangler's U action units to its AU-related feature of R numbers.

    known: bool U, the units that it was fitted to; asking for another one changes nothing.
    """

    def __init__(self, units: int, related: int) -> None:
        super().__init__()
        self.out = nn.Linear(units, related)
        self.known: Tensor
        self.register_buffer("known", torch.zeros(units, dtype=torch.bool))

    def forward(self, related: Tensor, read: Tensor, asked: Tensor) -> Tensor:
        """The AU-related features N,R of faces with these, whose units N,U are read as these, with those asked for.

        read, asked: 0 to 1; NaN in `asked` leaves a unit as it is read.
        """
        return self.out(torch.where(asked.isnan(), read, asked))

    def told(self, network: Disentangler, faces: Tensor, asked: Tensor) -> Tensor:
        """The faces N,3,S,S in [-1, 1] with the action units N,U that are asked for. Returns N,3,S,S, float32."""
        features = network.features(faces)
        related = self(features.related, network.intensities(features.related), asked)
        return network.compose(features._replace(related=related), faces)


class UnitsBySide(UnitMap):
    """The same where the feature is the units themselves, by side: what is asked for goes to both sides.

    A unit in the middle of the face, or on one side alone, has maps that say so.
    """

    def __init__(self, units: int) -> None:
        super().__init__(units, 1)
        del self.out

    def forward(self, related: Tensor, read: Tensor, asked: Tensor) -> Tensor:
        both = asked.repeat(1, 2)
        return torch.where(both.isnan(), related, both)


def unit_map_of(network: Disentangler) -> UnitMap:
    """An unfitted one that fits the network."""
    if network.basis is not None:
        return UnitsBySide(network.units)
    return UnitMap(network.units, network.dimensions)
