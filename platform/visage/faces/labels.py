"""Labels of action units from files beside the pictures: OpenFace's, or a table of FACS codes.

OpenFace writes NAME.csv for NAME.jpg (FaceLandmarkImg): AU12_r is an intensity from 0 to 5, AU12_c says present or not.
A table of FACS codes is facs.csv in the source folder: path, and a column for each coded action unit (au_12, AU12),
0 to 1 or a grade from A to E; an empty field is not coded.
"""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from visage.errors import UserError
from visage.faces.facs import AUS
from visage.faces.layouts import Passed, Row

OPENFACE, FACS = "openface", "facs"
TABLE = "facs.csv"
GRADES = {grade: (place + 1) / 5 for place, grade in enumerate("ABCDE")}
COLUMN = re.compile(r"au_?0*(\d+)(_[rc])?", re.IGNORECASE)
STRONGEST = 5.0  # of OpenFace
NOT_KNOWN = float("nan")


@dataclass(frozen=True)
class Labels:
    """rows: with `aus` where they are known. left_out: pictures whose file says nothing usable. source: OPENFACE, FACS,
    or empty where no file is there."""

    rows: list[Row]
    left_out: list[Passed] = field(default_factory=list)
    source: str = ""


def labelled(rows: Sequence[Row], source: Path) -> Labels:
    """The rows with what the files beside their pictures say of their action units.

    Either every picture has labels or none has: UserError names the first without. Raises UserError too for a table
    that names pictures which are not there, and for a field that is no intensity.
    """
    table = source / TABLE
    if table.is_file():
        codes = _table(table, source)
        _all_or_none(rows, [row for row in rows if row.path in codes], f"{table} has no line for it")
        return Labels([replace(row, aus=codes[row.path]) for row in rows], source=FACS)
    beside = [row for row in rows if row.path.with_suffix(".csv").is_file()]
    if beside:
        _all_or_none(rows, beside, "no OpenFace file lies beside it")
        read = [(row, _openface(row.path.with_suffix(".csv"))) for row in rows]
        kept = [replace(row, aus=found) for row, found in read if not isinstance(found, str)]
        return Labels(kept, [Passed(row.path, found) for row, found in read if isinstance(found, str)], OPENFACE)
    own = [row for row in rows if row.aus]  # the layout's own files
    if own and len(own) < len(rows):  # its neutral frames and peaks may come from clips that nobody coded
        return Labels([replace(row, aus=()) for row in rows])
    return Labels(list(rows), source=FACS if own else "")


def digest(labels: Labels) -> dict[str, str]:
    """A hash of the labels, to know them again; nothing where there are none."""
    if not labels.source:
        return {}
    lines = [f"{row.path.name} {row.aus}" for row in labels.rows]
    return {"labels": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def _all_or_none(rows: Sequence[Row], known: Sequence[Row], why: str) -> None:
    have = {row.path for row in known}
    if missing := [row.path for row in rows if row.path not in have]:
        raise UserError(
            f"{missing[0]}: {why}, as for {len(missing)} of {len(rows)} pictures; label all of them, or remove the "
            "labels and take the expressions' prototypes."
        )


def _table(path: Path, source: Path) -> dict[Path, tuple[float, ...]]:
    lines = _lines(path)
    columns = _columns(path, lines[0])
    if "path" not in lines[0]:
        raise UserError(f"{path}: has no column path; name the pictures there, relative to {source}.")
    found = {}
    for line in lines:
        picture = source / line["path"]
        if not picture.is_file():
            raise UserError(f"{path}: names {line['path']}, and there is no such picture; mend or remove that line.")
        codes = {au: _code(path, line[name]) for au, name in columns.items()}
        found[picture] = tuple(codes.get(au, NOT_KNOWN) for au in AUS)
    return found


def _code(path: Path, text: str) -> float:
    text = text.strip()
    if not text:
        return NOT_KNOWN
    if text.upper() in GRADES:
        return GRADES[text.upper()]
    value = _number(path, text)
    if not 0 <= value <= 1:
        raise UserError(f"{path}: {text} is outside 0 to 1; give intensities of 0 to 1, or grades from A to E.")
    return value


def _openface(path: Path) -> tuple[float, ...] | str:
    """What OpenFace read, or why it says nothing usable."""
    lines = _lines(path)
    columns = _columns(path, lines[0])
    if len(lines) > 1:
        return f"its OpenFace file describes {len(lines)} faces"
    line = lines[0]
    if _number(path, line.get("success", "1")) == 0:
        return "OpenFace found no face in it"
    codes = {}
    for au, name in columns.items():
        value = _number(path, line[name])
        codes[au] = min(1.0, max(0.0, value if name.lower().endswith("_c") else value / STRONGEST))
    return tuple(codes.get(au, NOT_KNOWN) for au in AUS)


def _lines(path: Path) -> list[Mapping[str, str]]:
    """The lines of a CSV file by their headings, which OpenFace writes with spaces before them."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            read = csv.reader(file, skipinitialspace=True, strict=True)
            heads = [name.strip() for name in next(read, [])]
            lines: list[Mapping[str, str]] = [dict(zip(heads, line, strict=True)) for line in read if line]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: is no readable table ({error}); mend or remove it.") from None
    if not lines:
        raise UserError(f"{path}: holds no line of labels; mend or remove it.")
    return lines


def _columns(path: Path, heads: Mapping[str, str]) -> dict[int, str]:
    """The column of each action unit that is known here; intensities before mere presence."""
    found: dict[int, str] = {}
    for name in heads:
        match = COLUMN.fullmatch(name)
        if match and int(match[1]) in AUS and (int(match[1]) not in found or match[2] == "_r"):
            found[int(match[1])] = name
    if not found:
        raise UserError(f"{path}: has no column of an action unit, such as AU12_r or au_12; mend or remove it.")
    return found


def _number(path: Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = NOT_KNOWN
    if value != value:
        raise UserError(f"{path}: {text.strip()!r} is no intensity; give numbers, or grades from A to E in {TABLE}.")
    return value
