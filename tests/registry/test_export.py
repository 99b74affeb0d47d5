"""The ONNX file: the same faces as torch's, alone in its file, and the example of the documentation."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from tests.serve_app.samples import UNITS
from tests.serve_app.samples import make_bundle as transfer_bundle
from visage.errors import UserError
from visage.methods.eft.networks.disentangler import Disentangler
from visage.models.basis import BasisGenerator
from visage.models.unet import UNet
from visage.registry import export
from visage.registry.export import export_onnx

pytestmark = pytest.mark.slow

EXPRESSIONS = ("neutral", "happy", "sad")
BLENDED = {"plain": {}, "mask": {"mask": True}, "warp": {"mask": True, "warp": True}}
KINDS: dict[str, Callable[[], Any]] = {
    **{name: partial(UNet, 32, 8, len(EXPRESSIONS), **how) for name, how in BLENDED.items()},
    "basis": partial(BasisGenerator, 32, 8, len(EXPRESSIONS)),
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=KINDS)
def exported(
    request: pytest.FixtureRequest, make_bundle: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    """A bundle of each kind of generator, with weights large enough that flow and mask matter, and its file."""
    from tests.evaluations import sample
    from visage.models.judges import ExpressionCheck

    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(1)
    generator = KINDS[request.param]()
    with torch.no_grad():
        generator.out.weight.mul_(5)
        if request.param == "basis":
            generator.out.weight.normal_(std=0.2)
            generator.basis.maps.normal_(std=0.2)
    more = {"check": ExpressionCheck(EXPRESSIONS), "expressions": EXPRESSIONS}
    bundle = make_bundle(folder / "bundle", generator=generator, evaluation=sample(EXPRESSIONS).to_dict(), **more)
    (folder / "alone").mkdir()
    export_onnx(bundle, folder / "alone" / "model.onnx")
    return bundle, folder / "alone" / "model.onnx"


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 17])
def test_every_expression_in_every_batch_is_torch_s(exported: tuple[Any, Path], batch: int) -> None:
    bundle, path = exported
    generator = bundle.generator()
    session = onnxruntime.InferenceSession(path)
    faces = np.random.default_rng(batch).uniform(-1, 1, (batch, 3, 32, 32)).astype(np.float32)
    answers = []
    for expression in range(len(EXPRESSIONS)):
        for intensity in (0.0, 0.4, 1.0, 1.5):
            condition = np.zeros((batch, len(EXPRESSIONS)), np.float32)
            condition[:, expression] += intensity
            condition[:, 0] += 1 - intensity
            (made,) = session.run(["result"], {"face": faces, "condition": condition})
            with torch.inference_mode():
                expected = generator(torch.from_numpy(faces), torch.from_numpy(condition)).numpy()
            np.testing.assert_allclose(made, expected, atol=1e-4, rtol=0)
            answers.append(made)
    assert np.abs(answers[6] - answers[10]).max() > 1e-2  # happy and sad: the condition is heeded
    assert np.abs(answers[6] - faces).max() > 1e-2


def test_one_file_with_the_card_s_facts(exported: tuple[Any, Path]) -> None:
    bundle, path = exported
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    facts = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert facts["name"] == "visage-ucgan"
    assert facts["run_id"] == bundle.card.run_id
    assert facts["sha256"] == bundle.card.sha256
    assert json.loads(facts["expressions"]) == list(EXPRESSIONS)
    assert json.loads(facts["image_size"]) == 32
    assert json.loads(facts["metrics"])["score"]["value"] == bundle.card.metrics["score"].value
    assert json.loads(facts["data"])["name"] == "set"
    assert str(ROOT).encode() not in path.read_bytes()


def test_the_example_runs_with_onnxruntime_alone(exported: tuple[Any, Path], tmp_path: Path) -> None:
    bundle, path = exported
    found = re.findall(r"```python\n(import json.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    assert len(found) == 1
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    alone = "\nassert not {'torch', 'visage', 'onnx'} & set(sys.modules)\n"
    command = [sys.executable, "-c", found[0] + alone, str(path), "face.png", "happy", "out.png"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        expected = (bundle.generator()(x, torch.eye(3)[[1]])[0].permute(1, 2, 0).numpy() + 1) * 127.5
    with Image.open(tmp_path / "out.png") as image:
        assert np.abs(np.asarray(image) - expected).max() <= 0.6


@pytest.fixture(scope="module", params=[*BLENDED, "basis"])
def carrier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """As `exported`, of a transfer."""
    folder = tmp_path_factory.mktemp("carrier")
    torch.manual_seed(1)
    if on_basis := request.param == "basis":
        generator = Disentangler(32, 8, 34, 17, basis=True)
        assert generator.basis is not None
        torch.nn.init.normal_(generator.basis.maps, std=0.2)
        torch.nn.init.normal_(generator.decoder.out.weight, std=0.05)
    else:
        generator = Disentangler(32, 8, 8, 17, **BLENDED[request.param])
    with torch.no_grad():
        generator.decoder.out.weight.mul_(1 if on_basis else 5)
        (generator.related.logits if on_basis else generator.related).out.weight.mul_(10)
    bundle = transfer_bundle(folder / "bundle", method="eft", generator=generator, units=() if on_basis else UNITS)
    assert export_onnx(bundle, folder / "model.onnx") < 1e-3
    return bundle, folder / "model.onnx"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_transfer_takes_source_and_driver_and_is_torch_s(carrier: tuple[Any, Path], batch: int) -> None:
    bundle, path = carrier
    session = onnxruntime.InferenceSession(path)
    random = np.random.default_rng(batch)
    source, driver, other = (random.uniform(-1, 1, (batch, 3, 32, 32)).astype(np.float32) for _ in range(3))
    (made,) = session.run(["result"], {"source": source, "driver": driver})
    with torch.inference_mode():
        expected = bundle.generator()(torch.from_numpy(source), torch.from_numpy(driver)).numpy()
    np.testing.assert_allclose(made, expected, atol=1e-3, rtol=0)
    (differently,) = session.run(["result"], {"source": source, "driver": other})
    assert np.abs(made - differently).max() > 1e-2
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["name"], facts["sha256"]) == ("visage-eft", bundle.card.sha256)


def test_a_file_that_makes_other_faces_is_not_written(
    make_bundle: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a version of the exporter is at fault."""
    bundle = make_bundle(tmp_path / "bundle")
    convert = export._converted

    def wrong(generator: UNet, *rest: Any) -> bytes:
        return convert(UNet(32, 8, 2), *rest)

    monkeypatch.setattr(export, "_converted", wrong)
    with pytest.raises(UserError, match=r"^visage-ucgan: its ONNX file differs .*\.$"):
        export_onnx(bundle, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
