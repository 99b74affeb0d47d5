"""What every layout of photographs promises, on trees with the data sets' own names."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faces.photos import face, photograph, save
from visage.config.data import Data, Shares
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.facs import EXPRESSIONS
from visage.faces.layouts import LAYOUTS, LICENCES, Listing, read_layout
from visage.faces.layouts.mmi import EMOTIONS
from visage.faces.prepare import prepare
from visage.faces.split import PARTS

PEOPLE = range(1, 15)
LITTER = ("Thumbs.db", ".DS_Store", "desktop.ini", "readme.txt", "__MACOSX/._a.jpg", ".cache/01_03.jpg", "x.jpg.part")


@dataclass(frozen=True)
class Names:
    """How a set names things. name: of a person (1, 2, ...) with an expression, without its ending."""

    identity: Callable[[int], str]
    name: Callable[[int, str], str]
    expressions: tuple[str, ...]
    ending: str
    stranger: str  # a picture beside the others that is named otherwise


def kdef(person: int, expression: str) -> str:
    words = {
        "fear": "AF",
        "anger": "AN",
        "disgust": "DI",
        "happy": "HA",
        "neutral": "NE",
        "sad": "SA",
        "surprise": "SU",
    }
    sex = "FM"[person % 2]
    return f"A{sex}{person:02d}/A{sex}{person:02d}{words[expression]}S"


def rafd(person: int, expression: str) -> str:
    words = {"surprise": "surprised", "fear": "fearful", "anger": "angry", "disgust": "disgusted",
             "contempt": "contemptuous"}  # fmt: skip
    kind = ("Caucasian_female", "Moroccan_male", "Caucasian_kid")[person % 3]
    return f"Rafd090_{person:02d}_{kind}_{words.get(expression, expression)}_frontal"


def oulu(person: int, expression: str) -> str:
    # The tests' people lie around the border between ExprGAN's training and test people.
    folder, frame = {"neutral": ("Anger", 0), "happy": ("Happiness", 8), "sad": ("Sadness", 8)}.get(
        expression, (expression.capitalize(), 8)
    )
    return f"VL/Strong/P{person + 64:03d}/{folder}/{frame:03d}"


def cfd(person: int, expression: str) -> str:
    group = ("WF", "BM", "IF")[person % 3]
    word = {"neutral": "N", "happy": "HO", "anger": "A", "fear": "F"}[expression]
    return f"{group}-{person:03d}/CFD-{group}-{person:03d}-{person + 3:03d}-{word}"


def mmi(person: int, expression: str) -> str:
    clip = 100 + ("neutral", *EMOTIONS.values()).index(expression) if expression != "neutral" else 101
    return f"Sessions/{person}{clip}/S{person:03d}-{clip}-{'0001' if expression == 'neutral' else '0002'}"


def london(person: int, expression: str) -> str:
    return f"neutral_front/{person:03d}_03" if expression == "neutral" else f"smiling_front/{person:03d}_08"


SIX = ("happy", "sad", "surprise", "fear", "anger", "disgust")
NAMES = {
    "kdef": Names(lambda k: f"{'FM'[k % 2]}{k:02d}", kdef, ("neutral", *SIX), ".JPG", "AF01/AF01ANX.JPG"),
    "rafd": Names(lambda k: f"{k:02d}", rafd, EXPRESSIONS, ".jpg", "Rafd090_01_Caucasian_female_bored_frontal.jpg"),
    "oulu-casia": Names(
        lambda k: f"P{k + 64:03d}", oulu, ("neutral", *SIX), ".jpeg", "VL/Strong/P065/Anger/first.jpeg"
    ),
    "london": Names(lambda k: f"{k:03d}", london, ("neutral", "happy"), ".jpg", "neutral_front/001_3.jpg"),
    "cfd": Names(
        lambda k: f"{('WF', 'BM', 'IF')[k % 3]}-{k:03d}",
        cfd,
        ("neutral", "happy", "anger", "fear"),
        ".jpg",
        "WF-001/CFD-WF-001-003-X.jpg",
    ),
    "mmi": Names(lambda k: f"S{k:03d}", mmi, ("neutral", *SIX), ".png", "Sessions/1101/frame.png"),
    "unpaired": Names(lambda k: f"p{k:02d}", lambda k, e: f"p{k:02d}_{e}", EXPRESSIONS, ".png", "portrait.png"),
    "folder": Names(lambda k: f"p{k:02d}", lambda k, e: f"p{k:02d}_{e}", EXPRESSIONS, ".png", "portrait.png"),
}
layouts = pytest.mark.parametrize("layout", NAMES)


def tree(root: Path, *names: str) -> Path:
    """Empty files; layouts go by names alone."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        beside(root / name)
    return root


