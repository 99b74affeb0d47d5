"""faces.csv: who and what the faces of a set show, one line each."""

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from visage.faces.facs import AUS
from visage.faces.layouts import Row

OPTIONAL = ("session", "intensity", "angle", "group", "lopsided")
UNITS = tuple(f"au_{au}" for au in AUS)


def file_names(rows: Sequence[Row]) -> Iterator[str]:
    """faces/PERSON_EXPRESSION[_SESSION].png with only plain characters, numbered where that is not unique."""
    used: Counter[str] = Counter()
    for row in rows:
        words = (row.identity, row.expression, row.session)
        stem = "_".join("".join(c if c.isalnum() or c in "-." else "-" for c in word) for word in words if word)
        used[stem] += 1
        yield f"faces/{stem}.png" if used[stem] == 1 else f"faces/{stem}~{used[stem]}.png"


def write_labels(path: Path, rows: Sequence[Row], names: Sequence[str], parts: Mapping[str, str]) -> bytes:
    """Write faces.csv and return its bytes; optional columns only where a row says anything in them."""
    usual = Row(Path(), "", "")
    optional = [name for name in OPTIONAL if any(getattr(row, name) != getattr(usual, name) for row in rows)]
    units = UNITS if rows and all(row.aus for row in rows) else ()
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "identity", "expression", "split", *optional, *units])
        for row, name in zip(rows, names, strict=True):
            values = [name, row.identity, row.expression, parts[row.identity], *(getattr(row, o) for o in optional)]
            writer.writerow([*values, *("" if math.isnan(value) else f"{value:.4g}" for value in row.aus if units)])
    return path.read_bytes()


class Labels:
    """The columns of a faces.csv of `count` faces. Equal words are one object.

    Raises ValueError when the content is no such table.
    """

    def __init__(self, content: bytes, count: int) -> None:
        lines = csv.reader(io.StringIO(content.decode(), newline=""))  # a name may hold a line's end
        self._columns: dict[str, list[str]] = {name: [] for name in next(lines)}
        for line in lines:
            for column, word in zip(self._columns.values(), line, strict=True):
                column.append(sys.intern(word))
        self._count = count
        if any(len(column) != count for column in self._columns.values()):
            raise ValueError(f"faces.csv has not {count} faces")

    def words(self, name: str) -> np.ndarray:
        """A column, str N; empty words where there is no such column."""
        return np.array(self._columns.get(name, [""] * self._count), str)

    def numbers(self, name: str, absent: float) -> np.ndarray:
        """A column, float32 N, with `absent` where it says nothing. Raises ValueError where it is no number."""
        if name not in self._columns:
            return np.full(self._count, absent, np.float32)
        return np.array([float(word) if word else absent for word in self._columns[name]], np.float32)

    def units(self) -> np.ndarray | None:
        """The action units, float32 N,len(AUS); None where there are none."""
        known = UNITS[0] in self._columns
        return np.stack([self.numbers(name, math.nan) for name in UNITS], axis=1) if known else None
