"""Blocks that the networks share. None keeps batch statistics, so batches and workers do not matter."""

import torch
from torch import Tensor, nn


def group_norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm in groups of 8 channels: statistics of one picture alone."""
    return nn.GroupNorm(max(1, channels // 8), channels, affine=affine)


class ConditionedNorm(nn.Module):
    """GroupNorm whose scale and shift are linear in an embedding of the condition.

    A condition that is added to the picture as a constant plane is removed by the next normalisation; one that
    sets the normalisation itself cannot be.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, affine=False)
        self.affine = nn.Linear(embedding, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: N,C,H,W; embedding: N,E."""
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class ConditionEmbedding(nn.Linear):
    """The condition (N,K) as an embedding (N,E) that the conditioned norms read.

    Linear, so that a condition between two others gives a face between theirs: see `models.condition`.
    """

    def __init__(self, conditions: int, embedding: int = 64) -> None:
        super().__init__(conditions, embedding, bias=False)
        # A one-hot condition has one input that is not zero. With the usual start, made for many, all conditions look
        # alike, and a generator learns the faces first and the expressions late.
        nn.init.normal_(self.weight)
