"""Unpaired pictures with their action units, and another picture of each person, on a device."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visage.config.experiment import Train
from visage.faces.action_units import action_units, by_side, learning_faces
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.faces.sampling import Swaps
from visage.methods.pictures import Pictures


@dataclass(frozen=True)
class SwapBatch:
    """Unpaired pictures. face, driver: N,3,S,S in [-1, 1], of two people. aus, driver_aus: N,U in 0..1, NaN where one
    is not known. positive, driver_positive: other pictures of the same two people. by_side: the labels of all four,
    4N,2U, on the image's left and then on its right, where a method asks for them."""

    face: Tensor
    driver: Tensor
    aus: Tensor
    driver_aus: Tensor
    positive: Tensor
    driver_positive: Tensor
    by_side: Tensor | None = None


@dataclass(frozen=True)
class DrawnSwapBatch:
    """read: 4N faces of (face, driver, positive, driver's positive), as `Pictures.read` gives them; augmentation:
    4N,10; units: those of face and driver, N,U each; sides: those of all four by side of the face.
    """

    read: np.ndarray
    augmentation: np.ndarray
    units: tuple[np.ndarray, np.ndarray]
    sides: np.ndarray


class SwapBatches:
    """Batch by batch of a run's unpaired pictures with their action units.

    Face and driver are changed each in its own way: nothing but the expression is to go from one to the other. They may
    be mirrored, as an action unit keeps its name on either side; but not where a picture shows AU 14, which is drawn,
    labelled and told on one side alone.
    """

    def __init__(self, faces: FaceSet, train: Train, device: torch.device) -> None:
        self.device, self.pictures = device, Pictures(faces, device)
        self.units = action_units(faces).values
        self.by_side = by_side(self.units, faces.lopsided)
        self.swaps = Swaps(faces.identity, faces.expression, learning_faces(faces), train.augment, train.seed)

    def at(self, first: int, count: int) -> SwapBatch:
        """The pairs first .. first + count - 1 as a batch."""
        return self.made(self.draw(first, count))

    def draw(self, first: int, count: int) -> DrawnSwapBatch:
        """The same pairs before they are on the device."""
        pictures, augmentation = self.swaps.batch(first, count)
        dimpled = self.units[pictures, AUS.index(14)] > 0  # 4,N: face, driver, and another picture of each
        augmentation[dimpled[:2] | dimpled[2:], 0] = 1
        changes, every = np.concatenate([*augmentation, *augmentation]), pictures.reshape(-1)
        sides = self.by_side[every]
        mirrored = changes[:, 0] < 0
        sides[mirrored] = np.roll(sides[mirrored], sides.shape[1] // 2, axis=1)
        units = (self.units[pictures[0]], self.units[pictures[1]])
        return DrawnSwapBatch(self.pictures.read(every), changes, units, sides)

    def made(self, drawn: DrawnSwapBatch) -> SwapBatch:
        """The batch of drawn pairs."""
        moved = self.pictures.moved
        face, driver, positive, driver_positive = self.pictures.made(drawn.read, drawn.augmentation).chunk(4)
        aus, driver_aus = map(moved, drawn.units)
        return SwapBatch(face, driver, aus, driver_aus, positive, driver_positive, moved(drawn.sides))
