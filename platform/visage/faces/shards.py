"""A face set's training people in shards: Parquet files of pictures with their labels, each known by its hash.

Parquet, and not tar files of pictures as WebDataset has them: labels are columns that are read without the pictures,
and a picture's bytes become an array without being decoded. A shard holds whole people, dealt by the hashes of their
names, so that each is a fair sample of all.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visage.faces.label_file import UNITS
from visage.faces.layouts import Row

if TYPE_CHECKING:
    import pyarrow

FOLDER = "shards"  # in that of the face set
GROUP = 512  # pictures that are written and read at once
PICTURE = "picture"  # the column of size x size x 3 bytes: rows from the top, red, green, blue
WORDS, NUMBERS = ("identity", "expression", "session"), ("intensity", "lopsided")


@dataclass(frozen=True)
class Shard:
    """A file of FOLDER: its name, how many people and pictures it holds, its length in bytes and its sha256."""

    name: str
    people: int
    pictures: int
    bytes: int
    sha256: str


def dealt(people: Iterable[str]) -> list[str]:
    """The people in the order in which they go into shards: that of their names' hashes."""
    return sorted(people, key=lambda name: hashlib.sha256(f"shard of {name}".encode()).digest())


def write_shards(
    folder: Path, training: Iterable[tuple[Row, np.ndarray]], size: int, megabytes: float, *, units: bool
) -> tuple[list[Shard], set[str]]:
    """Write all pictures (uint8 size,size,3, one person's after the other's) into a new folder, in shards of about so
    many MB of pixels; returns them and the expressions that are shown.

    units: with the rows' action units, unknown where a row has none.
    """
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    schema, full = _schema(size, units), max(1, int(megabytes * 1e6 / (size * size * 3)))
    found, shown = list[Shard](), set[str]()
    rest = (list(pictures) for _, pictures in groupby(training, key=lambda one: one[0].identity))
    person = next(rest, None)
    while person:
        path, people, pictures = folder / f"{len(found):05d}.parquet", 0, 0
        with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=list(WORDS)) as writer:
            waiting: list[tuple[Row, np.ndarray]] = []
            while person and pictures < full:
                people, pictures = people + 1, pictures + len(person)
                shown |= {row.expression for row, _ in person}
                waiting += person
                while len(waiting) >= GROUP:
                    writer.write_table(pyarrow.table(_columns(waiting[:GROUP], units), schema))
                    del waiting[:GROUP]
                person = next(rest, None)
            if waiting:
                writer.write_table(pyarrow.table(_columns(waiting, units), schema))
        with path.open("rb") as written:
            content = hashlib.file_digest(written, "sha256").hexdigest()
        found.append(Shard(path.name, people, pictures, path.stat().st_size, content))
    return found, shown


def _schema(size: int, units: bool) -> "pyarrow.Schema":
    import pyarrow

    words = [(name, pyarrow.string()) for name in WORDS]
    numbers = [(name, pyarrow.float32()) for name in (*NUMBERS, *(UNITS if units else ()))]
    return pyarrow.schema([*words, *numbers, (PICTURE, pyarrow.binary(size * size * 3))])


def _columns(pictures: Sequence[tuple[Row, np.ndarray]], units: bool) -> dict[str, list[Any]]:
    rows = [row for row, _ in pictures]
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in (*WORDS, *NUMBERS)}
    if units:
        told = [[_told(value) for value in row.aus] or [None] * len(UNITS) for row in rows]
        columns |= dict(zip(UNITS, map(list, zip(*told, strict=True)), strict=True))
    return columns | {PICTURE: [np.ascontiguousarray(face).tobytes() for _, face in pictures]}


def _told(value: float) -> float | None:
    """An action unit with the digits that faces.csv has."""
    return None if math.isnan(value) else float(f"{value:.4g}")


def facts_of(shards: Sequence[Shard], pixels: str) -> dict[str, Any]:
    """What set.json says of shards. pixels: the sha256 of those that are packed beside them."""
    return {
        "pictures": sum(shard.pictures for shard in shards),
        "people": sum(shard.people for shard in shards),
        "sha256": hashlib.sha256("".join([pixels, *(shard.sha256 for shard in shards)]).encode()).hexdigest(),
        "files": [asdict(shard) for shard in shards],
    }


def shards_of(facts: dict[str, Any], pixels: str) -> tuple[Shard, ...]:
    """The shards of `facts_of`, one at the least. Raises ValueError, KeyError or TypeError where they are not
    as they were written."""
    found = tuple(Shard(**entry) for entry in facts["files"])
    for what in ("name", "sha256"):
        seen = [getattr(shard, what) for shard in found]
        if twice := [value for value in seen if seen.count(value) > 1] if len(set(seen)) < len(seen) else []:
            names = [shard.name for shard in found if getattr(shard, what) == twice[0]]
            raise ValueError(f"{' and '.join(names[:2])} are one shard, named twice in set.json")
    whole = found and facts_of(found, pixels)["sha256"] == facts["sha256"]
    if not whole or any("/" in shard.name for shard in found):
        raise ValueError("the shards that set.json names are not those that were written")
    return found


@dataclass(frozen=True)
class Pictures:
    """What a shard of N pictures holds, its pixels aside: str N, float32 N, and float32 N,len(AUS) or None."""

    identity: np.ndarray
    expression: np.ndarray
    intensity: np.ndarray
    lopsided: np.ndarray
    aus: np.ndarray | None


def read(content: bytes, into: np.ndarray) -> Pictures:
    """The labels of a whole shard, whose pixels go into the first places of `into`: uint8 M,S,S,3."""
    import pyarrow
    from pyarrow import parquet

    file = parquet.ParquetFile(pyarrow.BufferReader(content))
    done = 0
    for batch in file.iter_batches(GROUP, columns=[PICTURE], use_threads=False):
        column = batch.column(0)
        pixels = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, *into.shape[1:])
        into[done : done + len(column)] = pixels[column.offset : column.offset + len(column)]
        done += len(column)
    known = [name for name in (*WORDS, *NUMBERS, *UNITS) if name in file.schema_arrow.names]
    table = file.read(known, use_threads=False)
    words = {name: np.array(table[name].to_pylist(), str) for name in WORDS}
    units = [table[name].to_numpy() for name in UNITS] if UNITS[0] in known else None
    return Pictures(
        words["identity"],
        words["expression"],
        table["intensity"].to_numpy(),
        table["lopsided"].to_numpy(),
        None if units is None else np.stack(units, axis=1).astype(np.float32),
    )
