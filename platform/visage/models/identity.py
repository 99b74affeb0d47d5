"""Identity embeddings for the triplet loss: FaceNet where its weights can be had, a compact encoder elsewhere."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.errors import UserError
from visage.models.layers import group_norm

FACENET = ("vggface2", "casia-webface")


class CompactEncoder(nn.Module):
    """A face of any size from 32 px as a unit vector of 128 numbers; small enough to train with the face set."""

    SIDE = 64

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        widths = [3, width, 2 * width, 4 * width, 8 * width]
        blocks: list[nn.Module] = []
        for channels, out in pairwise(widths):
            blocks += [nn.Conv2d(channels, out, 3, stride=2, padding=1), group_norm(out), nn.ReLU()]
            blocks += [nn.Conv2d(out, out, 3, padding=1), group_norm(out), nn.ReLU()]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(8 * width * 16, 128)

    def forward(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], H and W from 32 px. Returns N,128, L2-normalised, float32."""
        faces = F.interpolate(faces, (self.SIDE, self.SIDE), mode="bilinear", antialias=True, align_corners=False)
        return F.normalize(self.head(self.features(faces).flatten(1)).float(), dim=1)

    def architecture(self) -> dict[str, Any]:
        return {"name": "compact", "width": self.width}


class FaceNet(nn.Module):
    """InceptionResnetV1 of facenet-pytorch as an embedding: N,512, L2-normalised."""

    SIDE = 80  # 160 px is its training size; 80 px costs a quarter and aligned faces fill the crop

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        faces = F.interpolate(faces, (self.SIDE, self.SIDE), mode="bilinear", antialias=True, align_corners=False)
        return F.normalize(self.network(faces).float(), dim=1)


def load_embedding(name: str, compact: CompactEncoder) -> nn.Module:
    """The frozen identity embedding of the triplet loss.

    name: `compact` (the encoder trained on the face set's training people), `vggface2` or `casia-webface`
    (downloaded once by facenet-pytorch), or the path of InceptionResnetV1 weights (.pt or .safetensors).
    Raises UserError when the weights cannot be had or do not fit.
    """
    network = compact if name == "compact" else FaceNet(_facenet(name))
    return network.eval().requires_grad_(False)


def _facenet(name: str) -> nn.Module:
    from facenet_pytorch import InceptionResnetV1

    if name in FACENET:
        try:
            return InceptionResnetV1(pretrained=name)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"loss.triplet.embedding = {name}: the weights cannot be downloaded ({error}); "
                "give the path of a weights file, or use compact."
            ) from None
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"loss.triplet.embedding = {name}: is neither compact, {', '.join(FACENET)} nor a file; give one of these."
        )
    network = InceptionResnetV1()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        # The classification head that published weights carry is not part of the embedding.
        network.load_state_dict({key: value for key, value in weights.items() if not key.startswith("logits.")})
    except Exception as error:  # every way a foreign file can fail to be these weights
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"loss.triplet.embedding = {name}: holds no InceptionResnetV1 weights ({reason}); give another file."
        ) from None
    return network
