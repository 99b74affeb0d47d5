"""The model card says in words what the card holds."""

import json
from dataclasses import replace
from pathlib import Path

from tests.evaluations import sample
from visage.config import Experiment
from visage.registry.bundle import read_bundle
from visage.registry.card import CARD, MODEL_CARD, Eyes
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


def test_eyes_stand_beside_the_judges_figures_and_choices_made_since_below_them(make_bundle, tmp_path: Path):
    plain = make_bundle(tmp_path / "plain")
    assert "eyes" not in json.loads((plain.dir / CARD).read_text())  # an older Visage reads it
    text = model_card(plain.card, ["Eyes: a found better than b."])
    assert text.index("| identity |") < text.index("## Eyes") < text.index("## Confusion")
    assert "Nobody had chosen when this model was registered.\n\nEyes: a found better than b." in text

    said = ("Eyes: 12 choices by 2 people between 3 trials prefer trial 0 (0.70, where 0.50 is middling).",)
    eyes = Eyes(choices=12, people=2, trial=1, preference=0.4, said=said)
    chosen = make_bundle(tmp_path / "chosen", eyes=eyes)
    assert read_bundle(chosen.dir).card.eyes == eyes
    assert f"of which trial 1 has this model's setting:\n\n{said[0]}" in (chosen.dir / MODEL_CARD).read_text()
    assert said[0] in summary(chosen.card)
