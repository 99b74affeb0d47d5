"""Which device a training takes, and that it is the only one: on a CUDA device that `tests.cuda` pretends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.cuda import pretended
from visage.config import Experiment, replaced
from visage.config.data import Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.judging.train import FaceNetworks
from visage.models.identity import CompactEncoder
from visage.models.judges import ExpressionCheck, ExpressionJudge, IdentityJudge
from visage.training.loop import train
from visage.training.progress import Progress
from visage.training.trainer import Place, Trainer

Noise = tuple[FaceSet, FaceNetworks]
EXPRESSIONS = ("neutral", "happy")
EFT = {"name": "eft", "width": 8, "discriminator_width": 8, "related": 8}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Noise:
    """Faces of noise, and judges that nothing was taught: only where they compute matters here."""
    random = np.random.default_rng(0)
    rows = [Row(Path(f"{k}.png"), f"p{k // 4}", EXPRESSIONS[k % 2], str(k // 2 % 2)) for k in range(64)]
    pictures = [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in rows]
    shares = Shares(train=0.5, validation=0.25, test=0.25)
    out = tmp_path_factory.mktemp("noise") / "faces"
    faces = write_face_set(out, rows, pictures, name="noise", layout="folder", size=32, shares=shares)
    networks = {
        "identity_judge": IdentityJudge(torch.ones(IdentityJudge.SIDE, IdentityJudge.SIDE), 8),
        "expression_judge": ExpressionJudge(faces.expressions),
        "encoder": CompactEncoder(dimensions=8),
        "check": ExpressionCheck(faces.expressions),
    }
    still: Any = {name: network.eval().requires_grad_(False) for name, network in networks.items()}
    return faces, FaceNetworks(**still, expressions=faces.expressions, report={}, doubts={}, sha256="0" * 64)


def settings(noise: Noise, **more: Any) -> Experiment:
    tree = {
        "data": {"dir": str(noise[0].dir), "size": 32},
        "method": {"width": 8, "discriminator_width": 8},
        "train": {"images": 8, "batch": 4, "evaluate_every": 8, "evaluate_pairs": 8},
        "judge": {"images": 1000},
    }
    return Experiment.model_validate(tree | more)


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cuda")])
def test_the_device_is_what_was_asked_for_and_not_what_is_seen(
    noise: Noise, tmp_path: Path, gpus: float, device: str
) -> None:
    points: list[Progress] = []
    with pretended():
        asked = replaced(settings(noise), {"train.gpus_per_worker": gpus})
        last = train(asked, noise[0], tmp_path, points.append, networks=noise[1])
    assert ("memory/peak_gib" in last.losses) == (device == "cuda")
    assert last.metrics


@pytest.fixture(scope="module")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A group of this process alone."""
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    "weights",
    [
        {"feature_adversarial": 0},
        {"action_units": 0},
        {"adversarial": 0, "swap": 0},
        {"adversarial": 0, "swap": 0, "feature_adversarial": 0},
        {"cross_cycle": 0, "reconstruction": 0},
    ],
)
def test_workers_together_take_the_same_steps_whatever_is_in_no_loss(
    noise: Noise, gloo: None, weights: dict[str, float]
) -> None:
    loss = {name: {"weight": value} for name, value in weights.items()}
    asked = settings(noise, method=EFT, loss=loss)
    alone, parallel = (
        Trainer(asked, *noise, Place(parallel=way)) for way in (lambda network: network, DistributedDataParallel)
    )
    for step in range(3):
        parts = [trainer.step(gradients=step == 1) for trainer in (alone, parallel)]
        assert parts[0].keys() == parts[1].keys()
    for one, other in zip(alone.weights.values(), parallel.weights.values(), strict=True):
        assert torch.equal(one, other)
