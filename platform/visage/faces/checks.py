"""What must hold before a face set is made or reused; each fault is one sentence with its mend."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visage.config.experiment import Shares
from visage.errors import UserError
from visage.faces.faceset import FaceSet, split_people
from visage.faces.layouts import Row

NAMED_LEFT_OUT = 5


def existing(out: Path, settings: Mapping[str, Any]) -> FaceSet | None:
    """The face set that is at `out` already, if it was made with these settings; None when there is nothing."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise UserError(f"{out}: is a file; give a folder as --out.")
    if not (out / "set.json").is_file():
        if any(out.iterdir()):
            raise UserError(f"{out}: is not empty and holds no face set; give another --out.")
        return None
    faces = FaceSet.open(out)
    check_settings(out, faces.facts["settings"], settings)
    return faces


def check_settings(out: Path, made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if made.get(key) != value:
            if key == "source_sha256":
                how = "made of other pictures than the source holds now"
            else:
                how = f"made with {key} {_plain(made.get(key))} and not {_plain(value)}"
            raise UserError(
                f"{out}: holds a face set {how}; give another --out (data.dir), or delete it to make it anew."
            )


def check_enough(
    rows: Sequence[Row], found: int, left_out: Sequence[Mapping[str, str]], source: Path, shares: Shares
) -> None:
    """UserError unless every part has people and two training people show two expressions each."""
    fault = ""
    try:
        parts = split_people((row.identity for row in rows), shares) if rows else {}
        shown = {(row.identity, row.expression) for row in rows if parts[row.identity] == "train"}
        several = [person for person in parts if sum(person == p for p, _ in shown) > 1]
        if len(several) < 2:
            fault = f"{len(several)} training people show two expressions, and two are needed; add pictures"
    except UserError as error:
        fault = str(error).rstrip(".")
    if fault:
        names = [f"{entry['path']} ({entry['reason']})" for entry in left_out[:NAMED_LEFT_OUT]]
        more = [f"{len(left_out) - NAMED_LEFT_OUT} more"] if len(left_out) > NAMED_LEFT_OUT else []
        without = f"; left out: {', '.join(names + more)}" if names else ""
        raise UserError(f"{source}: too little remains, {len(rows)} of {found} pictures: {fault}{without}.")


def listing(rows: Sequence[Row], source: Path) -> str:
    """A hash of the source's picture names and lengths, to know it again."""
    lines = [f"{name_in(source, row)} {row.path.stat().st_size}" for row in rows]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def name_in(source: Path, row: Row) -> str:
    return row.path.relative_to(source).as_posix()


def _plain(value: Any) -> str:
    return ", ".join(f"{k} {v:g}" for k, v in value.items()) if isinstance(value, dict) else str(value)
