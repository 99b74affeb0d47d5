"""The generator: a U-Net whose normalisation carries the category condition."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.layers import ConditionedNorm, ConditionEmbedding

SIZES = (32, 64, 128, 256, 512)
BOTTLENECK = 4  # pixels
WIDEST = 8  # channels grow from `width` to `WIDEST * width`


class Down(nn.Module):
    """Halves the sides: 4x4 convolution of stride 2, conditioned norm, leaky ReLU."""

    def __init__(self, channels: int, out: int, embedding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 4, stride=2, padding=1)
        self.norm = ConditionedNorm(out, embedding)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x), embedding), 0.2)


class Up(nn.Module):
    """Doubles the sides, joins the skip connection, 3x3 convolution, conditioned norm, leaky ReLU."""

    def __init__(self, channels: int, skip: int, out: int, embedding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels + skip, out, 3, padding=1)
        self.norm = ConditionedNorm(out, embedding)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        # Nearest neighbour and a convolution: a transposed convolution leaves a chequered pattern.
        x = torch.cat([F.interpolate(x, scale_factor=2), skip], dim=1)
        return F.leaky_relu(self.norm(self.conv(x), embedding), 0.2)


class UNet(nn.Module):
    """Input face and condition to the same face under that condition.

    size: side of the face in pixels, a power of two from 32 to 512. width: channels of the first level.
    conditions: number K of expressions. mask: (extension) the output is blended over the input by a learned mask.
    """

    def __init__(self, size: int, width: int, conditions: int, mask: bool = False) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"size {size}: use one of {SIZES}")
        self.size, self.width, self.conditions, self.mask = size, width, conditions, mask
        channels = [width]
        while size >> len(channels) >= BOTTLENECK:
            channels.append(width * min(2 ** len(channels), WIDEST))
        self.condition = ConditionEmbedding(conditions)
        embedding = 64
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.downs = nn.ModuleList(Down(a, b, embedding) for a, b in pairwise(channels))
        self.ups = nn.ModuleList(Up(b, a, a, embedding) for a, b in reversed(list(pairwise(channels))))
        self.out = nn.Conv2d(width, 4 if mask else 3, 3, padding=1)

    def forward(self, face: Tensor, condition: Tensor) -> Tensor:
        """face: N,3,S,S in [-1, 1]; condition: N,K, intensity times one-hot. Returns N,3,S,S in [-1, 1], float32."""
        embedding = self.condition(condition)
        x = F.leaky_relu(self.stem(face), 0.2)
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x, embedding)
        for up in self.ups:
            x = up(x, skips.pop(), embedding)
        out = self.out(x).float()
        if not self.mask:
            return torch.tanh(out)
        share = torch.sigmoid(out[:, 3:])
        return face + share * (torch.tanh(out[:, :3]) - face)

    def architecture(self) -> dict[str, Any]:
        """What `build_generator` needs to make this network again."""
        return {
            "name": "unet",
            "size": self.size,
            "width": self.width,
            "conditions": self.conditions,
            "mask": self.mask,
        }


def build_generator(architecture: dict[str, Any]) -> UNet:
    """The network that `architecture()` described. Raises ValueError when the description is not of a U-Net."""
    arguments = dict(architecture)
    if arguments.pop("name", None) != "unet" or set(arguments) != {"size", "width", "conditions", "mask"}:
        raise ValueError(f"{architecture} describes no U-Net")
    return UNet(**arguments)
