"""Labels of action units: exact, from files beside the pictures, or weak ones from the expressions' names."""

from pathlib import Path

import numpy as np
import pytest

from tests.faces.photos import face, photograph, save
from tests.faces.sets import SHARES, data, prepare
from visage.errors import UserError
from visage.faces import rendering
from visage.faces.action_units import action_units, by_side, learning_faces, shown_by_another
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS, au_vector, prototype
from visage.faces.labels import labelled
from visage.faces.layouts import read_layout
from visage.faces.prepare import prepare_if_absent
from visage.faces.split import PRACTICE, READING
from visage.faces.synthetic import picture_of, unit_picture

OPENFACE = " AU12_r, AU06_r, AU12_c, AU28_c\n"  # with the spaces that OpenFace writes


def pictures(root: Path, people: int = 3) -> Path:
    root.mkdir(exist_ok=True)
    for person in range(people):
        for expression in ("neutral", "happy"):
            (root / f"p{person}_{expression}.jpg").touch()
    return root


def unit(row: object, au: int) -> float:
    return row.aus[AUS.index(au)]  # type: ignore[attr-defined, no-any-return]


@pytest.mark.slow
def test_procedural_faces_turn_and_are_fine_where_it_is_asked_for(tmp_path: Path) -> None:
    made = prepare_if_absent(data(tmp_path / "set", layout="synthetic", turn=15, fine=True))
    assert made.aus is not None
    assert made.turn is not None
    assert 12 < np.abs(made.turn).max() <= 15
    happy = made.expression == made.expressions.index("happy")
    half, lopsided = made.intensity == 0.5, made.lopsided != 0
    smile = made.aus[:, AUS.index(12)]
    assert smile[happy & half].max() < 0.5 < smile[happy & ~half].min()
    assert len(np.unique(np.sign(made.lopsided[lopsided]))) == 2
    contempt, neutral = (made.expression == made.expressions.index(name) for name in ("contempt", "neutral"))
    assert not (lopsided & (contempt | neutral)).any()
    labels = action_units(made)
    assert labels.source == "exact"
    np.testing.assert_array_equal(labels.values, made.aus)


def test_a_lopsided_smile_is_a_smile_on_its_own_side() -> None:
    row, shown = next(
        made for k in range(50) if (made := picture_of(k, "happy", 0, 64, 0, 0, variant="one-sided"))[0].lopsided > 0
    )
    person = int(row.identity[-4:])
    rest, whole = (picture_of(person, e, 0, 64, 0, 0)[1].astype(float) for e in ("neutral", "happy"))
    mouth = slice(44, 54)
    near = {name: np.abs(shown[mouth, side] - whole[mouth, side]).mean() for name, side in
            (("left", slice(20, 30)), ("right", slice(34, 44)))}  # fmt: skip
    assert near["right"] < near["left"]
    assert np.abs(shown[mouth] - rest[mouth]).mean() > 2


def test_without_files_the_prototypes_are_weak_labels(tmp_path: Path) -> None:
    for person in range(10):
        for expression in ("neutral", "happy"):
            save(tmp_path / "photos" / f"p{person}_{expression}.png", photograph(face(person, expression), side=160))
    made = prepare("unpaired", tmp_path / "photos", tmp_path / "set", 32, SHARES)
    assert made.aus is None
    assert made.facts["action_units"] == "prototype"
    labels = action_units(FaceSet.open(tmp_path / "set"))
    assert labels.source == "prototype"
    for name in ("neutral", "happy"):
        shown = labels.values[made.expression == made.expressions.index(name)]
        np.testing.assert_array_equal(shown, np.broadcast_to(au_vector(prototype(name)), shown.shape))
    assert set(np.array(AUS)[labels.known]) == {6, 12}


def test_openface_s_files_are_read_and_what_it_does_not_know_stays_open(tmp_path: Path) -> None:
    root = pictures(tmp_path)
    for path in root.glob("*.jpg"):
        strength = 5 if "happy" in path.stem else 0
        path.with_suffix(".csv").write_text(f"{OPENFACE} {strength}, 2.5, 1, 0\n")
    (root / "p1_happy.csv").write_text(f"{OPENFACE} 1, 2.5, 1, 0\n 2, 2.5, 1, 0\n")
    found = labelled(read_layout("folder", root).rows, root)
    assert found.source == "openface"
    assert [(one.path.name, "2 faces" in one.reason) for one in found.left_out] == [("p1_happy.jpg", True)]
    assert len(found.rows) == 5
    for row in found.rows:
        assert unit(row, 12) == (row.expression == "happy")
        assert unit(row, 6) == 0.5
        assert np.isnan(unit(row, 27))


