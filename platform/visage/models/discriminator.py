"""The patch discriminator: is this face real, with this input face and this condition?"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.layers import ConditionedNorm, ConditionEmbedding


class Answer(NamedTuple):
    """logits: N,1,S/8,S/8, above 0: real. features: of each level. scores: N,K of the expressions, or None.

    logits and scores are float32.
    """

    logits: Tensor
    features: list[Tensor]
    scores: Tensor | None


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches (70 px, as in pix2pix) of (input face, face) under a condition.

    classifies: (extension, AC-GAN) a head scores the expressions of the face. As the condition would tell it the
    answer, it is to be asked with the condition at zero: then the normalisation has the same scale for all.
    """

    def __init__(self, width: int, conditions: int, classifies: bool = False) -> None:
        super().__init__()
        embedding = 64
        self.condition = ConditionEmbedding(conditions, embedding)
        self.first = nn.Conv2d(6, width, 4, stride=2, padding=1)
        steps = [(width, 2 * width, 2), (2 * width, 4 * width, 2), (4 * width, 8 * width, 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4 if stride == 2 else 3, stride=stride, padding=1) for a, b, stride in steps
        )
        self.norms = nn.ModuleList(ConditionedNorm(b, embedding) for _, b, _ in steps)
        self.out = nn.Conv2d(8 * width, 1, 3, padding=1)
        self.head = nn.Linear(8 * width, conditions) if classifies else None

    def forward(self, inputs: Tensor, faces: Tensor, condition: Tensor) -> Answer:
        """inputs, faces: N,3,S,S in [-1, 1]; condition: N,K."""
        embedding = self.condition(condition)
        x = F.leaky_relu(self.first(torch.cat([inputs, faces], dim=1)), 0.2)
        features = [x]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), embedding)
            features.append(x)
        scores = self.head(x.mean(dim=(2, 3))).float() if self.head else None
        return Answer(self.out(x).float(), features, scores)
