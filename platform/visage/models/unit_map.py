"""From action units to the feature that shows them: what a transfer is told in place of a driver's face."""

import torch
from torch import Tensor, nn

from visage.models.disentangler import Disentangler


class UnitMap(nn.Module):
    """A linear map of the intensities of a disentangler's U action units to its AU-related feature of R numbers.

    known: bool U, the units that it was fitted to; asking for another one changes nothing.
    """

    def __init__(self, units: int, related: int) -> None:
        super().__init__()
        self.out = nn.Linear(units, related)
        self.known: Tensor
        self.register_buffer("known", torch.zeros(units, dtype=torch.bool))

    def forward(self, read: Tensor, asked: Tensor) -> Tensor:
        """The AU-related features N,R of faces whose units N,U are read as these, with those that are asked for.

        read, asked: 0 to 1; NaN in `asked` leaves a unit as it is read.
        """
        return self.out(torch.where(asked.isnan(), read, asked))

    def told(self, network: Disentangler, faces: Tensor, asked: Tensor) -> Tensor:
        """The faces N,3,S,S in [-1, 1] with the action units N,U that are asked for. Returns N,3,S,S, float32."""
        features = network.features(faces)
        return network.compose(features._replace(related=self(network.intensities(features.related), asked)), faces)
