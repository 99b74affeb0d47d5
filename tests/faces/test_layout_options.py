"""What the layouts' options choose, and who is held out."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faces.test_layout_conformance import tree
from visage.config.data import Kdef, OuluCasia, Rafd, Shares
from visage.errors import UserError
from visage.faces.layouts import read_layout
from visage.faces.split import PARTS, split_rows


@pytest.fixture
def kdef(tmp_path: Path) -> Path:
    """Two people with all expressions, angles and sessions."""
    names = [
        f"KDEF/{session}{person}/{session}{person}{expression}{angle}.JPG"
        for session in "AB"
        for person in ("F01", "M35")
        for expression in ("AF", "AN", "DI", "HA", "NE", "SA", "SU")
        for angle in ("FL", "HL", "S", "HR", "FR")
    ]
    return tree(tmp_path, *names)


def test_kdef_takes_both_sessions_from_the_front(kdef: Path) -> None:
    found = read_layout("kdef", kdef)
    assert len(found.rows) == 2 * 7 * 2
    assert {row.session for row in found.rows} == {"A", "B"}
    assert {(row.identity, row.group) for row in found.rows} == {("F01", "female"), ("M35", "male")}
    assert Counter(row.expression for row in found.rows) == dict.fromkeys(
        ("fear", "anger", "disgust", "happy", "neutral", "sad", "surprise"), 4
    )
    assert found.not_chosen == {f"angle {angle}": 28 for angle in ("FL", "HL", "HR", "FR")}


def test_kdef_takes_other_angles_and_sessions_on_request(kdef: Path) -> None:
    found = read_layout("kdef", kdef, Kdef(sessions=("B",), angles=("HL", "HR")))
    assert {(row.session, row.angle) for row in found.rows} == {("B", "HL"), ("B", "HR")}
    assert len(found.rows) == 2 * 7 * 2
    assert found.not_chosen == {"session A": 70} | {f"angle {angle}": 14 for angle in ("FL", "S", "FR")}


def test_a_choice_that_leaves_nothing_says_what_there_is(tmp_path: Path) -> None:
    tree(tmp_path, "AF01ANHL.JPG", "AF01HAHL.JPG")
    with pytest.raises(UserError, match=r"there are 2 of angle HL: choose of these \(data\.kdef\)\.$"):
        read_layout("kdef", tmp_path)


def test_misspelt_names_of_kdef_are_named(tmp_path: Path) -> None:
    misspelt = ["AF31V.JPG", "AM31H.JPG", "AF01XXS.JPG", "AF01ANSS.JPG", "AX01ANS.JPG"]
    found = read_layout("kdef", tree(tmp_path, "AF01ANS.JPG", *misspelt))
    assert sorted(passed.path.name for passed in found.left_out) == sorted(misspelt)


@pytest.fixture
def rafd(tmp_path: Path) -> Path:
    names = [
        f"Rafd{camera:03d}_{person}_{kind}_angry_{gaze}.jpg"
        for camera in (0, 45, 90, 135, 180)
        for person, kind in (("01", "Caucasian_female"), ("29", "Moroccan_male"), ("65", "Kid_female"))
        for gaze in ("frontal", "left", "right")
    ]
    return tree(tmp_path, *names)


def test_rafd_takes_the_frontal_camera_and_gaze(rafd: Path) -> None:
    found = read_layout("rafd", rafd)
    assert {(row.identity, row.group, row.angle, row.session) for row in found.rows} == {
        ("01", "caucasian female", "090", "frontal"),
        ("29", "moroccan male", "090", "frontal"),
        ("65", "kid female", "090", "frontal"),
    }
    assert found.not_chosen == {f"camera {camera}": 9 for camera in (0, 45, 135, 180)} | {
        "gaze left": 3,
        "gaze right": 3,
    }


def test_rafd_as_stargan_took_it(rafd: Path) -> None:
    found = read_layout("rafd", rafd, Rafd(cameras=(45, 90, 135), gazes=("frontal", "left", "right")))
    assert len(found.rows) == 3 * 3 * 3
    assert Counter(row.angle for row in found.rows) == {"045": 9, "090": 9, "135": 9}


SEQUENCES = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")


@pytest.fixture
def oulu(tmp_path: Path) -> Path:
    """Two people, two cameras, two lights; sequences of 10 to 15 frames."""
    return tree(
        tmp_path,
        *(
            f"{camera}/{light}/{person}/{expression}/{frame:03d}.jpeg"
            for camera in ("VL", "NI")
            for light in ("Strong", "Dark")
            for person in ("P001", "P073")
            for k, expression in enumerate(SEQUENCES)
            for frame in range(10 + k)
        ),
    )


def test_oulu_takes_the_last_frames_and_as_many_neutral_ones(oulu: Path) -> None:
    found = read_layout("oulu-casia", oulu)
    counts = Counter((row.identity, row.expression) for row in found.rows)
    assert set(counts.values()) == {3}  # neutral is no more frequent than the others
    assert {expression for _, expression in counts} == {
        "neutral", "anger", "disgust", "fear", "happy", "sad", "surprise"
    }  # fmt: skip
    for row in found.rows:
        length = 10 + SEQUENCES.index(row.path.parent.name)
        assert row.path.relative_to(oulu).parts[:2] == ("VL", "Strong")
        assert int(row.path.stem) in ((0,) if row.expression == "neutral" else range(length - 3, length))
    neutral = [row.path.parent.name for row in found.rows if row.expression == "neutral" and row.identity == "P001"]
    assert len(set(neutral)) == 3  # of three sequences, for frames of one are nearly the same
    assert found.not_chosen["camera NI"] == 2 * 2 * sum(range(10, 16))
    assert found.not_chosen["light Dark"] == 2 * sum(range(10, 16))
    assert found.not_chosen["frame between neutral and peak"] == 2 * sum(n - 4 for n in range(10, 16))


@given(st.integers(1, 20), st.integers(0, 6))
def test_oulu_frames_on_request(tmp_path_factory: pytest.TempPathFactory, peak: int, neutral: int) -> None:
    root = tmp_path_factory.getbasetemp() / "oulu-frames"
    if not root.exists():
        tree(root, *(f"VL/Weak/P002/{name}/{frame:03d}.jpeg" for name in SEQUENCES for frame in range(8)))
    options = OuluCasia(lights=("Weak",), peak_frames=peak, neutral_frames=neutral)
    counts = Counter(row.expression for row in read_layout("oulu-casia", root, options).rows)
    assert counts["neutral"] == neutral
    assert counts["happy"] == min(peak, 7)  # the first frame is never the peak


def test_a_sequence_without_its_first_frame_gives_no_neutral(tmp_path: Path) -> None:
    names = [f"VL/Strong/P001/Anger/{frame:03d}.jpeg" for frame in range(4, 10)]
    found = read_layout("oulu-casia", tree(tmp_path, *names))
    assert {row.expression for row in found.rows} == {"anger"}


def test_oulus_published_protocol_rules_the_test_people(oulu: Path) -> None:
    rows = read_layout("oulu-casia", oulu).rows
    assert {(row.identity, row.published) for row in rows} == {("P001", "train"), ("P073", "test")}
    rows = read_layout("oulu-casia", oulu, OuluCasia(protocol="hash")).rows
    assert {row.published for row in rows} == {""}


def test_all_parts_of_oulu_have_people(tmp_path: Path) -> None:
    names = [f"VL/Strong/P{k:03d}/Anger/00{frame}.jpeg" for k in range(1, 81) for frame in (0, 1)]
    parts = Counter(split_rows(read_layout("oulu-casia", tree(tmp_path, *names)).rows, Shares()).values())
    assert parts["test"] == 8
    assert set(parts) == set(PARTS)
