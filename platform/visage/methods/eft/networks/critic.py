"""What the transfer of expressions is trained against: a critic of faces, and one of AU-free features."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.layers import ConvNorm, Norm


class Verdict(NamedTuple):
    """realism, swap: N,1,S/8,S/8 logits: is the face real; is its expression its own? classes: M,K of the features.

    All float32.
    """

    realism: Tensor
    swap: Tensor
    classes: Tensor


class Critic(nn.Module):
    """Judges faces patch by patch, and reads the class of action units from AU-free features.

    The two questions about a face share their convolutions. classes: number K.
    """

    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.downs = nn.Sequential(ConvNorm(width, 2 * width), ConvNorm(2 * width, 4 * width))
        self.last, self.norm = nn.Conv2d(4 * width, 8 * width, 3, padding=1), Norm(8 * width)
        self.out = nn.Conv2d(8 * width, 2, 3, padding=1)
        self.feature = nn.Sequential(ConvNorm(channels, 4 * width), ConvNorm(4 * width, 8 * width))
        self.head = nn.Linear(8 * width, classes)

    def forward(self, faces: Tensor, free: Tensor) -> Verdict:
        """faces: N,3,S,S in [-1, 1]; free: M,C,S/4,S/4."""
        x = self.downs(F.leaky_relu(self.first(faces), 0.2))
        realism, swap = self.out(self.norm(self.last(x))).float().chunk(2, dim=1)
        return Verdict(realism, swap, self.head(self.feature(free).mean(dim=(2, 3))).float())
