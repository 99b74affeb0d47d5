"""Faces straight from the packed set: gathered as bytes, turned into floats and augmented on the device.

What the batches of every method are made of, in two parts: `read` is on the CPU, so that a thread may do it ahead of
its step; `made` is the step's, on the device.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visage.faces.faceset import FaceSet
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


@dataclass(frozen=True)
class Drawn:
    """N tuples before they are on the device. read: kN faces, as `Pictures.read` gives them. augmentation: kN,10.
    numbers: what else a batch has of them. further: other faces, as `read`, or None."""

    read: np.ndarray
    augmentation: np.ndarray
    numbers: tuple[np.ndarray, ...]
    further: np.ndarray | None = None


class Pictures:
    """The faces of a set on a device, gathered by their indexes."""

    def __init__(self, faces: FaceSet, device: torch.device) -> None:
        self.faces, self.device = faces, device
        # What comes in shards changes on the way.
        self.held = copied(faces.faces, device) if not faces.shards and fits(faces.faces.nbytes, device) else None

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


def copied(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Mapped bytes on a device, part by part: torch takes no memory that cannot be written without a warning."""
    made = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), PART):
        made[start : start + PART] = torch.from_numpy(np.array(pixels[start : start + PART]))
    return made


def fits(count: int, device: torch.device) -> bool:
    """Whether so many bytes may stay on the device: a quarter of a GPU's free memory; on a CPU they are mapped."""
    return device.type == "cuda" and count <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
