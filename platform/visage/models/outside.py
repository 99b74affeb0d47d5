"""Judges from outside: networks that others trained, on far more faces than any face set of ours holds.

Both are from the npm package @vladmandic/face-api (MIT): dlib's face recognition ResNet, and a small reader of seven
expressions. The forms are those of the package's own source (src/faceRecognitionNet, src/faceExpressionNet); what is
read from its files are the weights.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.identity import resized
from visage.models.judges import IdentityJudge

PACKAGE = "@vladmandic/face-api 1.7.15"
MEAN = (122.782, 117.001, 104.298)  # of 0..255
# What of an aligned face the package itself would cut out (alignDlib in its src/classes/FaceLandmarks.ts): a square of
# 1 / 0.45 of the way from an eye to the mouth, 0.43 of which lie above the middle of eyes and mouth. With the eyes
# where ours are, 0.40 down and 0.32 apart, and a mouth some 0.34 below: top, left and side, as shares of the face's.
TOP, LEFT, PART = 0.155, 0.0825, 0.835
# Of the reader of expressions, in its own order, by our names.
READ = ("neutral", "happy", "sad", "anger", "fear", "disgust", "surprise")


def cut(faces: Tensor, side: int) -> Tensor:
    """faces N,3,H,W in [-1, 1] as the package's networks want them: N,3,side,side, the mean colour at 0."""
    height, width = faces.shape[-2:]
    top, left, part = round(TOP * height), round(LEFT * width), round(PART * height)
    faces = resized(faces.float()[:, :, top : top + part, left : left + part], side)
    return (faces + 1) / 2 - torch.tensor(MEAN, device=faces.device).view(3, 1, 1) / 255


class Scaled(nn.Module):
    """A convolution 3 by 3 (or `size`) whose channels are scaled and shifted; `down` halves the picture."""

    def __init__(self, before: int, channels: int, size: int = 3, *, down: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, channels, size, 2 if down else 1, 0 if down else size // 2)
        self.weights, self.biases = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.weights[:, None, None] + self.biases[:, None, None]


class Residual(nn.Module):
    def __init__(self, before: int, channels: int, *, down: bool = False) -> None:
        super().__init__()
        self.down = down
        self.conv1, self.conv2 = Scaled(before, channels, down=down), Scaled(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))
            out = F.pad(out, (0, x.shape[3] - out.shape[3], 0, x.shape[2] - out.shape[2]))
        return F.relu(x + out)


class FaceResNet(nn.Module):
    """dlib's face recognition network: a face as 128 numbers that lie near each other for one person."""

    SIDE = 150
    BLOCKS = (
        ("32_1", 32, 32), ("32_2", 32, 32), ("32_3", 32, 32),
        ("64_down", 32, 64), ("64_1", 64, 64), ("64_2", 64, 64), ("64_3", 64, 64),
        ("128_down", 64, 128), ("128_1", 128, 128), ("128_2", 128, 128),
        ("256_down", 128, 256), ("256_1", 256, 256), ("256_2", 256, 256), ("256_down_out", 256, 256),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.conv32_down = Scaled(3, 32, 7, down=True)
        for name, before, channels in self.BLOCKS:
            self.add_module(f"conv{name}", Residual(before, channels, down="down" in name))
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: N,3,150,150 as `cut` gives it. Returns N,128."""
        x = F.max_pool2d(F.relu(self.conv32_down(x)), 3, 2)
        for name, _, _ in self.BLOCKS:
            x = self.get_submodule(f"conv{name}")(x)
        return self.fc(x.mean((2, 3)))


class Separable(nn.Module):
    """A convolution of each channel by itself, then one across channels; `down` halves the picture."""

    def __init__(self, before: int, channels: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.depthwise = nn.Conv2d(before, before, 3, 2 if down else 1, 0 if down else 1, groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # TensorFlow's "same" at stride 2: an even side gets its one row and column of zeros at the end.
        return self.pointwise(self.depthwise(F.pad(x, (0, 1, 0, 1)) if self.down else x))


class Dense(nn.Module):
    """Four convolutions, each of which sees the sum of all before it."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        first = before == 3
        self.conv0 = nn.Conv2d(3, channels, 3, 2) if first else Separable(before, channels, down=True)
        for k in (1, 2, 3):
            self.add_module(f"conv{k}", Separable(channels, channels, down=False))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 1, 0, 1)) if isinstance(self.conv0, nn.Conv2d) else x
        total = seen = F.relu(self.conv0(padded))
        for k in (1, 2, 3):
            total = total + self.get_submodule(f"conv{k}")(seen)
            seen = F.relu(total)
        return seen


class ExpressionNet(nn.Module):
    """A face as the seven expressions READ."""

    SIDE = 112

    def __init__(self) -> None:
        super().__init__()
        self.dense0, self.dense1, self.dense2, self.dense3 = (
            Dense(3, 32),
            Dense(32, 64),
            Dense(64, 128),
            Dense(128, 256),
        )
        self.fc = nn.Linear(256, len(READ))

    def forward(self, x: Tensor) -> Tensor:
        """x: N,3,112,112 as `cut` gives it. Returns logits N,7."""
        x = self.dense3(self.dense2(self.dense1(self.dense0(x))))
        return self.fc(x.mean((2, 3)))


class OutsideIdentity(IdentityJudge):
    """dlib's network as the judge of identity. Its vectors are taken from the mean of the training people's faces, so
    that strangers are as unlike as in the fitted judge: about 0. What `frechet` is measured in stays the O-Net's.

    It sees the inner face only, as the fitted one does: the rest is grey. centre: that mean, 128.
    """

    ORIGIN = PACKAGE
    VECTOR = 128

    centre: Tensor

    def __init__(self, mask: Tensor | None = None) -> None:
        super().__init__(mask, self.VECTOR)
        self.head = nn.Identity()  # type: ignore[assignment]
        self.network = FaceResNet()
        self.register_buffer("centre", torch.zeros(self.VECTOR))

    def features(self, faces: Tensor) -> Tensor:
        """As of IdentityJudge, with the network's vectors behind the O-Net's features: N,FEATURES + 128."""
        return torch.cat([super().features(faces).float(), self.described(faces)], 1)

    def described(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], aligned. Returns the network's vectors of their inner faces as they are: N,128."""
        inner = F.interpolate(self.mask[None, None], faces.shape[-2:], mode="bilinear", align_corners=False)
        return self.network(cut(faces * inner, FaceResNet.SIDE))

    def embed(self, features: Tensor) -> Tensor:
        return F.normalize(features[:, self.FEATURES :] - self.centre, dim=1)

    def pooled(self, features: Tensor) -> Tensor:
        return super().pooled(features[:, : self.FEATURES])

    def architecture(self) -> dict[str, Any]:
        return {"name": "outside_identity"}


class OutsideExpression(nn.Module):
    """The package's reader of seven expressions as the judge of those that a face set shows, some of READ."""

    ORIGIN = PACKAGE

    def __init__(self, expressions: Sequence[str]) -> None:
        super().__init__()
        self.expressions = tuple(expressions)
        self.network = ExpressionNet()
        self._places = [READ.index(name) for name in self.expressions]

    def forward(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], aligned, H and W from 32 px. Returns N,K, float32, each row adding up to 1."""
        return self.network(cut(faces, ExpressionNet.SIDE))[:, self._places].float().softmax(dim=1)

    def architecture(self) -> dict[str, Any]:
        return {"name": "outside_expression", "expressions": list(self.expressions)}


OUTSIDE = ("outside_identity", "outside_expression")
