"""Bytes to the numbers of the networks and back."""

import torch
from torch import Tensor


def as_input(pixels: Tensor) -> Tensor:
    """0..255, of any shape, as float32 in [-1, 1]; the memory order stays."""
    return pixels.to(torch.float32, copy=True).div_(127.5).sub_(1)


def as_pixels(faces: Tensor) -> Tensor:
    """[-1, 1] as uint8: halves go up, and what lies beyond is cut off."""
    return faces.add(1).mul_(127.5).add_(0.5).clamp_(0, 255).to(torch.uint8)
