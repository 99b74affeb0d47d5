"""Batches straight from the packed face set: gathered as bytes, turned into faces and augmented on the device."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visage.config.experiment import Train
from visage.faces.faceset import FaceSet
from visage.faces.facs import one_sided
from visage.faces.sampling import Tuples
from visage.methods.ucgan import Batch
from visage.models.condition import conditions

DEVICE_SHARE = 0.25  # of a GPU's free memory that the face set may take; the rest is for the networks


def to_faces(pixels: Tensor) -> Tensor:
    """N,S,S,3 bytes to N,3,S,S floats in [-1, 1]; the memory order, channels_last, stays."""
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


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


class Batches:
    """Batch by batch of a run's tuples on a device.

    Every face of a tuple is mirrored alike, so that input and target stay one person's; a tuple whose input or target
    is one-sided (contempt) is not, as mirrored it would be another expression: its other side would move.
    """

    def __init__(self, faces: FaceSet, train: Train, device: torch.device) -> None:
        self.faces, self.device = faces, device
        self.tuples = Tuples(faces.identity, faces.expression, faces.part("train"), train.augment, train.seed)
        self.one_sided = [place for place, name in enumerate(faces.expressions) if one_sided(name)]
        self.held = torch.from_numpy(np.asarray(faces.faces)).to(device) if fits(faces.faces.nbytes, device) else None

    def at(self, first: int, count: int) -> Batch:
        """The tuples first .. first + count - 1 as a batch."""
        drawn = self.tuples.batch(first, count)
        pictures = drawn.pictures.reshape(-1)
        if self.held is None:
            pixels = self._moved(np.asarray(self.faces.faces[pictures]))
        else:
            pixels = self.held[self._moved(pictures)]
        shown = np.isin(self.faces.expression[drawn.pictures[0]], self.one_sided) | np.isin(
            drawn.targets, self.one_sided
        )
        drawn.augmentation[shown, 0] = 1
        parameters = self._moved(drawn.augmentation)
        faces = augmented(to_faces(pixels), parameters.repeat(len(drawn.pictures), 1))
        # A half smile is learnt as half of happy.
        intensity = self._moved(self.faces.intensity[drawn.pictures[1]])
        condition = conditions(self.faces.expressions, self._moved(drawn.targets), intensity)
        face, target, positive, other, negative = faces.chunk(len(drawn.pictures))
        return Batch(face, target, positive, other, negative, condition)

    def _moved(self, array: np.ndarray) -> Tensor:
        """The array on the device; from pinned memory to a GPU, so that nothing waits for what it still computes."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


def fits(count: int, device: torch.device) -> bool:
    """Whether so many bytes may stay on the device: a quarter of a GPU's free memory; on a CPU they are mapped."""
    return device.type == "cuda" and count <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
