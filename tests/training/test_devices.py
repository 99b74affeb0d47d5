"""Which device a training takes, and that it is the only one: on a CUDA device that `tests.cuda` pretends."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.cuda import CUDA, pretended
from visage.config import Experiment, replaced
from visage.config.data import Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.judging.networks.train import FaceNetworks
from visage.methods import method_of, pictures
from visage.methods.requests import DRIVER
from visage.models.identity import CompactEncoder
from visage.models.judges import ExpressionCheck, ExpressionJudge, IdentityJudge
from visage.models.reader import ExpressionReader
from visage.registry.assemble import natural_check, reference_quantiles
from visage.registry.golden import golden_file, make_golden
from visage.training.checkpoint import load_generator
from visage.training.loop import train
from visage.training.progress import Progress
from visage.training.trainer import Place, Trainer

pytestmark = pytest.mark.slow

Noise = tuple[FaceSet, FaceNetworks]
EXPRESSIONS = ("neutral", "happy")
EFT = {"name": "eft", "width": 8, "discriminator_width": 8, "related": 8}
MASKED = {"width": 8, "discriminator_width": 8, "mask": True, "warp": True}
BASIS = {"width": 8, "discriminator_width": 8, "basis": True}
UNIT_BASIS = {"name": "eft", **BASIS}


@pytest.fixture
def noise(tmp_path_factory: pytest.TempPathFactory) -> Noise:
    """Faces of noise, and judges that nothing was taught: only where they compute matters here.

    Anew for each test, as a training on the device that is pretended leaves the networks there.
    """
    random = np.random.default_rng(0)
    rows = [Row(Path(f"{k}.png"), f"p{k // 4}", EXPRESSIONS[k % 2], str(k // 2 % 2)) for k in range(64)]
    pictures = [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in rows]
    shares = Shares(train=0.5, validation=0.25, test=0.25)
    out = tmp_path_factory.mktemp("noise") / "faces"
    faces = write_face_set(out, rows, pictures, name="noise", layout="folder", size=32, shares=shares)
    networks = {
        "identity_judge": IdentityJudge(dimensions=8),
        "expression_judge": ExpressionJudge(faces.expressions),
        "encoder": CompactEncoder(dimensions=8),
        "check": ExpressionCheck(faces.expressions),
        "reader": ExpressionReader(len(faces.expressions)),
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
    with pretended() as gpu:
        asked = replaced(settings(noise), {"train.gpus_per_worker": gpus})
        last = train(asked, noise[0], tmp_path, points.append, networks=noise[1])
    # Of this training, and not of what ran in this process before it; whose memory is given back first.
    assert last.losses.get("memory/peak_gib") == (1 if device == "cuda" else None)
    assert gpu.emptied == (device == "cuda")
    assert last.metrics


@pytest.mark.parametrize("method", [MASKED, BASIS, EFT])
def test_a_training_on_a_gpu_is_resumed_and_made_a_bundle_there(
    noise: Noise, tmp_path: Path, method: dict[str, Any]
) -> None:
    faces, networks = noise
    full = {name: {"weight": 1} for name in ("paired",)} if method is EFT else {
        name: {"weight": 1} for name in ("perceptual", "feature_matching", "classification", "wrong_input")
    }  # fmt: skip
    asked = replaced(settings(noise, method=method, loss=full), {"train.gpus_per_worker": 1})
    with pretended():
        train(asked, faces, tmp_path, lambda point: None, networks=networks)
        longer = replaced(asked, {"train.images": 12})
        last = train(longer, faces, tmp_path, lambda point: None, networks=networks, resume=tmp_path / "checkpoint")
        assert last.images == 12
        generator = load_generator(tmp_path / "checkpoint")[0].to("cuda")
        method = method_of(asked.method.name)
        natural = natural_check(generator, method.request, faces, images=64, seed=0).check
        assert next(natural.parameters()).device.type == "cpu"
        assert len(reference_quantiles(generator, method.request, faces, networks, natural)) == 3
        golden_file(make_golden(generator, method.request, faces.expressions))
        extras = method.fit_extras(generator, faces)
        assert all(next(extra.parameters()).device.type == "cuda" for extra in extras.values())
        sheets = dict(method.sheets(generator, faces, "test", extras))
        assert set(sheets) == {"faces.png", "units.png" if method.request is DRIVER else "intensity.png"}
        for name, sheet in sheets.items():
            sheet.write(tmp_path / name)


def test_a_mapped_face_set_goes_to_a_gpu_as_it_is_and_without_a_warning(
    noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PART", 7)
    torch.set_warn_always(True)
    try:
        with pretended(), warnings.catch_warnings():
            warnings.simplefilter("error")
            held = pictures.Pictures(noise[0], CUDA).held
            assert held is not None
            assert held.device.type == "cuda"
            assert np.array_equal(held.cpu().numpy(), noise[0].faces)
    finally:
        torch.set_warn_always(False)


@pytest.fixture(scope="module")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A group of this process alone."""
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


NO_ANSWER = {"adversarial": 0, "swap": 0}
HELD = {**NO_ANSWER, "reconstruction": 0, "cross_cycle": 0}
UNITS = {**HELD, "paired": 1}  # what the basis of eft learns by


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        (EFT, {"feature_adversarial": 0}),
        (EFT, {"action_units": 0}),
        (EFT, NO_ANSWER),
        (EFT, {**NO_ANSWER, "feature_adversarial": 0}),
        (EFT, {"cross_cycle": 0, "reconstruction": 0}),
        (EFT, {**HELD, "action_units": 0}),
        (UNIT_BASIS, UNITS),
        (UNIT_BASIS, {**UNITS, "action_units": 0}),
        (UNIT_BASIS, {**UNITS, "feature_adversarial": 0, "feature_paired": 1}),
        (MASKED, {"classification": 1, "feature_matching": 1}),
        (MASKED, {"adversarial": 0, "triplet": 0}),
        (BASIS, {"smoothness": 1}),
    ],
    ids=lambda value: "-".join(f"{k}:{v}" for k, v in value.items()),
)
def test_workers_together_take_the_same_steps_whatever_is_in_no_loss(
    noise: Noise, gloo: None, method: dict[str, Any], weights: dict[str, float]
) -> None:
    loss = {name: {"weight": value} for name, value in weights.items()}
    asked = settings(noise, method=method, loss=loss)
    alone, parallel = (
        Trainer(asked, *noise, Place(parallel=way)) for way in (lambda network: network, DistributedDataParallel)
    )
    for step in range(3):
        parts = [trainer.step(gradients=step == 1) for trainer in (alone, parallel)]
        assert parts[0].keys() == parts[1].keys()
    for one, other in zip(alone.weights.values(), parallel.weights.values(), strict=True):
        assert torch.equal(one, other)
