"""Small networks that measure a face: who it is, what it expresses, and whether its mouth is whole.

All but the last stand on convolutions that were trained on many photographs of faces, for a face set may hold few
people.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.config.experiment import FITTED
from visage.models.identity import InnerFaceEmbedding, resized
from visage.models.reader import Reader


class Trunk(nn.Module):
    """The convolutions of MTCNN's O-Net, which were trained on photographs of faces: 3,H,W to 128,h,w."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # halves the time on a CPU, mostly that of the pooling
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        return self.prelu4(self.conv4(x))

    @classmethod
    def pretrained(cls) -> "Trunk":
        """With the weights that facenet-pytorch carries in its package."""
        from facenet_pytorch.models.mtcnn import ONet

        trunk = cls()
        trunk.load_state_dict({k: v for k, v in ONet().state_dict().items() if k in trunk.state_dict()})
        return trunk


class IdentityJudge(InnerFaceEmbedding):
    """The judge's own embedding of the inner face."""

    ORIGIN = FITTED
    SIDE, BOX, FEATURES = 96, (19, 90, 17, 79), 128 * 6 * 5

    def __init__(self, mask: Tensor | None = None, dimensions: int = 64) -> None:
        super().__init__(mask, dimensions)
        self.trunk = Trunk()

    def pooled(self, features: Tensor) -> Tensor:
        """What `features` gave, as the trunk's channels averaged over the picture: N,128, float32."""
        return features.float().view(len(features), 128, -1).mean(2)

    def architecture(self) -> dict[str, Any]:
        return {"name": "identity_judge", "dimensions": self.dimensions}


class ExpressionJudge(Reader):
    """A face as probabilities of `expressions`."""

    ORIGIN = FITTED
    SIDE, BOX, FEATURES = 76, (10, 74, 6, 70), 128 * 25

    def __init__(self, expressions: Sequence[str]) -> None:
        super().__init__(Trunk(), len(expressions))
        self.expressions = tuple(expressions)

    def architecture(self) -> dict[str, Any]:
        return {"name": "expression_judge", "expressions": list(self.expressions)}


class UnitJudge(Reader):
    """A face as intensities of action units, and whatever else of it is a number.

    names: what is read, such as `au_12`, `lopsided` or `turn`.
    """

    SIDE, BOX, FEATURES = 76, (10, 74, 6, 70), 128 * 25

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(Trunk(), len(names))
        self.names = tuple(names)

    def forward(self, faces: Tensor) -> Tensor:
        """faces as for `features`. Returns N,len(names), float32."""
        return self.logits(faces)


class ExpressionCheck(Reader):
    """The endpoint's own reader of expressions: half the judge's sharpness, and all its layers trained on."""

    SIDE, BOX, FEATURES = 57, (8, 56, 5, 53), 128 * 9

    def __init__(self, expressions: Sequence[str]) -> None:
        super().__init__(Trunk(), len(expressions))
        self.expressions = tuple(expressions)
        self.drop = nn.Dropout(0.3)

    def logits(self, faces: Tensor) -> Tensor:
        """faces as for `features`. Returns N,K, float32."""
        return self.head(self.drop(self.features(faces))).float()

    def architecture(self) -> dict[str, Any]:
        return {"name": "expression_check", "expressions": list(self.expressions)}


class NaturalCheck(nn.Module):
    """Whether mouth and chin look as they do in faces that a generator makes: the endpoint's check of that generator.

    It sees them without their light: each crop has the mean 0 and the variance 1.
    """

    SIDE = 64
    BOX = (33, 63, 13, 51)  # top, bottom, left, right

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, side, stride in ((3, 24, 5, 2), (24, 32, 3, 1), (32, 32, 3, 2), (32, 32, 3, 2)):
            layers += [nn.Conv2d(before, after, side, stride, side // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(32 * 4 * 5, 1)

    def logits(self, mouths: Tensor) -> Tensor:
        """mouths: N,3,30,38, what BOX cuts out of faces of SIDE. Returns N, float32."""
        spread, middle = torch.std_mean(mouths, (1, 2, 3), keepdim=True)
        return self.head(self.drop(self.body((mouths - middle) / (spread + 0.05)).flatten(1)))[:, 0]

    def forward(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W, aligned, H and W from 32 px, cut off at [-1, 1]. Returns N, float32, 0 (damaged) to 1; 0.5
        where the worst twentieth of the generator's own faces ends."""
        top, bottom, left, right = self.BOX
        return self.logits(resized(faces.float().clamp(-1, 1), self.SIDE)[:, :, top:bottom, left:right]).sigmoid()
