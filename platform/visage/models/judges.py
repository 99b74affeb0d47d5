"""Small networks that measure a face: who it is, and what it expresses. None keeps batch statistics."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.layers import group_norm

EMBEDDING = 128


class Residual(nn.Module):
    """Two convolutions and a shortcut; halves the side."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False),
            group_norm(out),
            nn.SiLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            group_norm(out),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(channels, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.body(x) + self.shortcut(x))


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 5, stride=2, padding=2, bias=False), group_norm(width), nn.SiLU())


class IdentityJudge(nn.Module):
    """The inner face as a unit vector of 128 numbers.

    mask: S,S in 0..1, the inner face on an aligned face of S px, the side at which the judge works. What the mask
    leaves out (hair, ears, neck, background) is grey to the judge, so a face is not known by its frame.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, width: int = 48) -> None:
        super().__init__()
        self.width = width
        self.side = mask.shape[-1]
        self.register_buffer("mask", mask.float())
        self.stem = _stem(width)
        self.blocks = nn.Sequential(*(Residual(a, b) for a, b in pairwise((width, 2 * width, 3 * width, 4 * width))))
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width * 16, EMBEDDING)

    def forward(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], aligned, H and W from 32 px. Returns N,128, L2-normalised, float32."""
        inner = _resized(faces, self.side) * self.mask
        top, left, bottom, right = self._box()
        x = self.blocks(self.stem(inner[:, :, top:bottom, left:right]))
        return F.normalize(self.head(self.drop(self.pool(x).flatten(1))).float(), dim=1)

    def _box(self) -> tuple[int, int, int, int]:
        """The part of the face that the mask leaves, for it alone costs arithmetic."""
        if not hasattr(self, "_bounds"):
            rows, columns = torch.nonzero(self.mask, as_tuple=True)
            self._bounds = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
        return self._bounds

    def architecture(self) -> dict[str, Any]:
        return {"name": "identity_judge", "side": self.side, "width": self.width}


class ExpressionJudge(nn.Module):
    """A face as probabilities of `expressions`, by a residual network at `side` px."""

    def __init__(self, expressions: Sequence[str], side: int = 64, width: int = 32) -> None:
        super().__init__()
        self.expressions, self.side, self.width = tuple(expressions), side, width
        self.stem = _stem(width)
        self.blocks = nn.Sequential(*(Residual(a, b) for a, b in pairwise((width, 2 * width, 3 * width, 4 * width))))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width * 4, len(self.expressions))

    def logits(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], aligned, H and W from 32 px. Returns N,K, float32."""
        x = self.blocks(self.stem(_resized(faces, self.side)))
        return self.head(self.drop(self.pool(x).flatten(1))).float()

    def forward(self, faces: Tensor) -> Tensor:
        """faces as for `logits`. Returns N,K, float32, each row adding up to 1."""
        return self.logits(faces).softmax(dim=1)

    def architecture(self) -> dict[str, Any]:
        return {
            "name": "expression_judge",
            "expressions": list(self.expressions),
            "side": self.side,
            "width": self.width,
        }


class ExpressionCheck(nn.Module):
    """The endpoint's own, smaller reader of expressions; another build than the judge, so that both may disagree."""

    SIDE = 48

    def __init__(self, expressions: Sequence[str], width: int = 24) -> None:
        super().__init__()
        self.expressions, self.width = tuple(expressions), width
        layers: list[nn.Module] = []
        for channels, out in pairwise((3, width, 2 * width, 4 * width)):
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.MaxPool2d(2), group_norm(out), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * width * 36, len(self.expressions))

    def logits(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], aligned, H and W from 32 px. Returns N,K, float32."""
        return self.head(self.drop(self.features(_resized(faces, self.SIDE)).flatten(1))).float()

    def forward(self, faces: Tensor) -> Tensor:
        """faces as for `logits`. Returns N,K, float32, each row adding up to 1."""
        return self.logits(faces).softmax(dim=1)

    def architecture(self) -> dict[str, Any]:
        return {"name": "expression_check", "expressions": list(self.expressions), "width": self.width}


def build_judge(architecture: dict[str, Any]) -> nn.Module:
    """An untrained network from what `architecture()` of its kind returned."""
    given = dict(architecture)
    name = given.pop("name")
    if name == "identity_judge":
        side = given.pop("side")
        return IdentityJudge(torch.ones(side, side), **given)
    return {"expression_judge": ExpressionJudge, "expression_check": ExpressionCheck}[name](**given)


def _resized(faces: Tensor, side: int) -> Tensor:
    if faces.shape[-2:] == (side, side):
        return faces
    return F.interpolate(faces, (side, side), mode="bilinear", antialias=True, align_corners=False)
