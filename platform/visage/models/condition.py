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
    full = torch.eye(len(expressions), device=target.device)[target]
    start = _start(expressions, target.device)
    share = torch.as_tensor(intensity, dtype=torch.float32, device=target.device).reshape(-1, 1)
    return torch.lerp(start.expand_as(full), full, share)


def mixtures(expressions: Sequence[str], weights: Tensor) -> Tensor:
    """N,K conditions for several expressions at once: from the neutral face each goes its share of the way to its own.

    weights: N,K, of each expression how much, as an intensity; a neutral expression's own counts nothing. With one
    weight alone it is that expression's condition.
    """
    start = _start(expressions, weights.device)
    return start + weights @ (torch.eye(len(expressions), device=weights.device) - start)


def _start(expressions: Sequence[str], device: torch.device) -> Tensor:
    """The condition of no expression, K."""
    count = len(expressions)
    if NEUTRAL in expressions:
        return torch.eye(count, device=device)[list(expressions).index(NEUTRAL)]
    return torch.full((count,), 1 / count, device=device)
