"""Ways to damage the mouths of aligned faces: N,3,S,S in [-1, 1] to the same."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def torn(faces: Tensor) -> Tensor:
    """Every other strip of rows to the left, the others to the right."""
    found, side = faces.clone(), faces.shape[-1]
    top, bottom, left, right = mouth(side)
    strip, far = side // 32, 3 * side // 32
    for place, row in enumerate(range(top, bottom, strip)):
        rows = slice(row, min(row + strip, bottom))
        found[:, :, rows, left:right] = faces.roll(far if place % 2 else -far, 3)[:, :, rows, left:right]
    return found


def mirrored(faces: Tensor) -> Tensor:
    """Its right half turned round, so that the corner lies in the middle."""
    found, middle = faces.clone(), faces.shape[-1] // 2
    top, bottom, _, right = mouth(faces.shape[-1])
    found[..., top:bottom, middle:right] = faces[..., top:bottom, middle:right].flip(3)
    return found


def smeared(faces: Tensor) -> Tensor:
    """Along its line."""
    return _averaged(faces, 0, faces.shape[-1] // 8)


def blurred(faces: Tensor) -> Tensor:
    return _averaged(faces, 3 * faces.shape[-1] // 64, 3 * faces.shape[-1] // 64)


def dragged(faces: Tensor) -> Tensor:
    """One corner down and outwards, as a finger does in wet paint."""
    y, x = _places(faces.shape[-1])
    far = 0.10 * torch.exp(-((x - 0.60) ** 2 + (y - 0.77) ** 2) / 0.07**2)
    return _taken(faces, y - far, x - far)


def twirled(faces: Tensor) -> Tensor:
    y, x = _places(faces.shape[-1])
    y, x = y - 0.77, x - 0.5
    angle = 1.6 * torch.exp(-(x**2 + y**2) / 0.12**2)
    return _taken(faces, x * angle.sin() + y * angle.cos() + 0.77, x * angle.cos() - y * angle.sin() + 0.5)


HARMS: dict[str, Callable[[Tensor], Tensor]] = {
    harm.__name__: harm for harm in (torn, mirrored, smeared, blurred, dragged, twirled)
}


def mouth(side: int) -> tuple[int, int, int, int]:
    """top, bottom, left, right."""
    return tuple(round(share * side) for share in (0.66, 0.875, 0.30, 0.70))  # type: ignore[return-value]


def _averaged(faces: Tensor, down: int, across: int) -> Tensor:
    found = faces.clone()
    top, bottom, left, right = mouth(faces.shape[-1])
    window = (2 * down + 1, 2 * across + 1)
    soft = F.avg_pool2d(faces, window, 1, (down, across), count_include_pad=False)
    found[..., top:bottom, left:right] = soft[..., top:bottom, left:right]
    return found


def _places(side: int) -> tuple[Tensor, Tensor]:
    places = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(places, places, indexing="ij")
    return y, x


def _taken(faces: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Each pixel from the place y, x of the face, as shares of its side."""
    grid = (torch.stack([x, y], -1) * 2 - 1).expand(len(faces), -1, -1, -1)
    return F.grid_sample(faces, grid, padding_mode="reflection", align_corners=False)
