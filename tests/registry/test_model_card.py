"""The model card says in words what the card holds."""

import json
from dataclasses import replace
from pathlib import Path

from tests.evaluations import sample
from visage.config import Experiment
from visage.registry.bundle import read_bundle
from visage.registry.card import CARD, MODEL_CARD
from visage.registry.model_card import extensions, model_card, summary

EXPRESSIONS = ("neutral", "happy")


def card_of(make_bundle, folder: Path, **fields):
    return make_bundle(folder / "bundle", **fields).card


def test_it_is_written_from_the_card_alone(make_bundle, tmp_path: Path):
    bundle = make_bundle(tmp_path / "bundle")
    text = (bundle.dir / MODEL_CARD).read_text()
    assert text == model_card(read_bundle(bundle.dir).card)
    for heading in ("Data", "Judges", "Confusion", "Groups", "Intensity", "Limits", "Consent", "make it again"):
        assert f"## {heading}" in text or f" {heading}" in text
    assert "procedural drawings" in text
    assert "run run" in text.lower()


def test_every_row_has_its_figure_and_interval(make_bundle, tmp_path: Path):
    text = model_card(card_of(make_bundle, tmp_path))
    line = next(line for line in text.splitlines() if line.startswith("| identity |"))
    assert line.count("0.800 (.750–.850)") == 2
    assert "| 24 |" not in line


def test_an_expression_that_is_mostly_misread_is_a_known_failure(make_bundle, tmp_path: Path):
    text = model_card(card_of(make_bundle, tmp_path))
    assert "Known failure: happy is read right in 0%; most often it is read as neutral instead (100%)." in text
    assert "Known failure: neutral" not in text


def test_a_small_group_has_a_caution_and_no_interval(make_bundle, tmp_path: Path):
    line = next(line for line in model_card(card_of(make_bundle, tmp_path)).splitlines() if line.startswith("| few |"))
    assert "| 3 ! |" in line
    assert "(" not in line


def test_a_poor_judge_marks_its_figures_and_is_named(make_bundle, tmp_path: Path):
    warning = "the identity judge reaches a verification rate of 0.50: do not trust the identity figures."
    poor = sample(EXPRESSIONS, judges={"identity": 0.5, "expression": 0.97}, warnings=[warning])
    card = card_of(make_bundle, tmp_path, evaluation=poor.to_dict())
    text = model_card(card)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "0.800*" in lines["identity"]
    assert "0.800*" in lines["score"]
    assert "*" not in lines["expression"]
    assert warning in text
    assert warning in summary(card)
    assert "0.800*" in summary(card)


def test_extensions_in_use_are_named_and_others_are_not():
    plain = Experiment.model_validate({"data": {"dir": "faces"}})
    assert extensions(plain.model_dump(mode="json")) == []
    tree = {"data": {"dir": "faces"}, "method": {"mask": True}, "loss": {"feature_matching": {"weight": 10}}}
    changed = Experiment.model_validate(tree).model_dump(mode="json")
    assert extensions(changed) == ["method.mask = True", "loss.feature_matching.weight = 10.0"]


def test_the_card_keeps_the_evaluation_but_not_every_face(make_bundle, tmp_path: Path):
    whole = sample(EXPRESSIONS)
    bundle = make_bundle(tmp_path / "bundle", evaluation=replace(whole).without_results().to_dict())
    card = json.loads((bundle.dir / CARD).read_text())
    assert card["evaluation"]["rows"]["model"]["confusion"] == [[24, 0], [24, 0]]
    assert card["evaluation"]["rows"]["model"]["results"] == []
    assert "torch" in card["versions"]
