"""The face set on disk: aligned faces, who and what they show, and one packed array that training maps into memory."""

import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from visage.config.data import Shares
from visage.errors import UserError
from visage.faces.facs import EXPRESSIONS
from visage.faces.label_file import Labels, file_names, write_labels
from visage.faces.layouts import Row
from visage.faces.picture import write_picture
from visage.faces.shards import FOLDER, Shard, facts_of, shards_of, write_shards
from visage.faces.split import ALL_PARTS, PARTS, PRACTICE, READING, split_rows

FORMAT, IN_SHARDS = 1, 2  # an older Visage would learn from the sample alone of a set in shards
# What set.json says, and each as what.
KINDS = {"format": int, "name": str, "layout": str, "size": int, "expressions": list, "counts": dict, "split": str,
         "parts": dict, "sha256": str, "labels_sha256": str, "licence": str, "settings": dict, "left_out": list,
         "not_chosen": dict, "suspects": list, "action_units": str}  # fmt: skip

# What sets of an older Visage do not say; their parts stand in faces.csv alone.
LATER = {"split": "hash", "parts": {}, "not_chosen": {}, "suspects": [], "action_units": ""}

# Where labels of action units are from, beside `labels.OPENFACE` and `labels.FACS`.
EXACT, PROTOTYPE, NO_LABELS = "exact", "prototype", "none"


