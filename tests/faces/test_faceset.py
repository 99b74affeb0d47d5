import json
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.config.data import Shares
from visage.errors import UserError
from visage.faces.faceset import FaceSet, staged, write_face_set
from visage.faces.facs import AUS
from visage.faces.layouts import Row
from visage.faces.picture import read_picture
from visage.faces.split import PARTS, split_people

SHARES = Shares(train=0.5, validation=0.2, test=0.3)
names = st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable())


def made(
    people: int = 24, size: int = 32, expressions: tuple[str, ...] = ("happy", "neutral", "wry")
) -> tuple[list[Row], np.ndarray]:
    rows = [Row(Path(), f"p{person}", expression) for person in range(people) for expression in expressions]
    faces = np.random.default_rng(people).integers(0, 256, (len(rows), size, size, 3), np.uint8)
    return rows, faces


def write(out: Path, rows: list[Row], faces: np.ndarray, shares: Shares = SHARES) -> FaceSet:
    return write_face_set(
        out, rows, faces, name="n", layout="folder", size=faces.shape[1], shares=shares, licence="own"
    )


def test_what_was_written_is_what_opens(tmp_path: Path) -> None:
    rows, faces = made()
    write(tmp_path / "set", rows, faces)
    back = FaceSet.open(tmp_path / "set")
    assert (back.faces == faces).all()
    assert isinstance(back.faces, np.memmap)
    assert back.expressions == ("neutral", "happy", "wry")  # the standard order, then the alphabet
    assert back.identity.tolist() == [row.identity for row in rows]
    assert [back.expressions[k] for k in back.expression] == [row.expression for row in rows]
    parts = split_people({row.identity for row in rows}, SHARES)
    assert back.split.tolist() == [parts[row.identity] for row in rows]
    assert back.parts() == back.facts["parts"] == parts
    assert (back.name, back.layout, back.size, back.licence) == ("n", "folder", 32, "own")
    assert back.aus is None
    assert set(back.group) == {""}
    assert back.facts["counts"]["people"] == 24
    assert back.facts["counts"]["pictures_of_expressions"] == {"happy": 24, "neutral": 24, "wry": 24}
    assert sorted(np.concatenate([back.part(part) for part in PARTS])) == list(range(len(rows)))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_pngs_are_the_packed_pixels(tmp_path: Path) -> None:
    rows, faces = made()
    back = write(tmp_path / "set", rows, faces)
    for k in (0, 7, len(rows) - 1):
        assert (read_picture(tmp_path / "set" / str(back.path[k])) == faces[k]).all()
    sheet = read_picture(tmp_path / "set" / "contact.png")
    assert sheet.shape[1] > 3 * 32


def test_optional_columns_appear_where_they_say_something(tmp_path: Path) -> None:
    rows, faces = made()
    plain = write(tmp_path / "plain", rows, faces)
    units = np.random.default_rng(0).random((len(rows), len(AUS)), np.float32)
    full = [
        Row(row.path, row.identity, row.expression, "2", 0.5, "HL", "group, with a comma", tuple(unit.tolist()))
        for row, unit in zip(rows, units, strict=True)
    ]
    rich = write(tmp_path / "rich", full, faces)
    header = (plain.dir / "faces.csv").read_text().splitlines()[0]
    assert header == "path,identity,expression,split"
    header = (rich.dir / "faces.csv").read_text().splitlines()[0]
    assert header.startswith("path,identity,expression,split,session,intensity,angle,group,au_1,au_2,")
    assert rich.aus is not None
    np.testing.assert_allclose(rich.aus, units, atol=1e-4)
    assert set(rich.group) == {"group, with a comma"}
    assert rich.sha256 == plain.sha256


@pytest.mark.slow
@given(st.lists(names, min_size=24, max_size=40, unique=True))
@settings(max_examples=15, deadline=None)
def test_any_printable_name_survives(tmp_path_factory: pytest.TempPathFactory, people: list[str]) -> None:
    root = tmp_path_factory.mktemp("names")
    rows = [Row(Path(), person, expression) for person in people for expression in ("happy", "neutral")]
    try:
        back = write(root / "set", rows, np.zeros((len(rows), 32, 32, 3), np.uint8))
        assert back.identity.tolist() == [row.identity for row in rows]
        assert set(back.parts()) == set(people)
        assert len(set(back.path)) == len(rows)
        assert all((back.dir / path).resolve().parent == (back.dir / "faces").resolve() for path in back.path)
    finally:
        shutil.rmtree(root)


