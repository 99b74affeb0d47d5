import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from visage.errors import UserError
from visage.models.identity import CompactEncoder
from visage.models.judges import ExpressionCheck
from visage.models.unet import UNet
from visage.registry.bundle import read_bundle
from visage.registry.card import CARD, CHECK, FACES, FILES, GENERATOR, MODEL_CARD, RESULTS


@pytest.fixture(scope="module")
def good(make_bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("good") / "bundle").dir


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(good, tmp_path / "bundle")


def edit_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | changes))


def rehash(folder: Path) -> None:
    """Make the card agree with the files, as one who forges a bundle would."""
    import hashlib

    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    edit_card(folder, files=files, sha256=files[GENERATOR])


def assert_refused(folder: Path, *words: str) -> None:
    with pytest.raises(UserError) as fault:
        read_bundle(folder)
    message = str(fault.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_what_is_written_is_read(make_bundle, tmp_path: Path):
    torch.manual_seed(3)
    generator = UNet(32, 8, 2, mask=True)
    bundle = make_bundle(tmp_path / "deep" / "bundle", generator=generator, run_id="abc")
    faces, condition = torch.rand(2, 3, 32, 32) * 2 - 1, torch.eye(2)
    loaded = bundle.generator()
    assert not loaded.training
    assert torch.equal(loaded(faces, condition), generator.eval()(faces, condition))
    assert bundle.card.expressions == ("neutral", "happy")
    assert bundle.card.image_size == 32
    assert (bundle.facts.name, bundle.facts.version, bundle.facts.run_id) == ("visage-ucgan", None, "abc")
    assert {path.name for path in bundle.dir.iterdir()} == {CARD, *FILES}


def test_the_card_has_the_keys_of_the_design(folder: Path):
    card = json.loads((folder / CARD).read_text())
    named = "format method image_size expressions architecture config metrics data run_id created sha256"
    assert set(card) == {*named.split(), "evaluation", "versions", "files", "self_check"}
    assert card["format"] == 1


def test_the_self_check_travels_with_the_generator(make_bundle, tmp_path: Path):
    torch.manual_seed(5)
    encoder, check = CompactEncoder(dimensions=8), ExpressionCheck(("neutral", "happy"))
    bundle = make_bundle(tmp_path / "bundle", encoder=encoder, check=check)
    faces = torch.rand(2, 3, 32, 32) * 2 - 1
    got_encoder, got_check, quantiles = bundle.self_check()
    assert torch.equal(got_encoder(faces), encoder.eval()(faces))
    assert torch.equal(got_check(faces), check.eval()(faces))
    assert quantiles["identity_similarity"] == {"0.05": 0.4}


def test_results_travel_with_the_generator(make_bundle, result_entries, tmp_path: Path):
    rows = make_bundle(tmp_path / "bundle").results()
    assert set(rows) == {"model", "copy", "mean_face", "mean_change"}
    expected = result_entries("model", 0.8, 0.8, 0.95)
    assert rows["model"].face[5] == (expected[5]["identity"], expected[5]["input"], expected[5]["target"])
    np.testing.assert_array_equal(rows["model"].similarity, [entry["similarity"] for entry in expected])
    np.testing.assert_array_equal(rows["model"].verified, [entry["verified"] for entry in expected])


def test_the_same_weights_have_the_same_hash(make_bundle, tmp_path: Path):
    cards = [make_bundle(tmp_path / name, seed=seed).card for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
    # All but the model card, which says to the second when it was written.
    assert {**cards[0].files, MODEL_CARD: ""} == {**cards[1].files, MODEL_CARD: ""}
    assert cards[0].sha256 != cards[2].sha256


def test_a_bundle_is_replaced_whole(make_bundle, tmp_path: Path):
    make_bundle(tmp_path / "bundle", seed=1)
    bundle = make_bundle(tmp_path / "bundle", seed=2)
    assert read_bundle(tmp_path / "bundle").card == bundle.card
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_another_folder_is_not_overwritten(make_bundle, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is no bundle"):
        make_bundle(tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "letter.txt"]


def test_a_place_that_cannot_be_written_is_one_sentence(make_bundle, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        make_bundle(tmp_path / "file" / "bundle")


def test_figures_that_could_not_be_measured_are_null(make_bundle, tmp_path: Path):
    bundle = make_bundle(tmp_path / "bundle", metrics={"expression_change": {"value": float("nan")}})
    assert json.loads((bundle.dir / CARD).read_text())["metrics"]["expression_change"]["value"] is None


@pytest.mark.parametrize("name", [CARD, *FILES])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    assert_refused(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_named(folder: Path, name: str):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    assert_refused(folder, name, "sha256")


def test_a_truncated_file_is_named(folder: Path):
    content = (folder / GENERATOR).read_bytes()
    (folder / GENERATOR).write_bytes(content[: len(content) // 2])
    assert_refused(folder, GENERATOR, "sha256")


def test_no_folder_and_no_bundle(tmp_path: Path):
    assert_refused(tmp_path / "nowhere", "nowhere")
    assert_refused(tmp_path, "no bundle")


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", '"format"', "\x00\xff", "[" * 100_000])
def test_a_card_that_is_none(folder: Path, content: str):
    (folder / CARD).write_text(content)
    assert_refused(folder, CARD)


def test_a_card_without_a_key(folder: Path):
    card = json.loads((folder / CARD).read_text())
    card.pop("evaluation")
    (folder / CARD).write_text(json.dumps(card))
    assert_refused(folder, CARD, "evaluation", "register the model again")


@pytest.mark.parametrize("number", [0, 2, "1", None, [1]])
def test_another_format(folder: Path, number: Any):
    edit_card(folder, format=number)
    assert_refused(folder, "format", "update Visage")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"surprise": 1}, "surprise"),
        ({"expressions": ["neutral"]}, "expressions"),
        ({"expressions": ["happy", "happy"]}, "twice"),
        ({"image_size": 64}, "image_size"),
        ({"sha256": "1" * 64}, "sha256"),
        ({"files": {}}, "files"),
        ({"evaluation": {}}, "evaluation"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "files"),
        ({"method": "../../x"}, "method"),
    ],
)
def test_a_card_that_disagrees(folder: Path, changes: dict[str, Any], word: str):
    edit_card(folder, **changes)
    assert_refused(folder, CARD, word)


@pytest.mark.parametrize(
    ("part", "description"),
    [
        ("generator", {"name": "unet", "size": 32, "width": 16, "conditions": 2, "mask": False, "warp": False}),
        ("generator", {"name": "unet", "size": 32, "width": 8, "conditions": 2, "mask": True, "warp": False}),
        ("encoder", {"name": "compact", "dimensions": 16}),
    ],
)
def test_weights_of_another_shape(folder: Path, part: str, description: dict[str, Any]):
    architecture = json.loads((folder / CARD).read_text())["architecture"]
    edit_card(folder, architecture=architecture | {part: description})
    assert_refused(folder, GENERATOR if part == "generator" else CHECK, "shape")


@pytest.mark.parametrize(
    ("part", "description"),
    [
        ("generator", {"name": "transformer", "size": 32, "conditions": 2}),
        ("generator", {"name": "unet", "size": 32, "width": "wide", "conditions": 2, "mask": False, "warp": False}),
        ("encoder", {}),
        ("check", {"name": "identity_judge", "side": 8, "width": 8}),
        ("check", {"name": "expression_check", "expressions": ["happy", "neutral"]}),
    ],
)
def test_a_foreign_architecture(folder: Path, part: str, description: dict[str, Any]):
    architecture = json.loads((folder / CARD).read_text())["architecture"]
    edit_card(folder, architecture=architecture | {part: description})
    assert_refused(folder, CARD, "architecture")


def test_a_huge_architecture_costs_no_memory(folder: Path):
    architecture = json.loads((folder / CARD).read_text())["architecture"]
    edit_card(folder, architecture=architecture | {"encoder": {"name": "compact", "dimensions": 8_000_000}})
    assert_refused(folder, CHECK)


def test_a_tensor_too_many_or_too_few(folder: Path):
    weights = load_file(folder / GENERATOR)
    save_file(weights | {"extra": torch.zeros(1)}, folder / GENERATOR)
    rehash(folder)
    assert_refused(folder, GENERATOR, "extra")
    weights.pop("out.bias")
    save_file(weights, folder / GENERATOR)
    rehash(folder)
    assert_refused(folder, GENERATOR, "out.bias")


def test_a_pickle_is_not_opened(folder: Path):
    torch.save(UNet(32, 8, 2).state_dict(), folder / GENERATOR)
    rehash(folder)
    assert_refused(folder, GENERATOR, "safetensors")


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", "row,identity,input,target,similarity,probability,verified,correct\nmodel,p,i,t,nan,0,0,0\n"],
)
def test_results_that_are_none(folder: Path, text: str):
    (folder / RESULTS).write_text(text)
    rehash(folder)
    assert_refused(folder, RESULTS)


def test_a_picture_that_is_another(folder: Path):
    (folder / FACES).write_bytes(b"another")
    assert_refused(folder, FACES, "sha256")