def beside(picture: Path) -> None:
    """What MMI lays beside a clip's frames: its emotion by number."""
    if clip := re.fullmatch(r"(S\d{3}-10(\d))-\d+", picture.stem):
        facts = f'<Recording><Metatag Name="Emotion" Value="{clip[2]}"/></Recording>'
        picture.with_name(f"{clip[1]}.xml").write_text(facts)


def pairs(layout: str, people: int = 4) -> list[tuple[int, str]]:
    return [(person, expression) for person in PEOPLE[:people] for expression in NAMES[layout].expressions]


def files(layout: str, shown: list[tuple[int, str]]) -> list[str]:
    names = NAMES[layout]
    return [names.name(*pair) + names.ending for pair in shown]


def said(found: Listing) -> list[tuple[str, str]]:
    return sorted((row.identity, row.expression) for row in found.rows)


def expected(layout: str, shown: list[tuple[int, str]]) -> list[tuple[str, str]]:
    return sorted((NAMES[layout].identity(person), expression) for person, expression in shown)


def test_every_layout_is_here() -> None:
    assert set(NAMES) == set(LAYOUTS)
    assert set(LAYOUTS) | {"synthetic"} == set(LICENCES)


@layouts
def test_rows_are_ordered_and_each_picture_is_one(layout: str, tmp_path: Path) -> None:
    shown = pairs(layout)
    found = read_layout(layout, tree(tmp_path, *files(layout, shown)))
    assert said(found) == expected(layout, shown)
    paths = [row.path for row in found.rows]
    assert paths == sorted(set(paths))
    assert found.left_out == []
    assert {row.expression for row in found.rows} <= set(EXPRESSIONS)
    assert all(row.intensity == 1 for row in found.rows)


@layouts
def test_what_systems_leave_behind_is_neither_a_row_nor_a_fault(layout: str, tmp_path: Path) -> None:
    shown = pairs(layout)
    names = files(layout, shown)
    inner = Path(names[0]).parent
    litter = [str(folder / name) for folder in (Path(), inner) for name in LITTER]
    hidden = [str(Path(name).with_name(f"._{Path(name).name}")) for name in names]
    found = read_layout(layout, tree(tmp_path, *names, *litter, *hidden))
    assert said(found) == expected(layout, shown)
    assert found.left_out == []


