"""What must hold before a face set is made or reused; each fault is one sentence with its mend."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visage.config.data import Data, Shares
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.layouts import Row
from visage.faces.photographs import name_in
from visage.faces.sampling import by_person
from visage.faces.split import split_rows

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
        # What an older set does not name had its default then.
        if made.get(key, Data.model_fields[key].default if key in Data.model_fields else None) != value:
            if key == "source_sha256":
                raise UserError(
                    f"{out}: holds a face set made of other pictures than the source holds now; give another --out "
                    f"(data.dir), with --set data.split_as={out} where nobody shall change between training and test."
                )
            raise UserError(
                f"{out}: holds a face set made with {key} {_plain(made.get(key))} and not {_plain(value)}; give "
                "another --out (data.dir), or delete it to make it anew."
            )


def check_parts(faces: FaceSet, data: Data, kept: Mapping[str, str]) -> None:
    """UserError when somebody stands elsewhere in the set than in the one that it is to be split as."""
    for person, part in faces.parts().items():
        if (before := kept.get(person, part)) != part:
            raise UserError(
                f"{data.address or data.dir}: holds a face set in which {person} is in the {part} part and not in "
                f"{before} as in {data.split_as} (data.split_as); give another --out (data.dir), or delete it to make "
                "it anew."
            )


def check_shards(faces: FaceSet, data: Data) -> None:
    """UserError when shards are asked for and the set that is there is packed."""
    if data.shards.mb and not faces.shards:
        raise UserError(
            f"{data.address or data.dir}: holds a packed face set, and data.shards.mb = {data.shards.mb:g} asks for "
            "shards; give another --out (data.dir), or delete it to make it anew."
        )


def refuse_shards(faces: FaceSet, setting: str, mend: str) -> None:
    """UserError where a setting needs all training people at once, and the set has them in shards."""
    if faces.shards:
        raise UserError(
            f"{setting}: needs all training people at once, and {faces.dir} has them in shards; set it to {mend}, or "
            "prepare a packed face set (data.shards.mb=null)."
        )


def check_expressions(faces: FaceSet, data: Data) -> None:
    """UserError unless the set holds what `data.expressions` names, where that is given."""
    if data.expressions and set(data.expressions) != set(faces.expressions):
        raise UserError(
            f"{data.dir}: holds {', '.join(faces.expressions)}, and data.expressions names "
            f"{', '.join(data.expressions)}; name those that it holds, or give another data.dir."
        )


def check_enough(
    rows: Sequence[Row],
    left_out: Sequence[Mapping[str, str]],
    source: Path,
    shares: Shares,
    kept: Mapping[str, str],
    *,
    paired: bool = True,
) -> None:
    """UserError unless every part has people, and the training people show each expression and, with `paired`, two of
    them several."""
    fault = ""
    try:
        parts = split_rows(rows, shares, kept) if rows else {}
        shown = {(row.identity, row.expression) for row in rows if parts[row.identity] == "train"}
        several = sum(count > 1 for count in Counter(person for person, _ in shown).values())
        unseen = sorted({row.expression for row in rows} - {expression for _, expression in shown})
        if paired and several < 2:
            fault = f"{several} training people show two expressions, and two are needed; add pictures"
        elif unseen:
            fault = f"no training person shows {unseen[0]}; add pictures of it, or leave it out (data.expressions)"
    except UserError as error:
        fault = str(error).rstrip(".")
    if fault:
        names = [f"{entry['path']} ({entry['reason']})" for entry in left_out[:NAMED_LEFT_OUT]]
        more = [f"{len(left_out) - NAMED_LEFT_OUT} more"] if len(left_out) > NAMED_LEFT_OUT else []
        without = f"; left out: {', '.join(names + more)}" if names else ""
        all_pictures = len(rows) + len(left_out)
        raise UserError(f"{source}: too little remains, {len(rows)} of {all_pictures} pictures: {fault}{without}.")


def check_learnable(faces: FaceSet) -> None:
    """UserError unless two training people show two expressions each, as a training on pairs needs."""
    people = by_person(faces.identity, faces.expression, faces.part("train"))
    several = sum(len(shown) > 1 for shown in people.values())
    if several < 2:
        raise UserError(
            f"{faces.dir}: {several} of its training people show two expressions, and learning to change one takes two "
            "such people; add pictures of them, or give train a larger share (data.shares)."
        )


def cautions(faces: FaceSet) -> list[str]:
    """What keeps figures on a face set from being trusted: too little of something, or suspects; one sentence each."""
    said = []
    for number, expression in enumerate(faces.expressions):
        for part in ("validation", "test"):
            if number not in faces.expression[faces.part(part)]:
                said.append(
                    f"nobody of the {part} part shows {expression}, so nothing can be said of it there; add pictures "
                    "of more people, give that part a larger share (data.shares), or leave it out (data.expressions)"
                )
    for part in ("validation", "test"):
        if len(set(faces.identity[faces.part(part)])) == 1:
            said.append(f"the {part} part has one person and judging needs two; give it a larger share (data.shares)")
    people = by_person(faces.identity, faces.expression, faces.part("train"))
    if single := [person for person, shown in people.items() if len(shown) == 1]:
        said.append(
            f"{len(single)} of {len(people)} training people show one expression only ({', '.join(single[:3])}), so "
            "no change of expression is learnt from them; add pictures of them"
        )
    return said + faces.facts["suspects"]


def same_under_two_names(rows: Sequence[Row], source: Path) -> list[str]:
    """Pictures of the same bytes that are named as two people or two expressions; one sentence each."""
    by_length: dict[int, list[Row]] = {}
    for row in rows:
        by_length.setdefault(row.path.stat().st_size, []).append(row)
    said = []
    for alike in by_length.values():
        first: dict[str, Row] = {}
        for row in alike if len(alike) > 1 else ():
            same = first.setdefault(hashlib.sha256(row.path.read_bytes()).hexdigest(), row)
            if (same.identity, same.expression) != (row.identity, row.expression):
                names = " and ".join(name_in(source, one.path) for one in (same, row))
                said.append(f"{names} are one picture under two names, so one of them is wrong; mend the names")
    return sorted(said)


def listing(rows: Sequence[Row], source: Path) -> str:
    """A hash of the source's picture names and lengths, to know it again."""
    lines = [f"{name_in(source, row.path)} {row.path.stat().st_size}" for row in rows]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return "all" if value is None else str(value)
