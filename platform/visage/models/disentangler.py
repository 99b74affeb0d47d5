"""The networks that carry an expression from one face to another: two encoders and a decoder."""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.layers import ConditionedNorm, ConditionEmbedding, Norm
from visage.models.unet import BOTTLENECK, SIZES, WIDEST, blended, face_window, upsampled_conv

EMBEDDING = 64
BLOCKS = 2  # of the decoder at its coarsest
DARK = 1e-3  # a variance of grey, in faces of -1..1, that a picture of one grey does not fall below


class Features(NamedTuple):
    """related: N,R, what the face's action units do. free: N,4W,S/4,S/4, everything else of it."""

    related: Tensor
    free: Tensor


class Halving(nn.Module):
    """4x4 convolution of stride 2, norm, leaky ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, out, 4, stride=2, padding=1), Norm(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class RelatedEncoder(nn.Module):
    """The AU-related feature. It sees the inner face only, in grey, of one brightness and contrast: hair, background,
    colour and light say who and where it is, and nothing of AUs."""

    def __init__(self, size: int, width: int, related: int) -> None:
        super().__init__()
        channels = [1]
        while size >> (len(channels) - 1) > BOTTLENECK:
            channels.append(width * min(2 ** (len(channels) - 1), WIDEST))
        self.downs = nn.Sequential(*(Halving(a, b) for a, b in pairwise(channels)))
        self.out = nn.Linear(channels[-1] * BOTTLENECK**2, related)
        self.window: Tensor
        self.register_buffer("window", face_window(size), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        grey, weight = faces.mean(1, keepdim=True), self.window / self.window.sum()
        middle = (grey * weight).sum((2, 3), keepdim=True)
        spread = ((grey - middle).square() * weight).sum((2, 3), keepdim=True)
        return self.out(self.downs((grey - middle) * self.window / (spread + DARK).sqrt()).flatten(1))


class FreeEncoder(nn.Module):
    """The AU-free feature: a coarse picture of many channels, without skip connections around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.downs = nn.Sequential(Halving(width, 2 * width), Halving(2 * width, 4 * width))
        self.last, self.norm = nn.Conv2d(4 * width, 4 * width, 3, padding=1), Norm(4 * width)

    def forward(self, faces: Tensor) -> Tensor:
        return self.norm(self.last(self.downs(F.leaky_relu(self.stem(faces), 0.2))))


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input goes on, under the condition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(ConditionedNorm(channels, EMBEDDING) for _ in range(2))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        inner = self.norms[0](self.first(x), embedding)
        return x + self.norms[1](self.second(inner), embedding)


class Doubling(nn.Conv2d):
    """Doubles the sides, then a 3x3 convolution, as one."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made = upsampled_conv(x, self.weight)
        return made if self.bias is None else made + self.bias[:, None, None]


class Decoder(nn.Module):
    """An AU-free feature and an AU-related one to the channels of a face; the latter sets the normalisation."""

    def __init__(self, width: int, related: int, channels: int) -> None:
        super().__init__()
        self.condition = ConditionEmbedding(related, EMBEDDING)
        self.blocks = nn.ModuleList(Residual(4 * width) for _ in range(BLOCKS))
        self.ups = nn.ModuleList(Doubling(a, b) for a, b in pairwise((4 * width, 2 * width, width)))
        self.norms = nn.ModuleList(ConditionedNorm(b, EMBEDDING) for b in (2 * width, width))
        self.out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, free: Tensor, related: Tensor) -> Tensor:
        embedding, x = self.condition(related), free
        for block in self.blocks:
            x = block(x, embedding)
        for conv, norm in zip(self.ups, self.norms, strict=True):
            x = norm(conv(x), embedding)
        return self.out(x)


class Disentangler(nn.Module):
    """The face of one picture with the expression of another.

    size, width, mask, warp: as of the U-Net. related: numbers R of the AU-related feature. units: action units that
    are read from it, which it is taught by. With mask (extension) the source's own pixels show outside the mask, and
    so do not pass through the AU-free feature.
    """

    def __init__(self, size: int, width: int, related: int, units: int, mask: bool = False, warp: bool = False) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"size {size}: use one of {SIZES}")
        self.size, self.width, self.units, self.mask, self.warp = size, width, units, mask, warp
        self.dimensions = related
        self.related = RelatedEncoder(size, width, related)
        self.free = FreeEncoder(width)
        self.decoder = Decoder(width, related, 3 + mask + 2 * warp)
        self.reader = nn.Linear(related, units)
        self.window: Tensor
        self.register_buffer("window", face_window(size) if mask or warp else torch.ones(1, 1, 1, 1), persistent=False)

    def forward(self, face: Tensor, driver: Tensor) -> Tensor:
        """The faces N,3,S,S in [-1, 1] with the expressions of the drivers, N,3,S,S. Returns N,3,S,S, float32."""
        return self.compose(Features(self.related(driver), self.free(face)), face)

    def features(self, faces: Tensor) -> Features:
        """faces: N,3,S,S in [-1, 1]."""
        return Features(self.related(faces), self.free(faces))

    def intensities(self, related: Tensor) -> Tensor:
        """The action units that are read from AU-related features N,R: N,units in 0..1."""
        return self.reader(related).float().sigmoid()

    def compose(self, features: Features, face: Tensor) -> Tensor:
        """The face of these features; `face`: where the AU-free one is from, seen with `mask` alone."""
        return self.shown(self.decoder(features.free, features.related), face)

    def shown(self, out: Tensor, face: Tensor) -> Tensor:
        """The face of the decoder's channels, as of `compose`."""
        return blended(out.float(), face, self.window, self.mask, self.warp)

    def painted(self, out: Tensor, face: Tensor) -> Tensor:
        """As `shown`, with nothing of `face` within the window: all that is seen there went through the features."""
        return torch.lerp(face, torch.tanh(out[:, :3].float()), self.window)

    def architecture(self) -> dict[str, Any]:
        """What `build_generator` needs to make this network again."""
        return {
            "name": "disentangler",
            "size": self.size,
            "width": self.width,
            "related": self.dimensions,
            "units": self.units,
            "mask": self.mask,
            "warp": self.warp,
        }