def test_a_table_of_facs_codes_is_read_with_grades_and_gaps(tmp_path: Path) -> None:
    root = pictures(tmp_path)
    lines = [f"{path.name},{'E' if 'happy' in path.stem else '0'}," for path in sorted(root.glob("*.jpg"))]
    (root / "facs.csv").write_text("path,AU12,au_4\n" + "\n".join(lines))
    found = labelled(read_layout("folder", root).rows, root)
    assert found.source == "facs"
    assert {(row.expression, unit(row, 12)) for row in found.rows} == {("neutral", 0.0), ("happy", 1.0)}
    assert all(np.isnan(unit(row, 4)) for row in found.rows)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("path,au_12\np0_happy.jpg,1\n", ["p0_neutral.jpg", "5 of 6", "prototypes"]),
        ("path,au_12\ngone.jpg,1\n", ["names gone.jpg", "no such picture"]),
        ("path,smile\np0_happy.jpg,1\n", ["no column of an action unit"]),
        ("name,au_12\np0_happy.jpg,1\n", ["no column path"]),
        ("path,au_12\np0_happy.jpg,3\n", ["3 is outside 0 to 1"]),
        ("path,au_12\np0_happy.jpg,yes\n", ["'yes' is no intensity"]),
        ("path,au_12\np0_happy.jpg\n", ["no readable table"]),
        ("path,au_12\n", ["no line"]),
    ],
)
def test_labels_that_do_not_fit_are_one_sentence(table: str, words: list[str], tmp_path: Path) -> None:
    root = pictures(tmp_path)
    (root / "facs.csv").write_text(table)
    with pytest.raises(UserError) as caught:
        labelled(read_layout("folder", root).rows, root)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_openface_beside_some_pictures_only_is_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path)
    (root / "p0_happy.csv").write_text(f"{OPENFACE} 1, 2.5, 1, 0\n")
    with pytest.raises(UserError, match=r"p0_neutral\.jpg: no OpenFace file .* 5 of 6"):
        labelled(read_layout("folder", root).rows, root)


def test_mmi_s_codes_say_which_frames_are_the_apex(tmp_path: Path) -> None:
    for number in range(1, 41):
        (tmp_path / f"S001-004-{number:04d}.png").touch()
    (tmp_path / "S001-004.xml").write_text('<R><Metatag Name="Emotion" Value="4"/></R>')
    marks = "".join(f'<Marker Frame="{frame}" Type="{kind}"/>' for frame, kind in ((1, 0), (8, 1), (20, 2), (30, 3)))
    (tmp_path / "S001-004-oao_aucs.xml").write_text(
        f'<A><ActionUnit Number="12">{marks}</ActionUnit><ActionUnit Number="45">{marks}</ActionUnit></A>'
    )
    rows = read_layout("mmi", tmp_path).rows
    assert [(row.expression, int(row.path.stem[-4:]), unit(row, 12)) for row in rows] == [
        ("neutral", 1, 0.0), ("happy", 20, 1.0), ("happy", 25, 1.0), ("happy", 30, 1.0)
    ]  # fmt: skip
    assert labelled(rows, tmp_path).source == "facs"
    (tmp_path / "S001-004.xml").write_text("<R>")
    with pytest.raises(UserError, match=r"S001-004\.xml: is no readable XML"):
        read_layout("mmi", tmp_path)


def test_nobody_needs_two_expressions_in_an_unpaired_folder(tmp_path: Path) -> None:
    for person in range(4):
        for expression in ("neutral", "happy"):
            (tmp_path / f"{expression}{person}_{expression}.jpg").touch()
    with pytest.raises(UserError, match="layout unpaired"):
        read_layout("folder", tmp_path)
    assert len({row.identity for row in read_layout("unpaired", tmp_path).rows}) == 8


