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
from visage.methods.base import Batches
from visage.methods.pictures import Drawn, Pictures
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


class NamedBatches(Batches):
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

    def draw(self, first: int, count: int) -> Drawn:
        drawn = self.tuples.batch(first, count)
        shown = np.isin([self.faces.expression[drawn.pictures[0]], drawn.targets], self.one_sided).any(0)
        drawn.augmentation[shown, 0] = 1
        changes = np.tile(drawn.augmentation, (len(drawn.pictures), 1))
        numbers = drawn.targets, self.intensity[drawn.pictures[1]], self.half[drawn.pictures[0]]
        return Drawn(self.pictures.read(drawn.pictures.reshape(-1)), changes, numbers)

    def made(self, drawn: Drawn) -> Batch:
        face, target, positive, other, negative = self.pictures.made(drawn.read, drawn.augmentation).chunk(5)
        targets, intensity, half = map(self.pictures.moved, drawn.numbers)
        condition = conditions(self.faces.expressions, targets, intensity)
        return Batch(face, target, positive, other, negative, condition, half)
