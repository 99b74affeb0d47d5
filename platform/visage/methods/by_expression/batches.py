"""Training tuples with an expression by its name, on a device."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visage.config.experiment import Train
from visage.faces.checks import refuse_shards
from visage.faces.faceset import FaceSet
from visage.faces.facs import one_sided
from visage.faces.sampling import Likeness, Tuples
from visage.faces.strength import strengths
from visage.methods.pictures import Pictures
from visage.models.condition import conditions


@dataclass(frozen=True)
class Batch:
    """One training batch. Faces: N,3,S,S in [-1, 1]; condition: N,K, as `models.condition` makes it; half: N, that of
    everybody in a tuple, 0 or 1, for `CrossedEncoder`."""

    face: Tensor
    target: Tensor
    positive: Tensor
    other: Tensor
    negative: Tensor
    condition: Tensor
    half: Tensor


@dataclass(frozen=True)
class DrawnBatch:
    """read: 5N faces of (input, target, positive, other, negative), as `Pictures.read` gives them; augmentation: 5N,10;
    targets, intensity, half: N.
    """

    read: np.ndarray
    augmentation: np.ndarray
    targets: np.ndarray
    intensity: np.ndarray
    half: np.ndarray


class NamedBatches:
    """Batch by batch of a run's tuples on a device.

    Every face of a tuple is mirrored alike, so that input and target stay one person's; a tuple whose input or target
    is one-sided (contempt) is not, as mirrored it would be another expression: its other side would move.

    likeness: of the training people, for hard tuples and for an embedding of halves.
    """

    def __init__(self, faces: FaceSet, train: Train, device: torch.device, likeness: Likeness | None = None) -> None:
        self.faces, self.device, self.pictures = faces, device, Pictures(faces, device)
        members = faces.part("train")
        self.tuples = Tuples(faces.identity, faces.expression, members, train.augment, train.seed, likeness)
        if train.intensity == "measured":
            refuse_shards(faces, "train.intensity = measured", "labelled")
        self.half = likeness.half if likeness else np.zeros(len(faces.identity), int)
        # A half smile is learnt as half of happy.
        self.intensity = faces.intensity * (strengths(faces, members) if train.intensity == "measured" else 1)
        self.one_sided = [place for place, name in enumerate(faces.expressions) if one_sided(name)]

    def at(self, first: int, count: int) -> Batch:
        """The tuples first .. first + count - 1 as a batch."""
        return self.made(self.draw(first, count))

    def draw(self, first: int, count: int) -> DrawnBatch:
        """The same tuples before they are on the device."""
        drawn = self.tuples.batch(first, count)
        shown = np.isin(self.faces.expression[drawn.pictures[0]], self.one_sided) | np.isin(
            drawn.targets, self.one_sided
        )
        drawn.augmentation[shown, 0] = 1
        changes = np.tile(drawn.augmentation, (len(drawn.pictures), 1))
        intensity = self.intensity[drawn.pictures[1]]
        read, half = self.pictures.read(drawn.pictures.reshape(-1)), self.half[drawn.pictures[0]]
        return DrawnBatch(read, changes, drawn.targets, intensity, half)

    def made(self, drawn: DrawnBatch) -> Batch:
        """The batch of drawn tuples."""
        faces = self.pictures.made(drawn.read, drawn.augmentation)
        moved = self.pictures.moved
        condition = conditions(self.faces.expressions, moved(drawn.targets), moved(drawn.intensity))
        face, target, positive, other, negative = faces.chunk(5)
        return Batch(face, target, positive, other, negative, condition, moved(drawn.half))
