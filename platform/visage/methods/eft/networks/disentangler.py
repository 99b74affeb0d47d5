"""The networks that carry an expression from one face to another: two encoders and a decoder."""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.methods.eft.networks.unit_reader import UnitReader
from visage.models.basis import COLOUR_GAIN, OVER, Basis, fine_flow, wide_window
from visage.models.generator import Network
from visage.models.layers import ConditionedNorm, ConditionEmbedding, ConvNorm, Norm, centred_grey
from visage.models.unet import BOTTLENECK, SIZES, WIDEST, blended, face_window, moved, upsampled_conv

EMBEDDING = 64
BLOCKS = 2  # of the decoder at its coarsest
NARROW = 8  # channels of the AU-free feature where the source's own pixels are moved
PERSONAL = 4  # further sets of maps, of which each person has a share that is found in the AU-free feature
CELLS = 8  # a side, of that feature as it is looked at for this


class Features(NamedTuple):
    """related: N,R, what the face's action units do. free: N,C,S/4,S/4, everything else of it."""

    related: Tensor
    free: Tensor


class RelatedEncoder(nn.Module):
    """The AU-related feature. It sees the inner face only, in grey, of one brightness and contrast: hair, background,
    colour and light say who and where it is, and nothing of AUs."""

    def __init__(self, size: int, width: int, related: int) -> None:
        super().__init__()
        channels = [1]
        while size >> (len(channels) - 1) > BOTTLENECK:
            channels.append(width * min(2 ** (len(channels) - 1), WIDEST))
        self.downs = nn.Sequential(*(ConvNorm(a, b) for a, b in pairwise(channels)))
        self.out = nn.Linear(channels[-1] * BOTTLENECK**2, related)
        self.window: Tensor
        self.register_buffer("window", face_window(size), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        grey, deviation = centred_grey(faces, self.window)
        return self.out(self.downs(grey * self.window / deviation).flatten(1))


class FreeEncoder(nn.Module):
    """The AU-free feature: a coarse picture of many channels, without skip connections around it."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.downs = nn.Sequential(ConvNorm(width, 2 * width), ConvNorm(2 * width, 4 * width))
        self.last, self.norm = nn.Conv2d(4 * width, channels, 3, padding=1), Norm(channels)

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


class ChangeDecoder(nn.Module):
    """A narrow AU-free feature, the source's pixels and a change of units to what is done for this person: for each
    pixel a colour to add and the share of its own colour to take away, and a flow. All are 0 before training.

    Where a mouth closes or opens nothing that is there can be moved: it has to go, and be painted.
    """

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.condition = ConditionEmbedding(numbers, EMBEDDING)
        self.first = nn.Conv2d(NARROW, 4 * width, 1)
        self.blocks = nn.ModuleList(Residual(4 * width) for _ in range(BLOCKS))
        self.up, self.seen = Doubling(4 * width, 2 * width), nn.Conv2d(12, 2 * width, 3, padding=1)
        self.both = nn.Conv2d(4 * width, 2 * width, 3, padding=1)
        self.norms = nn.ModuleList(ConditionedNorm(2 * width, EMBEDDING) for _ in range(3))
        self.out = nn.Conv2d(2 * width, 18, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, free: Tensor, face: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """free: N,NARROW,S/4,S/4; face: N,3,S,S; numbers: N,K. Returns N,4,S,S and N,2,S/2,S/2, float32."""
        embedding, x = self.condition(numbers), self.first(free)
        for block in self.blocks:
            x = block(x, embedding)
        seen = self.norms[0](self.seen(F.pixel_unshuffle(face, 2)), embedding)
        x = self.both(torch.cat([self.norms[1](self.up(x), embedding), seen], dim=1))
        made = self.out(self.norms[2](x, embedding)).float()
        return F.pixel_shuffle(made[:, :16], 2), made[:, 16:]


class Disentangler(Network):
    """The face of one picture with the expression of another.

    size, width, mask, warp: as of the U-Net. related: numbers R of the AU-related feature. units: action units that
    are read from it, which it is taught by. With mask (extension) the source's own pixels show outside the mask, and
    so do not pass through the AU-free feature.

    basis: (extension) the AU-related feature is the units themselves, on the image's left and on its right, 2U numbers
    in 0..1; the source is moved and tinted by its change, times maps that all people share, and by what the decoder
    adds for this person. The AU-free feature is of the source with its own units taken back by those maps.
    """

    def __init__(
        self, size: int, width: int, related: int, units: int, mask: bool = False, warp: bool = False,
        basis: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"size {size}: use one of {SIZES}")
        if basis and related != 2 * units:
            raise ValueError(f"related {related}: with a basis it is {2 * units}, the {units} units by side")
        self.size, self.width, self.units, self.mask, self.warp = size, width, units, mask, warp
        self.dimensions = related
        self.related = UnitReader(2 * width, related) if basis else RelatedEncoder(size, width, related)
        self.free = FreeEncoder(width, NARROW if basis else 4 * width)
        self.basis = Basis(related, size) if basis else None
        if basis:
            self.personal, self.share = Basis(PERSONAL * related, size), nn.Linear(NARROW * CELLS**2, PERSONAL)
            self.decoder: nn.Module = ChangeDecoder(width, 2 * related)
        else:
            self.decoder = Decoder(width, related, 3 + mask + 2 * warp)
            self.reader = nn.Linear(related, units)
        self.window: Tensor
        window = face_window(size) if mask or warp else torch.ones(1, 1, 1)
        self.register_buffer("window", wide_window(size) if basis else window, persistent=False)

    def forward(self, face: Tensor, driver: Tensor) -> Tensor:
        """The faces N,3,S,S in [-1, 1] with the expressions of the drivers, N,3,S,S. Returns N,3,S,S, float32."""
        return self.compose(Features(self.related(driver), self.left(face)), face)

    def features(self, faces: Tensor) -> Features:
        """faces: N,3,S,S in [-1, 1]."""
        related = self.related(faces)
        return Features(related, self.left(faces, related))

    def left(self, faces: Tensor, related: Tensor | None = None) -> Tensor:
        """The AU-free feature of faces N,3,S,S; related: N,R, where it is known already."""
        if self.basis is None:
            return self.free(faces)
        with torch.no_grad():
            own = self.related(faces) if related is None else related
            rest = self.changed(self.basis(-own), faces)
        return self.free(rest)

    def intensities(self, related: Tensor) -> Tensor:
        """The action units that are read from AU-related features N,R: N,units in 0..1, of the stronger side."""
        if self.basis is not None:
            return related.float().unflatten(1, (2, self.units)).amax(1)
        return self.reader(related).float().sigmoid()

    def compose(self, features: Features, face: Tensor) -> Tensor:
        """The face of these features; `face`: where the AU-free one is from, seen with `mask` or `basis` alone."""
        if self.basis is not None:
            return self.exchanged(features.free, self.related(face), features.related, face).clamp(-1, 1)
        return self.shown(self.decoder(features.free, features.related), face)

    def exchanged(self, free: Tensor, own: Tensor, other: Tensor, face: Tensor) -> Tensor:
        """With `basis`, the face under `other` units N,2U in place of its `own`, before it is held to [-1, 1]."""
        assert self.basis is not None
        change = other - own
        paint, flow = self.decoder(free, face, torch.cat([change, own], dim=1))
        share = torch.tanh(self.share(F.adaptive_avg_pool2d(free, CELLS).flatten(1)).float())
        personal = self.personal((change[:, :, None] * share[:, None]).flatten(1))
        return self.changed(self.basis(change) + personal, face, paint, flow)

    def changed(self, maps: Tensor, face: Tensor, paint: Tensor | None = None, flow: Tensor | None = None) -> Tensor:
        """The face N,3,S,S under colours and a flow, N,5,S,S, and under what the decoder says.

        It goes a little beyond [-1, 1], where a clamp would leave a training without a gradient.
        """
        if paint is None or flow is None:
            # Of a slice, as a number of pictures would be fixed in an exported file.
            paint, flow = maps.new_zeros(1, 4, 1, 1), torch.zeros_like(maps[:, 3:, ::2, ::2])
        kept = moved(face, self.window * fine_flow(flow, maps[:, 3:])) * (1 - COLOUR_GAIN * self.window * paint[:, 3:])
        return (kept + COLOUR_GAIN * self.window * (maps[:, :3] + paint[:, :3])).clamp(-OVER, OVER)

    def shown(self, out: Tensor, face: Tensor) -> Tensor:
        """The face of the decoder's channels, blended over `face` within the window where there is a mask."""
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
        } | ({} if self.basis is None else {"basis": True})