@layouts
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_missing_expressions_and_endings_in_any_case(
    layout: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sure = pairs(layout, 2)  # two people are whole
    shown = sure + sorted(data.draw(st.sets(st.sampled_from(pairs(layout)[len(sure) :]))))
    endings = data.draw(st.lists(st.sampled_from([".jpg", ".JPG", ".Jpeg", ".png", ".TIF"]), min_size=1))
    names = [NAMES[layout].name(*pair) + endings[k % len(endings)] for k, pair in enumerate(shown)]
    root = tmp_path_factory.mktemp("tree")
    try:
        assert said(read_layout(layout, tree(root, *names))) == expected(layout, shown)
    finally:
        shutil.rmtree(root)


@layouts
def test_the_same_person_and_expression_twice_is_named_and_not_doubled(layout: str, tmp_path: Path) -> None:
    shown = pairs(layout)
    twin = NAMES[layout].name(*shown[1]) + ".bmp"  # the ending alone differs
    found = read_layout(layout, tree(tmp_path, *files(layout, shown), twin))
    assert said(found) == expected(layout, shown)
    assert len(found.left_out) == 1
    first, second = sorted([twin, files(layout, [shown[1]])[0]])
    assert found.left_out[0].path == tmp_path / second
    assert first in found.left_out[0].reason


@pytest.mark.parametrize("layout", ["kdef", "rafd", "oulu-casia", "cfd"])
def test_a_copy_in_another_folder_is_not_doubled(layout: str, tmp_path: Path) -> None:
    shown = pairs(layout)
    copies = [f"copy of it/{name}" for name in files(layout, shown[:5])]
    found = read_layout(layout, tree(tmp_path, *files(layout, shown), *copies))
    assert said(found) == expected(layout, shown)
    assert len(found.left_out) == 5


@layouts
def test_a_picture_that_is_named_otherwise_is_left_out_by_name(layout: str, tmp_path: Path) -> None:
    shown = pairs(layout)
    found = read_layout(layout, tree(tmp_path, *files(layout, shown), NAMES[layout].stranger))
    assert said(found) == expected(layout, shown)
    assert [passed.path for passed in found.left_out] == [tmp_path / NAMES[layout].stranger]
    assert "named" in found.left_out[0].reason


@layouts
def test_a_link_to_nowhere_is_left_out_by_name(layout: str, tmp_path: Path) -> None:
    shown = pairs(layout)
    *names, last = files(layout, shown)
    tree(tmp_path, *names)
    (tmp_path / last).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / last).symlink_to(tmp_path / "moved away.jpg")
    found = read_layout(layout, tmp_path)
    assert [passed.path for passed in found.left_out] == [tmp_path / last]
    assert said(found) == expected(layout, shown[:-1])


@layouts
@pytest.mark.parametrize("names", [(), ("Thumbs.db", "a.txt"), ("holiday/beach.jpg", "IMG_0001.JPG")])
def test_an_empty_or_wrong_folder_is_one_sentence(layout: str, names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_layout(layout, tree(tmp_path, *names))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: ")
    assert message.endswith(".")
    assert "\n" not in message


@layouts
def test_chosen_expressions_are_kept_and_missing_ones_refused(layout: str, tmp_path: Path) -> None:
    shown = pairs(layout)
    tree(tmp_path, *files(layout, shown))
    found = read_layout(layout, tmp_path, expressions=("happy", "neutral"))
    assert {row.expression for row in found.rows} == {"happy", "neutral"}
    others = [e for e in NAMES[layout].expressions if e not in ("happy", "neutral")]
    assert found.not_chosen == {f"expression {expression}": 4 for expression in others}
    with pytest.raises(UserError, match=r"shows no bored \(data\.expressions\); it shows .*happy, neutral"):
        read_layout(layout, tmp_path, expressions=("happy", "bored"))


@pytest.mark.slow
@layouts
def test_preparing_gives_a_face_set_that_opens(layout: str, tmp_path: Path) -> None:
    source, names = tmp_path / "photographs", NAMES[layout]
    chosen = [(person, e) for person in PEOPLE for e in ("neutral", "happy")]
    for person, expression in chosen[:-1]:
        save(source / (names.name(person, expression) + names.ending), photograph(face(person, expression), side=192))
        beside(source / names.name(person, expression))
    blank = names.name(*chosen[-1]) + names.ending
    save(source / blank, np.full((200, 200, 3), 120, np.uint8))
    beside(source / blank)
    (source / "Thumbs.db").touch()
    shares = Shares(train=0.4, validation=0.3, test=0.3)
    data = Data.model_validate(
        {"dir": tmp_path / "set", "layout": layout, "source": source, "size": 32, "shares": shares}
    )
    made = prepare(data)
    back = FaceSet.open(tmp_path / "set")
    assert back.sha256 == made.sha256
    assert len(back.identity) == len(chosen) - 1
    assert set(back.identity) == {names.identity(person) for person in PEOPLE}
    assert back.expressions == ("neutral", "happy")
    assert all(len(back.part(part)) for part in PARTS)
    assert back.facts["left_out"] == [{"path": blank, "reason": "no face was found"}]
    assert back.licence == LICENCES[layout]
    assert (back.intensity == 1).all()
    assert back.intensity.dtype == np.float32
