"""The smallest data: a dozen people of one's own, two pictures of each, in a folder."""

import json
from pathlib import Path

import pytest
from test_cli import ROOT, visage_here
from test_road import succeeded

from tests.faces.photos import people_folder
from visage.judging.results import Evaluation
from visage.methods import method_of

pytestmark = pytest.mark.slow


def taught(folder: Path, *settings: str) -> Evaluation:
    """What the road of docs/data.md ends at for twelve people, on those who were not seen."""
    people_folder(folder / "photos", 12)
    made = ("--layout", "folder", "--source", "photos", "--out", "runs/data/few", "--size", "64")
    succeeded(visage_here("prepare", *made, folder=folder))
    shorter = [word for setting in settings for word in ("--set", setting)]
    succeeded(visage_here("train", str(ROOT / "configs" / "few.yaml"), *shorter, folder=folder))
    card = json.loads((folder / "runs" / "train" / "few" / "bundle" / "card.json").read_text())
    return Evaluation.from_dict(card["evaluation"])


def test_a_dozen_people_are_enough_to_train_and_to_judge(tmp_path: Path) -> None:
    judged = taught(tmp_path, "train.images=8", "judge.bootstrap=100", "judge.images=1000")
    assert judged.people == 2
    assert {"model", *method_of("ucgan").measured.floors} <= judged.rows.keys()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_dozen_people_teach_more_than_arithmetic_knows(tmp_path: Path) -> None:
    judged = taught(tmp_path, "judge.bootstrap=100")
    scores = {name: row.metrics["score"].value for name, row in judged.rows.items()}
    assert scores["model"] > max(scores[name] for name in method_of("ucgan").measured.floors), scores
