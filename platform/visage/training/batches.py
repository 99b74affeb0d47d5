"""Batches straight from the packed face set: gathered as bytes, turned into faces and augmented on the device."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visage.config.experiment import Train
from visage.faces.faceset import FaceSet
from visage.faces.sampling import Tuples
from visage.methods.ucgan import Batch
from visage.models.condition import conditions


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
    moved = moved * strength + brightness[:, None, None, None]
    return moved.clamp_(-1, 1).contiguous(memory_format=torch.channels_last)


class Batches:
    """Batch by batch of a run's tuples on a device."""

    def __init__(self, faces: FaceSet, train: Train, device: torch.device) -> None:
        self.faces, self.device = faces, device
        self.tuples = Tuples(faces.identity, faces.expression, faces.part("train"), train.augment, train.seed)

    def at(self, first: int, count: int) -> Batch:
        """The tuples first .. first + count - 1 as a batch."""
        drawn = self.tuples.batch(first, count)
        pixels = torch.from_numpy(np.ascontiguousarray(self.faces.faces[drawn.pictures.reshape(-1)]))
        parameters = torch.from_numpy(drawn.augmentation).to(self.device)
        faces = augmented(to_faces(pixels.to(self.device)), parameters.repeat(len(drawn.pictures), 1))
        targets = torch.from_numpy(drawn.targets).to(self.device)
        # A half smile is learnt as half of happy.
        intensity = torch.from_numpy(self.faces.intensity[drawn.pictures[1]]).to(self.device)
        condition = conditions(self.faces.expressions, targets, intensity)
        face, target, positive, other, negative = faces.chunk(len(drawn.pictures))
        return Batch(face, target, positive, other, negative, condition)
