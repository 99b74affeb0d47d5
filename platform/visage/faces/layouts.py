"""How data sets name their pictures: each layout turns a folder into rows."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from visage.errors import UserError
from visage.faces.picture import SUFFIXES


@dataclass(frozen=True)
class Row:
    """One picture: whose face, with which expression.

    `intensity` is 1 for a full expression; `aus` holds one intensity in 0..1 for each of facs.AUS, or nothing where
    they are not known. Empty text means not known.
    """

    path: Path
    identity: str
    expression: str
    session: str = ""
    intensity: float = 1.0
    angle: str = ""
    group: str = ""
    aus: tuple[float, ...] = ()


LICENCES = {
    "london": "CC BY 4.0; DeBruine and Jones (2017), Face Research Lab London Set, doi 10.6084/m9.figshare.5047666",
    "folder": "as the owner of the pictures has set",
    "synthetic": "made by visage; nobody's face",
}


def london(source: Path) -> list[Row]:
    """Face Research Lab London Set: neutral_front/NNN_03.jpg and smiling_front/NNN_08.jpg, groups from the CSV."""
    groups = {}
    info = source / "london_info.csv"
    if info.is_file():
        with info.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
            for line in csv.DictReader(lines):
                known = (line.get("face_eth"), line.get("face_gender"))
                groups[line.get("face_id", "")] = " ".join(word for word in known if word)
    rows = []
    for folder, expression, suffix in (("neutral_front", "neutral", "03"), ("smiling_front", "happy", "08")):
        for path in _pictures(source / folder):
            if match := re.fullmatch(rf"(\d+)_{suffix}", path.stem):
                person = match[1]
                rows.append(Row(path, person, expression, group=groups.get(person, "")))
    if not rows:
        raise UserError(
            f"{source}: has no pictures named as the London set names them (neutral_front/001_03.jpg, "
            "smiling_front/001_08.jpg); give its folder as the source, or layout folder for other names."
        )
    return rows


def folder(source: Path) -> list[Row]:
    """Pictures named PERSON_EXPRESSION.ext or PERSON_EXPRESSION_N.ext in one folder, or EXPRESSION/PERSON.ext in many.

    Raises UserError when that gives one expression, one person, or nobody with two expressions.
    """
    flat = [row for row in map(_flat_row, _pictures(source)) if row.identity and row.expression]
    nested = [Row(path, path.stem, child.name.lower()) for child in _folders(source) for path in _pictures(child)]
    if flat and nested:
        raise UserError(
            f"{source}: holds both pictures named PERSON_EXPRESSION ({flat[0].path.name}) and folders of pictures "
            f"({', '.join(sorted({row.path.parent.name for row in nested}))}); keep one of the two."
        )
    rows = flat + nested
    if not rows:
        raise UserError(
            f"{source}: has no pictures named PERSON_EXPRESSION.jpg and no folders EXPRESSION/PERSON.jpg; "
            "name them so, or give another source."
        )
    for what, names in (("expression", {row.expression for row in rows}), ("person", {row.identity for row in rows})):
        if len(names) == 1:
            raise UserError(
                f"{source}: {len(rows)} pictures, but only one {what} ({names.pop()}); name two "
                "expressions and several people, as files named PERSON_EXPRESSION.jpg or EXPRESSION/PERSON.jpg."
            )
    shown = {(row.identity, row.expression) for row in rows}
    if len(shown) == len({row.identity for row in rows}):
        raise UserError(
            f"{source}: nobody is shown with two expressions (people: {rows[0].identity}, {rows[-1].identity}); "
            "give every picture of a person the same name before the expression."
        )
    return rows


LAYOUTS: dict[str, Callable[[Path], list[Row]]] = {"london": london, "folder": folder}


def read_layout(layout: str, source: Path) -> list[Row]:
    """The rows of a source folder, ordered by path; UserError when there is no folder or nothing named so in it."""
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder; give the folder of the photographs as the source.")
    try:
        rows = LAYOUTS[layout](source)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); allow reading it.") from None
    for row in rows:
        if any("\udc80" <= letter <= "\udcff" for letter in str(row.path)):  # how Python shows bytes that are no text
            raise UserError(f"{str(row.path)!a}: its name is no UTF-8 text; rename it.")
    return sorted(rows, key=lambda row: row.path)


def passed_over(source: Path, rows: Sequence[Row]) -> list[Path]:
    """The pictures beside those of the rows that no row is made of, as they are named otherwise."""
    folders, used = {source, *(row.path.parent for row in rows)}, {row.path for row in rows}
    return sorted(path for folder in folders for path in _pictures(folder) if path not in used)


def _flat_row(path: Path) -> Row:
    stem, session = path.stem, ""
    if match := re.fullmatch(r"(.+_.+)_(\d+)", stem):
        stem, session = match[1], match[2]
    person, _, expression = stem.rpartition("_")
    return Row(path, person, expression.lower(), session)


def _folders(source: Path) -> list[Path]:
    return sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(folder: Path) -> list[Path]:
    """The picture files of a folder; what systems leave behind (Thumbs.db, .DS_Store, ._name) is none."""
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())
