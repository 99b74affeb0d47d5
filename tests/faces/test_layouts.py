import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faces.photos import save
from visage.errors import UserError
from visage.faces.layouts import read_layout

words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)


def tree(root: Path, *names: str) -> Path:
    """Empty files; layouts go by names alone."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_flat_folder(tmp_path: Path) -> None:
    names = [
        "ann_happy.jpg",
        "ann_neutral.JPG",
        "ann_happy_2.png",
        "van_der_berg_Happy.webp",
        "van_der_berg_neutral.tif",
    ]
    rows = read_layout("folder", tree(tmp_path, *names)).rows
    assert {(row.path.name, row.identity, row.expression, row.session) for row in rows} == {
        ("ann_happy.jpg", "ann", "happy", ""),
        ("ann_neutral.JPG", "ann", "neutral", ""),
        ("ann_happy_2.png", "ann", "happy", "2"),
        ("van_der_berg_Happy.webp", "van_der_berg", "happy", ""),
        ("van_der_berg_neutral.tif", "van_der_berg", "neutral", ""),
    }


def test_folders_of_expressions(tmp_path: Path) -> None:
    names = ["Happy/person_01.jpg", "Happy/person_02.jpg", "neutral/person_01.png", "neutral/person_02.png"]
    rows = read_layout("folder", tree(tmp_path, *names)).rows
    assert {(row.identity, row.expression) for row in rows} == {
        (person, expression) for person in ("person_01", "person_02") for expression in ("happy", "neutral")
    }


def test_folders_whose_names_differ_in_case_are_one_expression(tmp_path: Path) -> None:
    rows = read_layout("folder", tree(tmp_path, "Happy/a.jpg", "happy/b.jpg", "sad/a.jpg", "sad/b.jpg")).rows
    assert {(row.identity, row.expression) for row in rows} == {(p, e) for p in "ab" for e in ("happy", "sad")}


def test_pictures_that_are_named_otherwise_are_known(tmp_path: Path) -> None:
    others = ["_happy.jpg", "c_.jpg", "c.jpg"]
    tree(tmp_path, "a_happy.jpg", "a_sad.jpg", "b_happy.jpg", "notes.txt", *others)
    found = read_layout("folder", tmp_path)
    assert len(found.rows) == 3
    assert {passed.path.name for passed in found.left_out} == set(others)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "a_happy.jpg", "a_sad.jpg", "b_\udcff.jpg")
    with pytest.raises(UserError, match=r"udcff.*rename"):
        read_layout("folder", tmp_path)


def test_what_systems_and_people_leave_behind_is_no_picture(tmp_path: Path) -> None:
    pictures = ["a_happy.jpg", "a_sad.jpg", "b_happy.jpg", "b_sad.jpg"]
    litter = [
        "Thumbs.db",
        ".DS_Store",
        "._a_happy.jpg",
        "notes_all.txt",
        "desktop.ini",
        ".cache/x_y.jpg",
        "empty/.keep",
    ]
    rows = read_layout("folder", tree(tmp_path, *pictures, *litter)).rows
    assert [row.path.name for row in rows] == pictures


@given(st.sets(words, min_size=2, max_size=5), st.sets(words.filter(lambda w: not w.isdigit()), min_size=2, max_size=4))
def test_both_forms_say_the_same(tmp_path_factory: pytest.TempPathFactory, people: set[str], shown: set[str]) -> None:
    root = tmp_path_factory.mktemp("forms")
    try:
        flat = tree(root / "flat", *(f"{person}_{expression}.png" for person in people for expression in shown))
        nested = tree(root / "nested", *(f"{expression}/{person}.png" for person in people for expression in shown))
        said = [{(row.identity, row.expression) for row in read_layout("folder", form).rows} for form in (flat, nested)]
        assert said[0] == said[1] == {(person, expression) for person in people for expression in shown}
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no pictures named"),
        (["readme.txt", "portrait.jpg"], "no pictures named"),
        (["a_happy.jpg", "b_happy.jpg"], "only one expression (happy)"),
        (["happy/a.jpg", "happy/b.jpg"], "only one expression (happy)"),
        (["a_happy.jpg", "a_sad.jpg"], "only one person (a)"),
        (["happy/a.jpg", "sad/a.jpg"], "only one person (a)"),
        (["a_happy.jpg", "sad/b.jpg"], "keep one of the two"),
        (["neutral_front/001_03.jpg", "smiling_front/001_08.jpg"], "nobody is shown with two expressions"),
    ],
)
def test_folders_that_make_no_sense_are_refused_in_one_sentence(tmp_path: Path, names: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_layout("folder", tree(tmp_path, *names))
    message = str(caught.value)
    assert said in message
    assert message.startswith(f"{tmp_path}: ")
    assert message.endswith(".")
    assert "\n" not in message


def test_london(tmp_path: Path) -> None:
    names = [
        "neutral_front/001_03.jpg",
        "smiling_front/001_08.jpg",
        "neutral_front/020_03.jpg",
        "neutral_front/tmp.jpg",
    ]
    tree(tmp_path, *names)
    (tmp_path / "london_info.csv").write_text("face_id,face_age,face_gender,face_eth\n001,24,female,white\n")
    rows = read_layout("london", tmp_path).rows
    assert [(row.identity, row.expression, row.group) for row in rows] == [
        ("001", "neutral", "white female"),
        ("020", "neutral", ""),
        ("001", "happy", "white female"),
    ]


def test_london_of_another_folder_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a_happy.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(UserError, match="layout london"):
        read_layout("london", tmp_path)


@pytest.mark.parametrize("layout", ["london", "folder"])
def test_a_missing_source_is_named(layout: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_layout(layout, tmp_path / "none")


def test_the_real_london_set(london: Path) -> None:
    rows = read_layout("london", london).rows
    assert len(rows) == 164
    assert len({row.identity for row in rows}) == 82
    assert all(row.group for row in rows)
