"""Batches straight from the packed face set: gathered as bytes, turned into faces and augmented on the device.

Each kind is made in two parts: `draw` reads and chooses, on the CPU and by the index alone, so that a thread may do it
ahead of its step; `made` is the step's, on the device.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visage.config.experiment import Train
from visage.faces.action_units import action_units, by_side, learning_faces
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS, one_sided
from visage.faces.sampling import Swaps, Tuples
from visage.faces.strength import strengths
from visage.methods.eft import SwapBatch
from visage.methods.ucgan import Batch
from visage.models.condition import conditions
from visage.models.pixels import as_input

PART = 1_024  # faces that are copied at once
DEVICE_SHARE = 0.25  # of a GPU's free memory that the face set may take; the rest is for the networks


def to_faces(pixels: Tensor) -> Tensor:
    """N,S,S,3 bytes to N,3,S,S floats in [-1, 1]; the memory order, channels_last, stays."""
    return as_input(pixels.permute(0, 3, 1, 2))


def augmented(faces: Tensor, parameters: Tensor) -> Tensor:
    """faces N,3,S,S under N,10 parameters of `faces.sampling`: one affine map, then contrast, colour, brightness."""
    mirror, x, y, scale, turn, brightness, contrast = parameters[:, :7].unbind(1)
    strength = (contrast[:, None] * parameters[:, 7:])[:, :, None, None]
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    theta = torch.stack([torch.stack([mirror * cos, -sin, x], 1), torch.stack([mirror * sin, cos, y], 1)], 1)
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
    moved = F.grid_sample(faces, grid, padding_mode="reflection", align_corners=False)
    moved.mul_(strength).add_(brightness[:, None, None, None])
    return moved.clamp_(-1, 1).contiguous(memory_format=torch.channels_last)


class Pictures:
    """The faces of a set on a device, gathered by their indexes."""

    def __init__(self, faces: FaceSet, device: torch.device) -> None:
        self.faces, self.device = faces, device
        self.held = copied(faces.faces, device) if fits(faces.faces.nbytes, device) else None

    def read(self, pictures: np.ndarray) -> np.ndarray:
        """Of N indexes what has to go to the device: their bytes, N,S,S,3, or themselves where the bytes are there."""
        return pictures if self.held is not None else np.asarray(self.faces.faces[pictures])

    def made(self, read: np.ndarray, augmentation: np.ndarray) -> Tensor:
        """The faces of N that were read, under N,10 parameters of `faces.sampling`: N,3,S,S."""
        pixels = self.moved(read)
        return augmented(to_faces(pixels if self.held is None else self.held[pixels]), self.moved(augmentation))

    def moved(self, array: np.ndarray) -> Tensor:
        """The array on the device; from pinned memory to a GPU, so that nothing waits for what it still computes."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


@dataclass(frozen=True)
class DrawnBatch:
    """read: 5N faces of (input, target, positive, other, negative), as `Pictures.read` gives them; augmentation: 5N,10;
    targets, intensity: N.
    """

    read: np.ndarray
    augmentation: np.ndarray
    targets: np.ndarray
    intensity: np.ndarray


class Batches:
    """Batch by batch of a run's tuples on a device.

    Every face of a tuple is mirrored alike, so that input and target stay one person's; a tuple whose input or target
    is one-sided (contempt) is not, as mirrored it would be another expression: its other side would move.
    """

    def __init__(self, faces: FaceSet, train: Train, device: torch.device) -> None:
        self.faces, self.device, self.pictures = faces, device, Pictures(faces, device)
        members = faces.part("train")
        self.tuples = Tuples(faces.identity, faces.expression, members, train.augment, train.seed)
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
        return DrawnBatch(self.pictures.read(drawn.pictures.reshape(-1)), changes, drawn.targets, intensity)

    def made(self, drawn: DrawnBatch) -> Batch:
        """The batch of drawn tuples."""
        faces = self.pictures.made(drawn.read, drawn.augmentation)
        moved = self.pictures.moved
        condition = conditions(self.faces.expressions, moved(drawn.targets), moved(drawn.intensity))
        face, target, positive, other, negative = faces.chunk(5)
        return Batch(face, target, positive, other, negative, condition)


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


def copied(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Mapped bytes on a device, part by part: torch takes no memory that cannot be written without a warning."""
    made = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), PART):
        made[start : start + PART] = torch.from_numpy(np.array(pixels[start : start + PART]))
    return made


def fits(count: int, device: torch.device) -> bool:
    """Whether so many bytes may stay on the device: a quarter of a GPU's free memory; on a CPU they are mapped."""
    return device.type == "cuda" and count <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
