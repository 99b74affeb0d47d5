"""Random changes of a training face for the judges: what a camera, a lamp or a careless crop may do."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(faces: Tensor, random: torch.Generator, *, erase: bool, mirror: bool = True) -> Tensor:
    """faces: N,3,S,S in [-1, 1]; each gets its own mirror, place, size, turn, light, colour, blur and noise.

    random: of the faces' device. erase: also grey out a rectangle, so that no single trait carries an identity.
    mirror: half of them are mirrored. Returns N,3,S,S in [-1, 1].
    """
    faces = _light(_place(faces, random, mirror), random)
    faces = _blur(faces, random)
    noise = torch.randn(faces.shape, generator=random, device=random.device)
    faces = faces + 0.05 * _uniform(random, len(faces), 1, 1, 1) * noise
    if erase:
        faces = _erase(faces, random)
    return faces.clamp(-1, 1)


def _uniform(random: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=random, device=random.device)


def _spread(random: torch.Generator, *shape: int) -> Tensor:
    return 2 * _uniform(random, *shape) - 1


def _place(faces: Tensor, random: torch.Generator, mirrored: bool) -> Tensor:
    n = len(faces)
    mirror = torch.where(_uniform(random, n) < 0.5 * mirrored, -1.0, 1.0)
    angle = math.radians(8) * _spread(random, n)
    width, height = (1 + 0.07 * _spread(random, 2, n)).unbind()
    theta = torch.zeros(n, 2, 3, device=faces.device)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * width * angle.cos(), -height * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * width * angle.sin(), height * angle.cos()
    theta[:, :, 2] = 0.08 * _spread(random, n, 2)
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _light(faces: Tensor, random: torch.Generator) -> Tensor:
    """Exposure, gamma, contrast, tint, saturation, and a lamp from one side."""
    n, side = len(faces), faces.shape[-1]
    x = ((faces + 1) / 2).clamp(0, 1)
    x = (x + 1e-3) ** torch.exp(0.35 * _spread(random, n, 1, 1, 1))
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + 0.5 * _spread(random, n, 1, 1, 1))
    x = x * torch.exp(0.2 * _spread(random, n, 1, 1, 1) + 0.12 * _spread(random, n, 3, 1, 1))
    slope = 0.25 * _spread(random, n, 2, 1, 1)
    across = torch.linspace(-1, 1, side, device=faces.device)
    x = x * (1 + slope[:, :1] * across + slope[:, 1:] * across[:, None])
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + 0.25 * _spread(random, n, 1, 1, 1)) + 0.08 * _spread(random, n, 1, 1, 1)
    return 2 * x - 1


def _blur(faces: Tensor, random: torch.Generator) -> Tensor:
    """A third of the faces lose detail, as generated faces do: a judge must not lean on sharpness."""
    kernel = torch.tensor([1.0, 2.0, 1.0], device=faces.device) / 4
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    soft = F.conv2d(F.pad(faces, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)
    chosen = _uniform(random, len(faces), 1, 1, 1) < 1 / 3
    return torch.where(chosen, soft, faces)


def _erase(faces: Tensor, random: torch.Generator) -> Tensor:
    n, side = len(faces), faces.shape[-1]
    centre = _uniform(random, n, 2, 1)
    half = 0.05 + 0.10 * _uniform(random, n, 2, 1)
    place = (torch.arange(side, device=faces.device) + 0.5) / side
    inside = (place - centre).abs() < half
    hole = inside[:, 0, :, None] & inside[:, 1, None, :] & (_uniform(random, n, 1, 1) < 0.5)
    return faces.masked_fill(hole[:, None], 0.0)
