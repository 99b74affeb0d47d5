"""The pictures that a bundle keeps of its own generator."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from visage.errors import UserError
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.requests import DRIVER, EXPRESSION
from visage.models.condition import conditions
from visage.models.unet import UNet
from visage.registry.golden import ARRAYS, LEVELS, golden_file, make_golden, read_golden

EXPRESSIONS = ("neutral", "happy", "sad")


@pytest.fixture(scope="module")
def generator() -> UNet:
    torch.manual_seed(0)
    return UNet(32, 8, len(EXPRESSIONS)).train()


def test_they_are_every_expression_as_the_plain_network_makes_it(generator: UNet, tmp_path: Path) -> None:
    (tmp_path / "golden").write_bytes(golden_file(make_golden(generator, EXPRESSION, EXPRESSIONS)))
    golden = read_golden(tmp_path / "golden", EXPRESSION, 32, 3)
    assert golden.levels == LEVELS
    assert generator.training  # as it was before
    assert set(zip(*(golden.asked[name].tolist() for name in ("expression", "intensity")), strict=True)) == {
        (number, intensity) for number in range(3) for intensity in (0.5, 1.0)
    }
    condition = conditions(EXPRESSIONS, torch.tensor([1]), 0.5)
    place = golden.asked["expression"].tolist().index(1, 3)
    face = torch.from_numpy(golden.faces[golden.source[place]]).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        made = generator.eval()(face, condition)[0].permute(1, 2, 0).numpy()
    generator.train()
    assert np.abs((made + 1) * 127.5 - golden.expected[place]).max() <= 0.51


def test_of_a_transfer_they_are_the_expressions_of_other_people(tmp_path: Path) -> None:
    torch.manual_seed(0)
    carrier = Disentangler(32, 8, 8, 17).eval()
    (tmp_path / "golden").write_bytes(golden_file(make_golden(carrier, DRIVER, EXPRESSIONS)))
    golden = read_golden(tmp_path / "golden", DRIVER, 32, 3)
    driver = golden.asked["driver"]
    assert len(golden.faces) == 5
    assert set(zip(golden.source.tolist(), driver.tolist(), strict=True)) == {(s, d) for s in (0, 1) for d in (2, 3, 4)}
    faces = torch.from_numpy(golden.faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        made = carrier(faces[torch.from_numpy(golden.source)], faces[torch.from_numpy(driver)])
    assert np.abs((made.permute(0, 2, 3, 1).numpy() + 1) * 127.5 - golden.expected).max() <= 0.51
    foreign = {"faces": golden.faces, "source": golden.source, "expected": golden.expected, "driver": driver + 9}
    save_file(foreign, tmp_path / "foreign", {"levels": "2"})
    with pytest.raises(UserError, match="golden pictures"):
        read_golden(tmp_path / "foreign", DRIVER, 32, 3)


def test_one_picture_that_differs_is_enough(generator: UNet) -> None:
    golden = make_golden(generator, EXPRESSION, EXPRESSIONS)
    assert golden.difference(golden.expected) == 0
    other = golden.expected.copy()
    other[2] = 255 - other[2]
    assert golden.difference(other) == pytest.approx(np.abs(255 - 2.0 * golden.expected[2]).mean(), rel=1e-5)


def test_a_generator_that_gives_no_numbers_is_not_bundled(make_bundle: Any, tmp_path: Path) -> None:
    generator = UNet(32, 8, 2)
    torch.nn.init.constant_(next(generator.parameters()), float("nan"))
    with pytest.raises(UserError, match="no numbers"):
        make_bundle(tmp_path / "bundle", generator=generator)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["size", "expressions", "index", "array", "levels", "text"])
def test_a_file_of_something_else_is_one_sentence(generator: UNet, tmp_path: Path, wrong: str) -> None:
    golden, path = make_golden(generator, EXPRESSION, EXPRESSIONS), tmp_path / "golden.safetensors"
    arrays: dict[str, Any] = {name: getattr(golden, name) for name in ARRAYS} | dict(golden.asked)
    if wrong == "index":
        arrays["source"] = arrays["source"] + 5
    if wrong == "array":
        del arrays["expected"]
    save_file(arrays, path, {} if wrong == "levels" else {"levels": "2"})
    if wrong == "text":
        path.write_text("hello")
    with pytest.raises(UserError, match=r"golden pictures.*\.$"):
        read_golden(path, EXPRESSION, 64 if wrong == "size" else 32, 2 if wrong == "expressions" else 3)
