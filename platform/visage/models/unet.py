"""The generator: a U-Net whose normalisation carries the category condition."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.generator import Network
from visage.models.layers import ConditionedNorm, ConditionEmbedding

SIZES = (32, 64, 128, 256, 512)
BOTTLENECK = 4  # pixels
FLOW = 0.1  # the warp moves a pixel by at most so much of the side
FLOW_CELLS = 16  # and varies over the picture in so many cells a side
FUSE_FROM = 16  # side in pixels from which `upsampled_conv` is the faster
WIDEST = 8  # channels grow from `width` to `WIDEST * width`


class Down(nn.Module):
    """Halves the sides: 4x4 convolution of stride 2, conditioned norm, leaky ReLU."""

    def __init__(self, channels: int, out: int, embedding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 4, stride=2, padding=1)
        self.norm = ConditionedNorm(out, embedding)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.norm(self.conv(x), embedding)


class Up(nn.Module):
    """Doubles the sides, joins the skip connection, 3x3 convolution, conditioned norm, leaky ReLU."""

    def __init__(self, channels: int, skip: int, out: int, embedding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels + skip, out, 3, padding=1)
        self.norm = ConditionedNorm(out, embedding)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        # Nearest neighbour and a convolution: a free transposed convolution leaves a chequered pattern.
        if x.shape[-1] < FUSE_FROM:
            made = self.conv(torch.cat([F.interpolate(x, scale_factor=2), skip], dim=1))
        else:
            made = upsampled_conv(x, self.conv.weight[:, : x.shape[1]])
            made = made + F.conv2d(skip, self.conv.weight[:, x.shape[1] :], self.conv.bias, padding=1)
        return self.norm(made, embedding)


def upsampled_conv(x: Tensor, weight: Tensor) -> Tensor:
    """`conv2d(interpolate(x, scale_factor=2), weight, padding=1)` in under half of the products. weight: O,C,3,3.

    Of nine taps some fall on the same pixel of x: their weights are added first, which leaves the four that a
    transposed convolution of stride 2 reads (Shi et al., CVPR 2016, the other way round).
    """
    taps = 4 * F.avg_pool2d(weight.transpose(0, 1).flip(2, 3), 2, stride=1, padding=1)
    return F.conv_transpose2d(x, taps, stride=2, padding=1)


class Levels(nn.Module):
    """The levels of a U-Net between `channels_in` and `channels_out` channels, under the condition.

    size: side of what comes in, in pixels. width: channels of the first level. conditions: see `UNet`.
    """

    def __init__(self, size: int, width: int, conditions: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        channels = [width]
        while size >> len(channels) >= BOTTLENECK:
            channels.append(width * min(2 ** len(channels), WIDEST))
        self.condition = ConditionEmbedding(conditions)
        embedding = 64
        self.stem = nn.Conv2d(channels_in, width, 3, padding=1)
        self.downs = nn.ModuleList(Down(a, b, embedding) for a, b in pairwise(channels))
        self.ups = nn.ModuleList(Up(b, a, a, embedding) for a, b in reversed(list(pairwise(channels))))
        self.out = nn.Conv2d(width, channels_out, 3, padding=1)

    def levels(self, x: Tensor, condition: Tensor) -> Tensor:
        """x: N,channels_in,size,size; condition: N,K. Returns N,channels_out,size,size, float32."""
        embedding = self.condition(condition)
        x = F.leaky_relu(self.stem(x), 0.2)
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x, embedding)
        for up in self.ups:
            x = up(x, skips.pop(), embedding)
        return self.out(x).float()


class UNet(Levels, Network):
    """Input face and condition to the same face under that condition.

    size: side of the face in pixels, a power of two from 32 to 512. width: channels of the first level.
    conditions: number K of expressions. mask: (extension) the output is blended over the input by a learned mask,
    which is kept to the face: hair and background are the input's own. warp: (extension, needs mask) the input is
    first moved by a learned smooth flow, so that what only moves, as the corners of a mouth, keeps its detail.
    """

    NAME = "unet"

    def __init__(self, size: int, width: int, conditions: int, mask: bool = False, warp: bool = False) -> None:
        if size not in SIZES:
            raise ValueError(f"size {size}: use one of {SIZES}")
        super().__init__(size, width, conditions, 3, 3 + mask + 2 * warp)
        self.size, self.width, self.conditions, self.mask, self.warp = size, width, conditions, mask, warp
        self.window: Tensor
        self.register_buffer("window", face_window(size) if mask or warp else torch.ones(1, 1, 1), persistent=False)

    def forward(self, face: Tensor, condition: Tensor) -> Tensor:
        """face: N,3,S,S in [-1, 1]; condition: N,K, see `models.condition`. Returns N,3,S,S in [-1, 1], float32."""
        return blended(self.levels(face, condition), face, self.window, self.mask, self.warp)

    def reachable(self, target: Tensor, face: Tensor) -> Tensor:
        """The target as far as this network can reach it: with the mask, the input goes on outside the window.

        A discriminator that saw the whole target would know every generated face by its frame.
        """
        return torch.lerp(face, target, self.window) if self.mask else target


def blended(out: Tensor, face: Tensor, window: Tensor, mask: bool, warp: bool) -> Tensor:
    """A generator's last channels as a face: N,3 colours, then with `mask` N,1 and with `warp` N,2 for the flow.

    face: the input, N,3,S,S; window: 1,S,S, where it may change. Returns N,3,S,S in [-1, 1].
    """
    made, face = torch.tanh(out[:, :3]), face.to(out.dtype)
    if warp:
        face = moved(face, window * smooth_flow(out[:, -2:]))
    return torch.lerp(face, made, torch.sigmoid(out[:, 3:4]) * window) if mask else made


def face_window(size: int, wide: float = 0.36, high: float = 0.45, soft: float = 0.3) -> Tensor:
    """1,S,S in 0..1: one on the face, from brows to chin, of an aligned face; falls smoothly to zero around it.

    wide, high: half axes of the ellipse on which it is zero, as shares of the side; soft: share of them in which it
    falls. Of three axes: channels_last gives one of four strides that DDP cannot broadcast where it is the only buffer.
    """
    centres = (torch.arange(size) + 0.5) / size
    radius = torch.hypot((centres[None, :] - 0.5) / wide, (centres[:, None] - 0.6) / high)
    fall = ((1 - radius) / soft).clamp(0, 1)
    return (fall * fall * (3 - 2 * fall))[None]


def smooth_flow(raw: Tensor) -> Tensor:
    """N,2,S,S of any value to a smooth flow of at most FLOW of the picture, in grid_sample's units (two a side)."""
    size = raw.shape[-1]
    coarse = F.avg_pool2d(raw, size // FLOW_CELLS)
    return 2 * FLOW * torch.tanh(F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False))


def moved(face: Tensor, flow: Tensor) -> Tensor:
    """The face (N,3,S,S) read at each pixel's place plus the flow (N,2,S,S: x, y)."""
    # shape[0] and not len(), which an export would take for a constant.
    identity = torch.eye(2, 3, device=face.device, dtype=flow.dtype).expand(face.shape[0], 2, 3)
    grid = F.affine_grid(identity, list(face.shape), align_corners=False) + flow.permute(0, 2, 3, 1)
    return F.grid_sample(face.to(flow.dtype), grid, padding_mode="border", align_corners=False)