@pytest.mark.slow
def test_further_people_show_units_and_are_in_no_part_that_is_judged(tmp_path: Path) -> None:
    plain = prepare_if_absent(data(tmp_path / "plain", layout="synthetic", turn=15))
    made = prepare_if_absent(data(tmp_path / "units", layout="synthetic", turn=15, units=4))
    count = len(plain.identity)
    assert made.expressions == plain.expressions
    for name in ("identity", "expression", "split", "turn", "lopsided"):
        np.testing.assert_array_equal(getattr(made, name)[:count], getattr(plain, name))
    np.testing.assert_array_equal(made.faces[:count], plain.faces)
    further = np.arange(count, len(made.identity))
    assert set(made.expression[further]) == {-1}
    people = made.facts["counts"]["people_of_parts"]
    assert (people[PRACTICE], people[READING]) == (3, 1)
    assert sorted([*made.part(PRACTICE), *made.part(READING)]) == further.tolist()
    np.testing.assert_array_equal(learning_faces(made), made.part(PRACTICE))
    np.testing.assert_array_equal(learning_faces(plain), plain.part("train"))
    labels = action_units(made)
    # 10 and 25 belong to no expression, so that nothing of an expression is measured by them.
    assert not labels.known[[AUS.index(10), AUS.index(25)]].any()
    assert labels.learnt.all()
    practised = made.aus[further] if made.aus is not None else np.array([])
    assert np.abs(np.corrcoef(practised[:, AUS.index(6)], practised[:, AUS.index(12)])[0, 1]) < 0.4
    assert len(np.unique(np.sign(made.lopsided[further]))) == 3
    again = prepare_if_absent(data(tmp_path / "units", layout="synthetic", turn=15, units=4))
    assert again.sha256 == made.sha256
    with pytest.raises(UserError, match="units 4 and not 0"):
        prepare_if_absent(data(tmp_path / "units", layout="synthetic", turn=15))


@pytest.mark.slow
def test_neighbours_who_show_units_show_the_same_ones(tmp_path: Path) -> None:
    made = prepare_if_absent(data(tmp_path / "units", layout="synthetic", units=8))
    others, practice = shown_by_another(made), made.part(PRACTICE)
    assert made.aus is not None
    sides = by_side(made.aus, made.lopsided)
    np.testing.assert_array_equal(sides[others], sides)
    found = practice[others[practice] != practice]
    assert (made.identity[others[found]] != made.identity[found]).all()
    assert np.isin(others[found], practice).all()
    assert len(found) > len(practice) / 2  # the neighbours of those who teach the judge have nobody
    rest = np.setdiff1d(np.arange(len(others)), practice)
    np.testing.assert_array_equal(others[rest], rest)


@pytest.mark.slow
def test_the_judge_keeps_no_more_people_than_it_can_learn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "READING_MOST", 2)
    made = prepare_if_absent(data(tmp_path / "units", layout="synthetic", units=10))
    people = made.facts["counts"]["people_of_parts"]
    assert (people[PRACTICE], people[READING]) == (8, 2)


def test_two_pictures_of_somebody_who_shows_units_differ_by_these_alone() -> None:
    shots = [unit_picture(3, k, 64, 0, turn=15) for k in range(12)]
    assert len({row.turn for row, _ in shots}) == 1
    rest = next(k for k in range(100) if not unit_picture(3, k, 64, 0, turn=15)[0].aus.any())
    still = unit_picture(3, rest, 64, 0, turn=15)[1].astype(float)
    for row, shown in shots:
        changed = np.abs(shown - still).mean(2) > 2
        assert not changed[:8, :8].any()  # the backdrop
        assert changed.any() == bool(row.aus.any())


def test_units_by_side_are_weaker_on_the_side_that_lags() -> None:
    whole = au_vector({12: 0.8, 14: 0.5, 26: 1.0})
    for lopsided, left, right in ((0.0, 0.8, 0.8), (0.75, 0.2, 0.8), (-1.0, 0.8, 0.0)):
        sides = by_side(whole[None], np.array([lopsided], np.float32))[0].reshape(2, -1)
        np.testing.assert_allclose(sides[:, AUS.index(12)], (left, right), atol=1e-6)
        np.testing.assert_allclose(sides[:, AUS.index(26)], 1)  # the jaw has no side
        np.testing.assert_allclose(sides[:, AUS.index(14)], (0, 0.5))
