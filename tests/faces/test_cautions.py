"""Sets that hold too little, or something else than is configured."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.faces.photos import face, photograph, save
from tests.faces.sets import SHARES, data, prepare, report_of
from visage.config.data import Shares
from visage.errors import UserError
from visage.faces.prepare import prepare_if_absent
from visage.faces.split import split_people

pytestmark = pytest.mark.slow


def fewer(photographs: Path, folder: Path, part: str, expression: str) -> Path:
    """The photographs without those of an expression of the people of a part."""
    shutil.copytree(photographs, folder)
    people = split_people({path.name[:3] for path in folder.iterdir()}, SHARES)
    for person, where in people.items():
        if where == part:
            (folder / f"{person}_{expression}.png").unlink()
    return folder


def test_an_expression_that_no_training_person_shows_is_refused(photographs: Path, tmp_path: Path) -> None:
    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    tester = next(p for p, part in split_people({path.name[:3] for path in source.iterdir()}, SHARES).items()
                  if part == "test")  # fmt: skip
    save(source / f"{tester}_sad.png", photograph(face(int(tester[1:]), "sad")))
    with pytest.raises(UserError, match=r"no training person shows sad; .* leave it out \(data\.expressions\)"):
        prepare("folder", source, tmp_path / "set", 32, SHARES)
    kept = prepare("folder", source, tmp_path / "set", 32, SHARES, expressions=("neutral", "happy"))
    assert kept.expressions == ("neutral", "happy")
    assert "1 pictures not chosen: expression sad 1" in report_of(kept)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_an_expression_that_nobody_held_out_shows_is_noted(part: str, photographs: Path, tmp_path: Path) -> None:
    source = fewer(photographs, tmp_path / "photographs", part, "happy")
    report = report_of(prepare("folder", source, tmp_path / "set", 32, SHARES))
    assert f"note: nobody of the {part} part shows happy" in " ".join(report.split())


def test_a_part_of_one_person_is_noted(photographs: Path, tmp_path: Path) -> None:
    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    for path in source.glob("p0[5-9]*"):
        path.unlink()
    report = report_of(prepare("folder", source, tmp_path / "set", 32, SHARES))
    assert "the validation part has one person and judging needs two" in " ".join(report.split())


def test_training_people_with_one_picture_are_noted(photographs: Path, tmp_path: Path) -> None:
    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    learners = [p for p, part in sorted(split_people({path.name[:3] for path in source.iterdir()}, SHARES).items())
                if part == "train"]  # fmt: skip
    (source / f"{learners[0]}_happy.png").unlink()
    report = report_of(prepare("folder", source, tmp_path / "set", 32, SHARES))
    assert f"1 of {len(learners)} training people show one expression only ({learners[0]})" in " ".join(report.split())


def test_expressions_that_the_set_does_not_hold_are_refused(tmp_path: Path) -> None:
    made = data(tmp_path / "set", layout="synthetic", expressions=("happy", "neutral"))
    assert prepare_if_absent(made).expressions == ("neutral", "happy")
    assert prepare_if_absent(data(tmp_path / "set", expressions=("neutral", "happy"))).size == 32
    with pytest.raises(UserError, match=r"holds neutral, happy, and data\.expressions names happy, sad"):
        prepare_if_absent(data(tmp_path / "set", expressions=("happy", "sad")))
    with pytest.raises(UserError, match=r"made with expressions \[happy, neutral\] and not all"):
        prepare_if_absent(data(tmp_path / "set", layout="synthetic"))
    with pytest.raises(UserError, match=r"makes no bored \(data\.expressions\); it makes neutral, happy"):
        prepare_if_absent(data(tmp_path / "other", layout="synthetic", expressions=("happy", "bored")))


def test_nuisance_changes_how_much_a_persons_pictures_differ(tmp_path: Path) -> None:
    spreads = []
    for nuisance in (0, 1, 2):
        faces = prepare_if_absent(data(tmp_path / f"{nuisance}", layout="synthetic", pictures=3, nuisance=nuisance))
        neutral = np.stack([faces.faces[(faces.identity == p) & (faces.expression == 0)] for p in set(faces.identity)])
        spreads.append(neutral.astype(float).std(axis=1).mean())
    assert spreads[0] < 0.5 * spreads[1] < 0.4 * spreads[2]
    with pytest.raises(UserError, match="nuisance 2"):
        prepare_if_absent(data(tmp_path / "2", layout="synthetic", pictures=3))


def test_a_set_of_an_earlier_version_without_newer_settings_is_used(tmp_path: Path) -> None:
    made = prepare_if_absent(data(tmp_path / "set", layout="synthetic"))
    facts = json.loads((made.dir / "set.json").read_text())
    for name in ("nuisance", "expressions"):
        del facts["settings"][name]
    del facts["not_chosen"], facts["split"]
    (made.dir / "set.json").write_text(json.dumps(facts))
    again = prepare_if_absent(data(tmp_path / "set", layout="synthetic"))
    assert again.sha256 == made.sha256
    assert "faces of 10 people" in report_of(again)


def test_the_published_split_is_recorded(tmp_path: Path) -> None:
    source = tmp_path / "oulu"
    for number in (*range(1, 9), 75, 76):
        for name, frame in (("neutral", 0), ("happy", 9)):
            path = source / f"VL/Strong/P{number:03d}/Happiness/{frame:03d}.jpeg"
            save(path, photograph(face(number, name), side=192))
    faces = prepare("oulu-casia", source, tmp_path / "set", 32, Shares(train=0.5, validation=0.3, test=0.2))
    assert set(faces.identity[faces.part("test")]) == {"P075", "P076"}
    assert faces.facts["split"] == "published"
    assert "published protocol" in report_of(faces)
    with pytest.raises(UserError, match=r"protocol published and not .*protocol hash"):
        prepare(
            "oulu-casia", source, tmp_path / "set", 32, Shares(train=0.5, validation=0.3, test=0.2),
            oulu_casia={"protocol": "hash"},
        )  # fmt: skip


def test_a_picture_under_two_names_is_noted(photographs: Path, tmp_path: Path) -> None:
    plain = report_of(prepare("folder", photographs, tmp_path / "plain", 32, SHARES))
    assert "two names" not in plain
    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    shutil.copy(source / "p03_happy.png", source / "p07_happy.png")
    report = report_of(prepare("folder", source, tmp_path / "set", 32, SHARES))
    assert report.count("note:") == plain.count("note:") + 1
    said = "p03_happy.png and p07_happy.png are one picture under two names"
    assert said in " ".join(report.split())
