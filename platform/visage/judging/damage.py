"""Faces that are damaged in one place, as generators damage them: what the endpoint's check learns to refuse."""

import torch
import torch.nn.functional as F
from torch import Tensor

SIDES = (0.12, 0.30)  # of the damaged rectangle, as shares of the face's
ACROSS, DOWN = (0.36, 0.64), (0.30, 0.86)  # where its middle lies
MOUTH, AT_MOUTH = (0.66, 0.86), 0.6  # there more often than elsewhere, as it moves most
SMEAR = (0.08, 0.18)  # how far colours run
ASIDE = (0.06, 0.14)  # how far off what is shown lies


def damaged(faces: Tensor, random: torch.Generator) -> Tensor:
    """faces: N,3,S,S in [-1, 1], S from 32. In a rectangle of its own each shows what lies aside of it, or is mirrored,
    smeared, or scattered. random: of the faces' device. Returns N,3,S,S.
    """
    found, side = faces.clone(), faces.shape[-1]

    def share(low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=random, device=random.device))

    for face, out in zip(faces, found, strict=True):
        height, width = (int(side * share(*SIDES)) for _ in range(2))
        top = int(side * share(*(MOUTH if share() < AT_MOUTH else DOWN))) - height // 2
        left = int(side * share(*ACROSS)) - width // 2
        place = (..., slice(top, top + height), slice(left, left + width))
        axis, sign, kind = 1 + (share() < 0.7), 1 if share() < 0.5 else -1, int(share(0, 4))
        if kind == 0:
            seen = face.roll((int(side * share(-0.12, 0.12)), sign * int(side * share(*ASIDE))), (1, 2))[place]
        elif kind == 1:
            seen = face[place].flip(axis)
        elif kind == 2:
            reach = int(side * share(*SMEAR)) // 2
            across = [0, 0]
            across[axis - 1] = reach
            window = (2 * across[0] + 1, 2 * across[1] + 1)
            seen = F.avg_pool2d(face, window, 1, (across[0], across[1]), count_include_pad=False)[place]
        else:
            part = face[place]  # which may end at the face's lower edge
            order = torch.randperm(part[0].numel(), generator=random, device=random.device)
            seen = part.flatten(1)[:, order].view_as(part)
        out[place] = seen
    return found
