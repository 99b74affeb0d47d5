"""What reads the action units of a picture where they are the AU-related feature themselves."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.identity import resized
from visage.models.layers import ConvNorm, centred_grey
from visage.models.unet import face_window

SIDE = 64  # of the picture as it is looked at, in pixels
BOX = (12, 64, 8, 56)  # of that: top, bottom, left, right of the inner face
HIDDEN = 128
REST = 0.2  # what is read as weaker than this is rest: below it a reader tells more of who it is than of action units


class UnitLogits(nn.Module):
    """Faces N,3,S,S in [-1, 1] to N,count logits of intensities, float32, as labels teach them.

    It sees the inner face only, in grey, of one brightness and contrast: hair, background, colour and light say who and
    where it is, and nothing of action units. Lids and lips are a pixel or two wide there, so that nothing is halved
    before two convolutions at half the side, each 2x2 pixels as 4 channels, have seen it.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvNorm(4, 2 * width, 3),
            ConvNorm(2 * width, 2 * width, 3),
            ConvNorm(2 * width, 4 * width, 4),
            ConvNorm(4 * width, 4 * width, 3),
            ConvNorm(4 * width, 4 * width, 4),
        )
        top, bottom, left, right = BOX
        numbers = 4 * width * ((bottom - top) // 8) * ((right - left) // 8)
        self.hidden, self.out = nn.Linear(numbers, HIDDEN), nn.Linear(HIDDEN, count)
        self.window: Tensor
        self.register_buffer("window", face_window(SIDE), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        grey, deviation = centred_grey(resized(faces, SIDE), self.window)
        top, bottom, left, right = BOX
        seen = (grey / deviation)[:, :, top:bottom, left:right]
        found = self.layers(F.pixel_unshuffle(seen, 2)).flatten(1)
        return self.out(F.leaky_relu(self.hidden(found), 0.2)).float()


class UnitReader(nn.Module):
    """Faces N,3,S,S in [-1, 1] to N,count intensities in 0..1, float32; 0 where less than REST is read."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.logits = UnitLogits(width, count)

    def forward(self, faces: Tensor) -> Tensor:
        return intensities(self.logits(faces))


def intensities(logits: Tensor) -> Tensor:
    """Logits of intensities as intensities in 0..1: as they are from 2 REST on, falling to 0 at REST."""
    read = torch.sigmoid(logits)
    return torch.minimum(read, 2 * (read - REST).clamp_min(0))