@dataclass(frozen=True)
class Origin:
    """What set.json says of where a face set is from. settings: what it was made with, JSON. left_out: {path, reason}
    of pictures that were not used. not_chosen: counts of those that the settings leave out. suspects: sentences on
    names that look wrong. action_units: where they are from; empty where no file gives them."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[Mapping[str, str]] = ()
    not_chosen: Mapping[str, int] = field(default_factory=dict)
    suspects: Sequence[str] = ()
    action_units: str = ""


@dataclass(frozen=True, eq=False)
class FaceSet:
    """A face set of N faces of side S. All arrays run over the faces in the order of faces.csv.

    faces: uint8 N,S,S,3, mapped from DIR/faces.npy. identity, split, group, path: str N. expression: int N, an index
    into `expressions`, -1 for none. intensity: float32 N, 1 for a full expression. aus: float32 N,len(AUS) in 0..1, NaN
    where one is not known, or None where none is. turn: float32 N, of the head or the camera in degrees, or None where
    it is not known of all. lopsided: float32 N, as in `layouts.rows.Row`. sha256: of the pixels, those in shards too.
    facts: all of set.json.
    address: what `dir` is a copy of, see `shared`. shards: of a set in shards all training people; the arrays then
    have those of validation and test, and a sample of the training people, for judges and for what else looks at them.
    """

    dir: Path
    name: str
    layout: str
    size: int
    sha256: str
    expressions: tuple[str, ...]
    licence: str
    faces: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    split: np.ndarray
    intensity: np.ndarray
    group: np.ndarray
    path: np.ndarray
    aus: np.ndarray | None
    turn: np.ndarray | None
    lopsided: np.ndarray
    facts: dict[str, Any]
    address: str | None = None
    shards: tuple[Shard, ...] = ()

    @classmethod
    def open(cls, folder: Path, address: str | None = None) -> "FaceSet":
        """The face set in `folder`, its pixels and labels checked by hash; UserError when missing or damaged."""
        if not (folder / "set.json").is_file():
            raise UserError(f"{folder}: holds no face set; give the folder of one, as `visage prepare` makes it.")
        facts = {}
        try:
            facts = json.loads((folder / "set.json").read_text())
            if (made := facts["format"]) not in (FORMAT, IN_SHARDS):
                raise UserError(
                    f"{folder}: the face set was made by another version of Visage (format {made!r}, and this one "
                    f"reads {FORMAT} and {IN_SHARDS}); delete it and make it again with {_again(facts, folder)}."
                )
            facts = LATER | facts
            if wrong := [key for key, kind in KINDS.items() if not isinstance(facts.get(key), kind)]:
                raise ValueError(f"set.json has {'another kind of' if wrong[0] in facts else 'no'} {wrong[0]}")
            if wrong := [str(part) for part in facts["parts"].values() if part not in ALL_PARTS]:
                raise ValueError(f"set.json has people in no part but {wrong[0]}")
            size, count = facts["size"], facts["counts"]["pictures"]
            faces = np.load(folder / "faces.npy", mmap_mode="r", allow_pickle=False)
            if faces.dtype != np.uint8 or faces.shape != (count, size, size, 3):
                raise ValueError(f"faces.npy holds {faces.dtype} {faces.shape}")
            if hashlib.sha256(faces.data).hexdigest() != facts["sha256"]:
                raise ValueError("the pixels of faces.npy are not those that were written")
            labels = (folder / "faces.csv").read_bytes()
            if hashlib.sha256(labels).hexdigest() != facts["labels_sha256"]:
                raise ValueError("faces.csv is not as it was written")
            table, expressions = Labels(labels, count), tuple(facts["expressions"])
            place = {name: number for number, name in enumerate(expressions)} | {"": -1}
            shards = shards_of(facts["shards"], facts["sha256"]) if made == IN_SHARDS else ()
            return cls(
                folder,
                facts["name"],
                facts["layout"],
                size,
                (facts["shards"] if shards else facts)["sha256"],
                expressions,
                facts["licence"],
                faces,
                table.words("identity"),
                np.array([place[word] for word in table.words("expression").tolist()]),
                table.words("split"),
                table.numbers("intensity", 1),
                table.words("group"),
                table.words("path"),
                table.units(),
                _degrees(table.words("angle")),
                table.numbers("lopsided", 0),
                facts,
                address,
                shards,
            )
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            again = _again(facts, folder)
            raise UserError(
                f"{folder}: the face set is damaged ({error}); delete it and make it again with {again}."
            ) from None

    def part(self, name: str) -> np.ndarray:
        """The indexes of the faces of the train, validation or test people, or of those who show no expressions."""
        if name not in ALL_PARTS:
            raise ValueError(f"{name!r} is no part; use one of {ALL_PARTS}")
        return np.flatnonzero(self.split == name)

    def parts(self) -> dict[str, str]:
        """The part of each person, also of those who had one in a set that this was split as and have no face here."""
        return self.facts["parts"] | dict(zip(self.identity.tolist(), self.split.tolist(), strict=True))


def write_face_set(
    out: Path,
    rows: Sequence[Row],
    faces: Iterable[np.ndarray],
    *,
    name: str,
    layout: str,
    size: int,
    shares: Shares,
    kept: Mapping[str, str] | None = None,
    licence: str = "",
    origin: Origin | None = None,
    training: Iterable[tuple[Row, np.ndarray]] | None = None,
    megabytes: float = 64,
) -> FaceSet:
    """Write `faces` (uint8 size,size,3, one for each row) as a face set at `out`, which must be absent or empty.

    `kept`: people who have a part already, as in `split_people`; set.json names them and all others with their parts.
    `training` makes a set in shards of so many `megabytes`: all training people, one after the other in the order of
    `shards.dealt`; `rows` then hold a sample of them beside the others. All is written beside `out` and renamed at the
    end. Raises UserError when a part has no people or writing fails.
    """
    from visage.faces.contact import contact_sheet

    origin, parts = origin or Origin(), split_rows(rows, shares, kept)
    shown = {row.expression for row in rows if row.expression}
    beside = tuple(part for part in (PRACTICE, READING) if part in parts.values())
    with staged(out) as folder:
        shards: list[Shard] = []
        if training is not None:
            units = all(row.aus for row in rows)
            shards, further = write_shards(folder / FOLDER, training, size, megabytes, units=units)
            shown |= further
        expressions = [*(e for e in EXPRESSIONS if e in shown), *sorted(shown - set(EXPRESSIONS))]
        (folder / "faces").mkdir()
        names = list(file_names(rows))
        pixels = hashlib.sha256()
        with (folder / "faces.npy").open("wb") as packed:
            _write_header(packed, (len(rows), size, size, 3))
            for path, face in zip(names, faces, strict=True):
                content = np.ascontiguousarray(face).tobytes()
                pixels.update(content)
                packed.write(content)
                write_picture(folder / path, face)
        labels = write_labels(folder / "faces.csv", rows, names, parts)
        facts = {
            "format": IN_SHARDS if shards else FORMAT,
            "name": name,
            "layout": layout,
            "size": size,
            "expressions": expressions,
            "counts": {
                "pictures": len(rows),
                "people": len(parts),
                "people_of_parts": {part: list(parts.values()).count(part) for part in PARTS + beside},
                "pictures_of_expressions": dict(Counter(row.expression for row in rows if row.expression)),
                "pictures_of_parts": dict(Counter(parts[row.identity] for row in rows)),
            },
            "split": "published" if any(row.published and row.expression for row in rows) else "hash",
            "parts": {**(kept or {}), **parts},
            "sha256": pixels.hexdigest(),
            "labels_sha256": hashlib.sha256(labels).hexdigest(),
            "licence": licence,
            **asdict(origin),
            "action_units": origin.action_units or (PROTOTYPE if shown <= set(EXPRESSIONS) else NO_LABELS),
        } | ({"shards": facts_of(shards, pixels.hexdigest())} if shards else {})
        packed_faces = np.load(folder / "faces.npy", mmap_mode="r")
        write_picture(folder / "contact.png", contact_sheet(packed_faces, rows, expressions, parts))
        (folder / "set.json").write_text(json.dumps(facts, indent=2) + "\n")
    return FaceSet.open(out)


def _degrees(angles: np.ndarray) -> np.ndarray | None:
    """Angles as numbers; None where some are none."""
    try:
        return angles.astype(np.float32) if len(angles) else None
    except ValueError:
        return None


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` at the end; it is removed when anything fails."""
    folder = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True)
        yield folder
        os.replace(folder, out)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise UserError(f"{out}: was made by another process meanwhile; run the command again to use it.") from None
        raise UserError(
            f"{out}: the face set cannot be written ({error.strerror or error}); make room or give another --out."
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare_command(folder: Path | str, layout: str, source: Path | None, size: int | None) -> str:
    """The command line that makes a face set at `folder`, to be named in errors."""
    of = "" if layout == "synthetic" else f" --source {source or 'DIR'}"
    sized = "" if size is None else f" --size {size}"
    return f"visage prepare --layout {layout}{of} --out {folder}{sized}"


def _again(facts: Any, folder: Path) -> str:
    """The command that makes a damaged face set, or one of another version, anew, as far as its set.json tells."""
    told = facts if isinstance(facts, dict) else {}
    layout, size = told.get("layout"), told.get("size")
    known = layout if isinstance(layout, str) else "LAYOUT"
    return prepare_command(folder, known, None, size if isinstance(size, int) else None)


def _write_header(packed: IO[bytes], shape: tuple[int, ...]) -> None:
    # Written in order and not through a memory map, on which a full disk is a fatal signal instead of an error.
    np.lib.format.write_array_header_1_0(packed, {"descr": "|u1", "fortran_order": False, "shape": shape})