@pytest.mark.slow
@given(st.integers(6, 40), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_nobody_is_in_two_parts(tmp_path_factory: pytest.TempPathFactory, people: int, pictures: int) -> None:
    rows, faces = made(people, expressions=tuple("abcd"[:pictures]))
    root = tmp_path_factory.mktemp("leak")
    try:
        back = write(root / "set", rows, faces)
        owners = [set(back.identity[back.part(part)]) for part in PARTS]
        assert sum(map(len, owners)) == len(set.union(*owners)) == people
    finally:
        shutil.rmtree(root)


def test_an_empty_part_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    rows, faces = made(2)
    with pytest.raises(
        UserError, match=r"leave the \w+ part empty at its share of 0\.\d+; add people, to 6 at the least"
    ):
        write(tmp_path / "set", rows, faces)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="part empty"):
        split_people(["one"], SHARES)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write(tmp_path / "set", *made()).dir


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("faces.npy", flip_a_byte),
        ("faces.npy", cut),
        ("faces.npy", Path.unlink),
        ("faces.csv", flip_a_byte),
        ("faces.csv", Path.unlink),
        ("set.json", cut),
        ("set.json", lambda path: path.write_text("[]")),
        ("set.json", lambda path: path.write_text(path.read_text().replace('"settings"', '"setings"'))),
        ("set.json", lambda path: path.write_text(path.read_text().replace('"left_out"', '"left"'))),
    ],
)
def test_a_damaged_set_is_refused_with_the_mend(written: Path, name: str, harm: object) -> None:
    harm(written / name)  # type: ignore[operator]
    with pytest.raises(UserError, match=r"is damaged .* visage prepare") as caught:
        FaceSet.open(written)
    assert "\n" not in str(caught.value)


def test_a_set_of_another_version_says_how_to_make_it_again(written: Path) -> None:
    path = written / "set.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 7'))
    again = rf"visage prepare --layout folder --source DIR --out {written} --size 32"
    with pytest.raises(UserError, match=rf"another version of Visage \(format 7, .*reads 1 and 2\).*{again}\.$"):
        FaceSet.open(written)


def test_a_missing_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{tmp_path}/none: holds no face set; give the folder of one"):
        FaceSet.open(tmp_path / "none")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files of this process may not grow beyond 64 KiB: writing fails in the middle, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_no_room_is_a_user_error_and_leaves_nothing(tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(UserError, match="make room"):
        write(tmp_path / "set", *made())
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "set", *made())


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    rows, faces = made()

    def interrupted() -> Iterator[np.ndarray]:
        yield faces[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_face_set(tmp_path / "set", rows, interrupted(), name="n", layout="folder", size=32, shares=SHARES)
    assert list(tmp_path.iterdir()) == []


def test_set_json_is_as_the_design_says(written: Path) -> None:
    facts = json.loads((written / "set.json").read_text())
    assert {"name", "layout", "size", "counts", "sha256", "licence"} <= facts.keys()
    assert len(facts["sha256"]) == 64


def test_of_two_processes_the_second_is_told_to_use_what_the_first_made(tmp_path: Path) -> None:
    def first_and_second() -> None:
        with staged(tmp_path / "set") as folder:
            (folder / "mine").touch()
            (tmp_path / "set").mkdir()
            (tmp_path / "set" / "theirs").touch()

    with pytest.raises(UserError, match="made by another process meanwhile"):
        first_and_second()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["theirs"]


def test_names_may_hold_what_ends_a_line(tmp_path: Path) -> None:
    odd = ["a\nb", "c\x85d", "e\u2028f", "g\x1dh", "i\rj", 'k"l', "m,n"]
    rows = [Row(Path(), f"{name}{k}", shown) for k in range(3) for name in odd for shown in ("wry\n", "neutral")]
    faces = np.zeros((len(rows), 32, 32, 3), np.uint8)
    back = write(tmp_path / "set", rows, faces)
    assert back.identity.tolist() == [row.identity for row in rows]
    assert [back.expressions[k] for k in back.expression] == [row.expression for row in rows]


def test_a_set_json_of_other_kinds_is_damaged(tmp_path: Path) -> None:
    write(tmp_path / "set", *made())
    note = tmp_path / "set" / "set.json"
    facts = json.loads(note.read_text())
    for key in ("settings", "left_out", "not_chosen", "suspects"):
        note.write_text(json.dumps({**facts, key: 5}))
        with pytest.raises(UserError, match=rf"damaged \(set.json has another kind of {key}\).*--layout folder"):
            FaceSet.open(tmp_path / "set")
    note.write_text("[]")
    with pytest.raises(UserError, match=r"damaged .*--layout LAYOUT"):
        FaceSet.open(tmp_path / "set")
