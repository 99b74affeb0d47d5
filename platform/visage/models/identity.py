"""Identity embeddings: FaceNet where its weights can be had, a map of MTCNN's convolutions elsewhere."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.errors import UserError

FACENET = ("vggface2", "casia-webface")

Measured = tuple[Tensor, list[Tensor]]


class RTrunk(nn.Module):
    """The convolutions of MTCNN's R-Net, which were trained on photographs of faces: 3,H,W to 64,h,w.

    Not those of the judges, which stand on its O-Net: what the loss looks through must not judge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)

    def levels(self, x: Tensor) -> list[Tensor]:
        """The features after each of the three convolutions."""
        first = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        second = F.max_pool2d(self.prelu2(self.conv2(first)), 3, 2, ceil_mode=True)
        return [first, second, self.prelu3(self.conv3(second))]

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)[-1]

    @classmethod
    def pretrained(cls) -> "RTrunk":
        """With the weights that facenet-pytorch carries in its package."""
        from facenet_pytorch.models.mtcnn import RNet

        trunk = cls()
        trunk.load_state_dict({k: v for k, v in RNet().state_dict().items() if k in trunk.state_dict()})
        return trunk


class InnerFaceEmbedding(nn.Module):
    """The inner face as a unit vector: a linear map of a trunk's features.

    mask: SIDE,SIDE in 0..1, the inner face; None leaves it to the weights. What it leaves out (hair, ears, neck,
    background) is grey, so that a face is not known by its frame. dimensions: of the vector.
    """

    SIDE: int
    BOX: tuple[int, int, int, int]  # top, bottom, left, right: beside it the mask leaves nothing
    FEATURES: int

    mask: Tensor
    trunk: nn.Module

    def __init__(self, mask: Tensor | None, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.register_buffer("mask", torch.ones(self.SIDE, self.SIDE) if mask is None else mask.float())
        self.head = nn.Linear(self.FEATURES, dimensions)

    def inner(self, faces: Tensor) -> Tensor:
        """faces: N,3,H,W in [-1, 1], aligned, H and W from 32 px. Returns what the trunk sees."""
        top, bottom, left, right = self.BOX
        return (resized(faces, self.SIDE) * self.mask)[:, :, top:bottom, left:right]

    def features(self, faces: Tensor) -> Tensor:
        """faces as for `inner`. Returns N,F."""
        return self.trunk(self.inner(faces)).flatten(1)

    def forward(self, faces: Tensor) -> Tensor:
        """faces as for `inner`. Returns N,dimensions, L2-normalised, float32."""
        return self.embed(self.features(faces))

    def embed(self, features: Tensor) -> Tensor:
        """What `features` gave, as `forward` returns it."""
        return F.normalize(self.head(features).float(), dim=1)


class CompactEncoder(InnerFaceEmbedding):
    """The loss's embedding where no FaceNet is to be had: fitted to a face set's training people in seconds."""

    SIDE, BOX, FEATURES = 64, (13, 60, 11, 53), 64 * 9 * 8

    trunk: RTrunk

    def __init__(self, mask: Tensor | None = None, dimensions: int = 64) -> None:
        super().__init__(mask, dimensions)
        self.trunk = RTrunk()

    def measured(self, faces: Tensor) -> Measured:
        """The embedding, and the trunk's features level by level."""
        levels = self.trunk.levels(self.inner(faces))
        return F.normalize(self.head(levels[-1].flatten(1)).float(), dim=1), levels

    def architecture(self) -> dict[str, Any]:
        return {"name": "compact", "dimensions": self.dimensions}


class CrossedEncoder(nn.Module):
    """Two compact encoders, each fitted to one half of the training people and used on the other, so that nobody is
    looked at by an embedding that was fitted to him.

    encoders: the one for the people of half 0, and the one for those of half 1; their trunks are the same, as nothing
    fits them.
    """

    def __init__(self, encoders: tuple[CompactEncoder, CompactEncoder]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, faces: Tensor, half: Tensor) -> Tensor:
        """faces as for `InnerFaceEmbedding.inner`; half: N, that of each one's person. Returns N,D unit vectors; those
        of two halves do not compare."""
        return self.measured(faces, half)[0]

    def measured(self, faces: Tensor, half: Tensor) -> Measured:
        """As of `CompactEncoder`."""
        trunk: CompactEncoder = self.encoders[0]  # type: ignore[assignment]
        levels = trunk.trunk.levels(trunk.inner(faces))
        both = torch.stack([encoder.embed(levels[-1].flatten(1)) for encoder in self.encoders])  # type: ignore[operator]
        return both[half, torch.arange(len(half), device=half.device)], levels


def resized(faces: Tensor, side: int) -> Tensor:
    """faces N,3,H,W scaled to N,3,side,side."""
    if faces.shape[-2:] == (side, side):
        return faces
    # A CPU scales nothing in bfloat16 with antialiasing.
    made = F.interpolate(faces.float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return made.to(faces.dtype)


class FaceNet(nn.Module):
    """InceptionResnetV1 of facenet-pytorch as an embedding: N,512, L2-normalised."""

    SIDE = 80  # 160 px is its training size; 80 px costs a quarter and aligned faces fill the crop
    LEVELS = ("conv2d_2b", "conv2d_4b", "repeat_1", "repeat_2")

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        faces = F.interpolate(faces, (self.SIDE, self.SIDE), mode="bilinear", antialias=True, align_corners=False)
        return F.normalize(self.network(faces).float(), dim=1)

    def measured(self, faces: Tensor) -> Measured:
        """The embedding, and the features after each of LEVELS."""
        features: list[Tensor] = []
        hooks = [
            getattr(self.network, level).register_forward_hook(lambda module, inputs, out: features.append(out))
            for level in self.LEVELS
        ]
        try:
            return self(faces), features
        finally:
            for hook in hooks:
                hook.remove()


def load_embedding(name: str, compact: CompactEncoder | None = None) -> nn.Module:
    """The frozen identity embedding of the triplet loss.

    name: `compact` (the encoder trained on the face set's training people), `vggface2` or `casia-webface`
    (downloaded once by facenet-pytorch), or the path of InceptionResnetV1 weights (.pt or .safetensors).
    Raises UserError when the weights cannot be had or do not fit.
    """
    network = compact if compact and name == "compact" else FaceNet(_facenet(name))
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
