"""The part of the endpoint's check that is a generator's own: whether a mouth is as whole as that generator makes them.

It learns the generator's faces of training people, and real ones, against the same faces with their mouths damaged.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visage.judging.networks.fit import BATCH, descend, seeded
from visage.models.identity import resized
from visage.models.judges import NaturalCheck
from visage.models.pixels import as_input, as_pixels

REAL = 0.25  # of the undamaged faces of a batch
WORST = 0.05  # of the validation people's faces are called damaged
CAUGHT = 0.5  # of these, damaged, so many must be called so, or the check tells too little to be carried
RATE = 4e-3
SEEN = 0.1, 0.004  # a damage by less than so much of the range, or in fewer of the pixels, is none

# As shares of the face's side: the damaged rectangle, its middle, and how far colours or pixels move.
DOWN, ACROSS = (0.66, 0.88), (0.36, 0.64)
HEIGHT, WIDTH = (0.12, 0.30), (0.12, 0.45)
ASIDE, OFF, SMEAR, PULL, ROUND = (0.06, 0.14), (-0.12, 0.12), (0.03, 0.13), (0.07, 0.14), (0.05, 0.10)


class Fitted(NamedTuple):
    """The check, on the CPU, in eval mode, without gradients. caught: the share of the held faces, damaged, that it
    calls damaged; where nothing of them changed visibly, 0."""

    check: NaturalCheck
    caught: float

    @property
    def tells(self) -> bool:
        """Whether it says enough to be carried."""
        return self.caught >= CAUGHT


def fit_natural(learnt: Tensor, real: Tensor, held: Tensor, images: int, seed: int) -> Fitted:
    """Train the check to tell faces from the same faces damaged. learnt, held: a generator's faces of the people it
    knows and of others, real: real ones, uint8 N,3,S,S. images: to be seen, half of them damaged."""
    order, random = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    few = int(BATCH * REAL)
    learnt, real, held = (_small(part) for part in (learnt, real, held))
    top, bottom, left, right = NaturalCheck.BOX

    def loss() -> Tensor:
        parts = ((learnt, BATCH - few), (real, few))
        whole = as_input(torch.cat([part[order.integers(len(part), size=n)] for part, n in parts]))
        harmed = damaged(whole, random)
        counts = torch.cat([torch.ones(BATCH), _differs(whole, harmed).float()])
        told = torch.arange(2 * BATCH) < BATCH
        logits = network.logits(_mouths(torch.cat([whole, harmed]), random))
        return F.binary_cross_entropy_with_logits(logits, told.float(), counts, reduction="sum") / counts.sum()

    with seeded(seed):  # first weights and dropout know the global state only
        network = NaturalCheck()
        descend(network, loss, images // (2 * BATCH), RATE)
    network.requires_grad_(False)
    with torch.inference_mode():
        whole = as_input(held)
        network.head.bias.sub_(network.logits(whole[:, :, top:bottom, left:right]).quantile(WORST))
        harmed = damaged(whole, random)
        harmed = harmed[_differs(whole, harmed)]
        caught = float((network(harmed) < 0.5).float().mean()) if len(harmed) else 0.0
    return Fitted(network, caught)


def _differs(whole: Tensor, harmed: Tensor) -> Tensor:
    """Of faces N,3,S,S in [-1, 1], which show that they were damaged: N bools."""
    differs = (harmed - whole).abs().amax(1) > SEEN[0] * 2
    return differs.float().mean((1, 2)) > SEEN[1]


def _small(faces: Tensor) -> Tensor:
    """uint8 N,3,S,S, scaled to what the check sees."""
    side = NaturalCheck.SIDE
    return torch.cat([as_pixels(resized(as_input(some), side)) for some in faces.split(BATCH)])


def damaged(faces: Tensor, random: torch.Generator) -> Tensor:
    """faces: N,3,S,S in [-1, 1], S from 32, on the CPU. In a rectangle about its mouth each shows what lies aside, or
    is smeared, or has a place there pulled. Returns N,3,S,S."""
    found, side = faces.clone(), faces.shape[-1]

    def share(low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=random))

    for face, out in zip(faces, found, strict=True):
        height, width = int(side * share(*HEIGHT)), int(side * share(*WIDTH))
        y, x = share(*DOWN), share(*ACROSS)
        top, left = int(side * y) - height // 2, int(side * x) - width // 2
        place = (..., slice(top, top + height), slice(left, left + width))
        kind, way = int(share(0, 3)), 1 if share() < 0.5 else -1
        if kind == 0:
            out[place] = face.roll((int(side * share(*OFF)), way * int(side * share(*ASIDE))), (1, 2))[place]
        elif kind == 1:
            far = max(1, int(side * share(*SMEAR)))
            down, across = ((far, 0), (0, far), (-(-far // 2), -(-far // 2)))[int(share(0, 3))]
            window = (2 * down + 1, 2 * across + 1)
            out[place] = F.avg_pool2d(face, window, 1, (down, across), count_include_pad=False)[place]
        else:
            out.copy_(_pulled(face, (x, y), share(*ROUND), share(*PULL), share(0, 2 * math.pi)))
    return found


def _pulled(face: Tensor, middle: tuple[float, float], round: float, far: float, angle: float) -> Tensor:
    """3,S,S with the colours of a place, of which `round` is the Gaussian's width, drawn to one side."""
    places = (torch.arange(face.shape[-1]) + 0.5) / face.shape[-1]
    y, x = torch.meshgrid(places, places, indexing="ij")
    weight = torch.exp(-(((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / round**2))
    grid = torch.stack([x - far * math.cos(angle) * weight, y - far * math.sin(angle) * weight], -1) * 2 - 1
    return F.grid_sample(face[None], grid[None], padding_mode="reflection", align_corners=False)[0]


def _mouths(faces: Tensor, random: torch.Generator) -> Tensor:
    """What the check sees of faces of its SIDE: each mirrored or not, a little turned, scaled, aside, tinted and
    grainy, as none of that says anything of the mouth."""
    count = len(faces)

    def spread(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=random) - 1

    mirror, angle, scale = torch.where(spread(count) < 0, -1.0, 1.0), 0.07 * spread(count), 1 + 0.05 * spread(count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * scale * angle.cos(), -scale * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * scale * angle.sin(), scale * angle.cos()
    theta[:, :, 2] = 0.06 * spread(count, 2)
    top, bottom, left, right = NaturalCheck.BOX
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)[:, top:bottom, left:right]
    mouths = F.grid_sample(faces, grid, padding_mode="reflection", align_corners=False)
    return mouths + 0.15 * spread(count, 3, 1, 1) + 0.02 * torch.randn(mouths.shape, generator=random)
