"""Unpaired pictures with their action units, and another picture of each person, on a device."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visage.config.experiment import Train
from visage.errors import UserError
from visage.faces.action_units import action_units, by_side, learning_faces, shown_by_another
from visage.faces.checks import refuse_shards
from visage.faces.faceset import EXACT, FaceSet
from visage.faces.facs import AUS
from visage.faces.sampling import Swaps
from visage.methods.base import Batches
from visage.methods.pictures import Drawn, Pictures


@dataclass(frozen=True)
class SwapBatch:
    """Unpaired pictures. face, driver: N,3,S,S in [-1, 1], of two people. aus, driver_aus: N,U in 0..1, NaN where one
    is not known. positive, driver_positive: other pictures of the same two people. by_side: the labels of all four,
    4N,2U, on the image's left and then on its right, where a method asks for them. same: 2N, other people who show the
    units of face and of driver, where the loss asks for them."""

    face: Tensor
    driver: Tensor
    aus: Tensor
    driver_aus: Tensor
    positive: Tensor
    driver_positive: Tensor
    by_side: Tensor | None = None
    same: Tensor | None = None


class SwapBatches(Batches):
    """Batch by batch of a run's unpaired pictures with their action units.

    Face and driver are changed each in its own way: nothing but the expression is to go from one to the other. They may
    be mirrored, as an action unit keeps its name on either side; but not where a picture shows AU 14, which is drawn,
    labelled and told on one side alone.

    exchanged: with other people who show the same units as face and driver. Raises UserError where the faces were not
    drawn so.
    """

    def __init__(self, faces: FaceSet, train: Train, device: torch.device, *, exchanged: bool = False) -> None:
        self.device, self.pictures = device, Pictures(faces, device)
        self.units = action_units(faces).values
        self.by_side = by_side(self.units, faces.lopsided)
        self.others = _others(faces) if exchanged else None
        self.swaps = Swaps(faces.identity, faces.expression, learning_faces(faces), train.augment, train.seed)

    def draw(self, first: int, count: int) -> Drawn:
        pictures, augmentation = self.swaps.batch(first, count)
        dimpled = self.units[pictures, AUS.index(14)] > 0  # 4,N: face, driver, and another picture of each
        augmentation[dimpled[:2] | dimpled[2:], 0] = 1
        changes, every = np.concatenate([*augmentation, *augmentation]), pictures.reshape(-1)
        sides = self.by_side[every]
        mirrored = changes[:, 0] < 0
        sides[mirrored] = np.roll(sides[mirrored], sides.shape[1] // 2, axis=1)
        same = None if self.others is None else self.pictures.read(self.others[pictures[:2].reshape(-1)])
        numbers = self.units[pictures[0]], self.units[pictures[1]], sides
        return Drawn(self.pictures.read(every), changes, numbers, same)

    def made(self, drawn: Drawn) -> SwapBatch:
        face, driver, positive, driver_positive = self.pictures.made(drawn.read, drawn.augmentation).chunk(4)
        aus, driver_aus, sides = map(self.pictures.moved, drawn.numbers)
        same = None
        if drawn.further is not None:
            same = self.pictures.made(drawn.further, drawn.augmentation[: len(drawn.further)])
        return SwapBatch(face, driver, aus, driver_aus, positive, driver_positive, sides, same)


def _others(faces: FaceSet) -> np.ndarray:
    refuse_shards(faces, "loss.paired.exchanged = true", "false")
    others = shown_by_another(faces)
    if action_units(faces).source != EXACT or (others == np.arange(len(others))).all():
        raise UserError(
            f"{faces.dir}: has no two people who show exactly the same action units, as loss.paired.exchanged asks; "
            "draw a face set with data.units anew, or leave that out."
        )
    return others
