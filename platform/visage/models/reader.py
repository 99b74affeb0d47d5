"""What reads numbers off a face, and the one of these networks that a generator looks through."""

from typing import Any

from torch import Tensor, nn

from visage.models.identity import RTrunk, resized


class Reader(nn.Module):
    """K numbers of a face, such as probabilities of expressions: a linear map of a trunk's features of a part of it."""

    SIDE: int
    BOX: tuple[int, int, int, int]  # top, bottom, left, right of what is looked at, without hair and background
    FEATURES: int

    def __init__(self, trunk: nn.Module, kinds: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(self.FEATURES, kinds)

    def features(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], aligned, H and W from 32 px. Returns N,FEATURES."""
        top, bottom, left, right = self.BOX
        return self.trunk(resized(faces, self.SIDE)[:, :, top:bottom, left:right]).flatten(1)

    def logits(self, faces: Tensor) -> Tensor:
        """faces as for `features`. Returns N,K, float32."""
        return self.head(self.features(faces)).float()

    def forward(self, faces: Tensor) -> Tensor:
        """faces as for `features`. Returns N,K, float32, each row adding up to 1."""
        return self.logits(faces).softmax(dim=1)


class ExpressionReader(Reader):
    """Reads the expression that a face shows already, for a generator.

    It looks at inputs alone, so nothing can be made to please it; judges and the endpoint's check are other networks.
    """

    SIDE, BOX, FEATURES = 48, (6, 48, 4, 44), 64 * 8 * 7

    def __init__(self, kinds: int) -> None:
        super().__init__(RTrunk(), kinds)

    def architecture(self) -> dict[str, Any]:
        return {"name": "expression_reader", "kinds": self.head.out_features}
