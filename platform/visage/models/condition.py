"""The category condition: which expression, and how much of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

NEUTRAL = "neutral"


def conditions(expressions: Sequence[str], target: Tensor, intensity: float | Tensor = 1.0) -> Tensor:
    """N,K conditions on the device of `target`: on the line from the neutral face, 0, to the full expression, 1.

    target: N, indexes into the K expressions. intensity: one for all, or N; 0..1, a little beyond 1 exaggerates.
    A row is t * onehot(target) + (1 - t) * onehot(neutral). As the networks' normalisation is linear in it, faces
    between two conditions are those of interpolated scales and shifts (Dumoulin, Shlens, Kudlur: A learned
    representation for artistic style, ICLR 2017). Without a neutral expression the line starts in the middle of all.
    """
    count = len(expressions)
    full = torch.eye(count, device=target.device)[target]
    if NEUTRAL in expressions:
        start = torch.eye(count, device=target.device)[list(expressions).index(NEUTRAL)]
    else:
        start = torch.full((count,), 1 / count, device=target.device)
    share = torch.as_tensor(intensity, dtype=torch.float32, device=target.device).reshape(-1, 1)
    return torch.lerp(start.expand_as(full), full, share)
