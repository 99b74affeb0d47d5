"""(extension) Learned 2D blendshapes: maps of flow and colour that all people share, under the U-Net's own.

An expression is for the most part one displacement and one shading that all faces have in common. Maps that everybody
shares learn it in a hundred steps; a U-Net that finds it anew for each face needs thousands, and is left the person.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.generator import Network
from visage.models.reader import ExpressionReader
from visage.models.unet import FLOW, SIZES, Levels, face_window, moved

CELLS = 32  # a side, over which the U-Net's own flow varies: fine enough for lids and lips
FLOW_GAIN, COLOUR_GAIN = 3.0, 2.0  # of a channel: shares of the farthest flow, and of faces in -1..1
MAP_GAIN = 3.0  # few numbers that all pictures share may go faster than a network's weights
OVER = 1.2  # a colour may go so far over white while it is learnt, and still be pulled back


class Basis(nn.Module):
    """`count` maps of 2 channels of flow and 3 of colour, at half the side, zero at the start."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.zeros(count, 5, size // 2, size // 2))

    def forward(self, weights: Tensor) -> Tensor:
        """weights: N,count. Returns N,5,S,S: colours, then flow."""
        made = torch.einsum("nk,kchw->nchw", MAP_GAIN * weights.float(), self.maps.float())
        return F.interpolate(made, scale_factor=2, mode="bilinear", align_corners=False)

    def roughness(self) -> Tensor:
        """The mean square of what the maps' flow differs by between neighbouring cells, in pixels of the face: the
        diffusion regulariser of image registration (Balakrishnan et al.: VoxelMorph, TMI 2019). A scalar."""
        flow = 2 * self.maps.shape[-1] * FLOW * FLOW_GAIN * MAP_GAIN * self.maps[:, 3:].float()
        return flow.diff(dim=2).square().mean() + flow.diff(dim=3).square().mean()


class BasisGenerator(Levels, Network):
    """Input face and condition to the same face under that condition, as `UNet`.

    The input is moved by a flow and then coloured: both are the basis under (condition - what the input shows) plus
    what the U-Net adds for this face. The U-Net sees the face at half the side, each 2x2 pixels as 12 channels.
    size: side of the face in pixels, a power of two from 32 to 512. width: channels of the first level. conditions:
    number K of expressions. exaggeration: a factor on flow and colour outside of training.
    Where the data does not tell how strongly a face will show an expression, training finds the mean, which is weaker
    than most faces are.
    """

    NAME = "basis"

    def __init__(self, size: int, width: int, conditions: int, exaggeration: float = 1.0) -> None:
        if size not in SIZES:
            raise ValueError(f"size {size}: use one of {SIZES}")
        super().__init__(size // 2, width, conditions, 12, 14)
        self.size, self.width, self.conditions, self.exaggeration = size, width, conditions, exaggeration
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self.basis = Basis(conditions, size)
        self.reader = ExpressionReader(conditions).requires_grad_(False)
        self.window: Tensor
        self.register_buffer("window", wide_window(size), persistent=False)

    def forward(self, face: Tensor, condition: Tensor) -> Tensor:
        """face: N,3,S,S in [-1, 1]; condition: N,K, see `models.condition`. Returns N,3,S,S in [-1, 1], float32."""
        with torch.no_grad():
            shown = self.reader(face)
        own = self.levels(F.pixel_unshuffle(face, 2), condition)
        shared = self.basis(condition - shown)
        colour = F.pixel_shuffle(own[:, :12], 2) + shared[:, :3]
        much = 1.0 if self.training else self.exaggeration
        flow, paint = much * fine_flow(own[:, 12:], shared[:, 3:]), much * colour
        made = moved(face, self.window * flow) + COLOUR_GAIN * self.window * paint
        return made.clamp(-OVER, OVER) if self.training else made.clamp(-1, 1)

    def reachable(self, target: Tensor, face: Tensor) -> Tensor:
        """As of `UNet`: the input goes on outside the window."""
        return torch.lerp(face, target, self.window)


def fine_flow(own: Tensor, shared: Tensor) -> Tensor:
    """The flow of a U-Net at half the side, N,2,S/2,S/2, and of a basis, N,2,S,S, as one: N,2,S,S in grid_sample's
    units, at most FLOW of the picture. The former varies over CELLS a side."""
    size, half = shared.shape[-1], own.shape[-1]
    coarse = F.avg_pool2d(own, half // CELLS) if half > CELLS else own
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return 2 * FLOW * torch.tanh(FLOW_GAIN * (smooth + shared))


def wide_window(size: int) -> Tensor:
    """1,S,S in 0..1: as `face_window`, and room below for a jaw that drops."""
    return face_window(size, 0.42, 0.5, 0.25)
