"""From action units to the feature that shows them: what a transfer is told in place of a driver's face."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from visage.methods.eft.networks.disentangler import Disentangler

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet

PICTURES = 4_096  # at most, of the fit; the map has a few thousand numbers
RIDGE = 0.01  # of the mean variance: units that are always shown together share what they do


class UnitMap(nn.Module):
    """A linear map of the intensities of a disentangler's U action units to its AU-related feature of R numbers.

    known: bool U, the units that it was fitted to; asking for another one changes nothing. Without `related` the
    feature is the units themselves, by side, and what is asked for goes to both: a unit in the middle of the face, or
    on one side alone, has maps that say so.
    """

    def __init__(self, units: int, related: int | None) -> None:
        super().__init__()
        self.out = None if related is None else nn.Linear(units, related)
        self.known: Tensor
        self.register_buffer("known", torch.zeros(units, dtype=torch.bool))

    def forward(self, related: Tensor, read: Tensor, asked: Tensor) -> Tensor:
        """The AU-related features N,R of faces with these, whose units N,U are read as these, with those asked for.

        read, asked: 0 to 1; NaN in `asked` leaves a unit as it is read.
        """
        if self.out is not None:
            return self.out(torch.where(asked.isnan(), read, asked))
        both = asked.repeat(1, 2)
        return torch.where(both.isnan(), related, both)

    def told(self, network: Disentangler, faces: Tensor, asked: Tensor) -> Tensor:
        """The faces N,3,S,S in [-1, 1] with the action units N,U that are asked for. Returns N,3,S,S, float32."""
        features = network.features(faces)
        related = self(features.related, network.intensities(features.related), asked)
        return network.compose(features._replace(related=related), faces)


def unit_map_of(network: Disentangler) -> UnitMap:
    """An unfitted one that fits the network."""
    return UnitMap(network.units, None if network.basis else network.dimensions)


@torch.no_grad()
def fit_unit_map(generator: Disentangler, faces: "FaceSet") -> UnitMap:
    """The map of a generator, in eval mode, without gradients, on its device; fitted to the training people's faces.

    It is a ridge regression of their AU-related features on the units that the generator itself reads from them, and
    not on the labels: what is asked for and what stays as it is read are then on one scale. The labels only say which
    units it knows: those that some training face shows clearly, and others do not. Where the feature is the units
    themselves, that is all there is to find.
    """
    from visage.faces.action_units import ActionUnits, action_units, learning_faces
    from visage.judging.networks.fit import BATCH, real_inputs

    device = next(generator.parameters()).device
    learn = learning_faces(faces)
    labels = action_units(faces)
    known = ActionUnits(labels.values[learn], labels.source).known
    found = unit_map_of(generator).to(device).eval().requires_grad_(False)
    found.known.copy_(torch.from_numpy(known))
    if found.out is None:
        return found
    chosen = learn[np.unique(np.linspace(0, len(learn) - 1, min(PICTURES, len(learn))).astype(int))]
    batches = np.array_split(chosen, -(-len(chosen) // BATCH))
    related = torch.cat([generator.related(real_inputs(faces, some, device)).float() for some in batches])
    read = generator.intensities(related)[:, found.known]
    middle, start = read.mean(0), related.mean(0)
    x = read - middle
    gram = x.T @ x / len(x)
    gram += (RIDGE * gram.trace() / max(1, len(gram))).clamp_min(1e-8) * torch.eye(len(gram), device=device)
    weights = torch.linalg.solve(gram, x.T @ (related - start) / len(x))
    found.out.weight.zero_()
    found.out.weight[:, found.known] = weights.T
    found.out.bias.copy_(start - middle @ weights)
    return found
