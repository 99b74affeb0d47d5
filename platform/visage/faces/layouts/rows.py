"""What a layout says of a source folder: its pictures as rows, and why others are none."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from visage.faces.picture import SUFFIXES


@dataclass(frozen=True)
class Row:
    """One picture: whose face, with which expression.

    `intensity` is 1 for a full expression; `aus` holds one intensity in 0..1 for each of facs.AUS, NaN where it is not
    known, or nothing where none is. `expression` is empty for a picture that
    shows action units and none by name. `lopsided`, -1 to 1: the share by which they are weaker on the image's right
    (negative) or left. Empty text means not known. `published` is the part, train or test, that the data set's own
    protocol puts the person in, or one of those in `split` for people without expressions; empty where the shares
    decide.
    """

    path: Path
    identity: str
    expression: str
    session: str = ""
    intensity: float = 1.0
    angle: str = ""
    group: str = ""
    aus: tuple[float, ...] = ()
    published: str = ""
    lopsided: float = 0.0


@dataclass(frozen=True)
class Passed:
    """A picture that becomes no row. `chosen` is false where the options leave it out, which is no fault."""

    path: Path
    reason: str
    chosen: bool = True


Found = Iterator[Row | Passed]


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder; what systems leave behind (Thumbs.db, .DS_Store, ._name) is none."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def folders(source: Path) -> list[Path]:
    return sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))


def all_pictures(source: Path) -> list[Path]:
    """The picture files of a folder and of all folders in it but hidden ones."""

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for folder, inner, names in os.walk(source, onerror=refuse):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)
