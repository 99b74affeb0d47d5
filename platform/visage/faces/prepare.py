"""From photographs, or procedural people, to a face set on disk."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from visage.config.data import Data
from visage.errors import UserError
from visage.faces.checks import (
    check_enough,
    check_expressions,
    check_parts,
    check_settings,
    check_shards,
    existing,
    listing,
    same_under_two_names,
)
from visage.faces.faceset import EXACT, FaceSet, Origin, prepare_command, write_face_set
from visage.faces.facs import EXPRESSIONS
from visage.faces.labels import digest, labelled
from visage.faces.layouts import LICENCES, Row, read_layout
from visage.faces.photographs import aligned, key, name_in
from visage.faces.rendering import count, rendered
from visage.faces.shards import dealt
from visage.faces.shared import opened, replace_with_copy, upload
from visage.faces.split import PARTS, split_rows
from visage.faces.spool import Spool, spool

SAMPLE = 10_000  # training pictures that a set in shards holds packed too: as many as the papers' sets have in all
MOST_PACKED = 2e9  # bytes of its other people's

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


def prepare(data: Data, progress: Progress = lambda done, total: None) -> FaceSet:
    """Make the face set `data.dir`, or reuse it when it is there already and was made with the same settings.

    Photographs are detected and aligned over all cores by Ray Data; those that are broken, without a face or with
    several are left out and listed in set.json. Aligned faces are kept beside `data.dir` until all are there, so that
    a run that was cut off goes on where it stopped. What is made for an address is copied there. Raises UserError when
    `data.dir` holds something else, the source does not show what is asked for, or too little remains.
    """
    if data.layout is None:
        raise UserError(f"{data.dir}: no layout is given (data.layout); name how the source names its faces.")
    if data.address:
        replace_with_copy(data)
    kept = _kept(data)
    make = _procedural if data.layout == "synthetic" else _photographed
    faces = replace(make(data, kept, progress), address=data.address)
    check_shards(faces, data)
    check_parts(faces, data, kept)
    upload(faces)
    return faces


def prepare_if_absent(data: Data, progress: Progress = lambda done, total: None) -> FaceSet:
    """The face set of an experiment's data section, made at first use where `layout` says how.

    A set that is there needs its photographs no more; where they are there too, it must be made of them. Raises
    UserError when the set is not there and cannot be made, or was made with other settings.
    """
    there = replace_with_copy(data) if data.address else (data.dir / "set.json").is_file()
    layout = data.layout
    if layout == "synthetic" or (layout and data.source and (data.source.is_dir() or not there)):
        return prepare(data, progress)
    if not there:
        place = data.address or data.dir
        command = prepare_command(place, layout or "folder", data.source, data.size)
        raise UserError(f"{place}: holds no face set; make it with {command}.")
    faces = FaceSet.open(data.dir, data.address)
    check_settings(data.dir, faces.facts["settings"] | {"size": faces.size, "layout": faces.layout}, _settings(data))
    check_expressions(faces, data)
    check_shards(faces, data)
    check_parts(faces, data, _kept(data))
    return faces


def _kept(data: Data) -> dict[str, str]:
    """Who has a part already, by the face set that `data.split_as` names."""
    if not data.split_as:
        return {}
    faces = opened(Data.model_validate({"dir": data.split_as}))
    if faces.shards:
        raise UserError(
            f"data.split_as = {data.split_as}: is in shards, and does not tell its training people by name; name a "
            "packed face set."
        )
    return faces.parts()


def _settings(data: Data) -> dict[str, Any]:
    """What decides a face set besides the pictures; of a set without a layout nothing but the size is known."""
    if data.layout is None:
        return {"size": data.size}
    expressions = sorted(data.expressions) if data.expressions else None
    chosen = {"layout": data.layout, "size": data.size, "shares": data.shares.model_dump(), "expressions": expressions}
    return chosen | data.own()


def _procedural(data: Data, parts: Mapping[str, str], progress: Progress) -> FaceSet:
    settings = _settings(data)
    if (there := existing(data.dir, settings)) is not None:
        return there
    expressions = data.expressions or EXPRESSIONS
    if unknown := [name for name in expressions if name not in EXPRESSIONS]:
        raise UserError(
            f"layout synthetic: makes no {unknown[0]} (data.expressions); it makes {', '.join(EXPRESSIONS)}."
        )
    total = count(data, expressions)
    used: dict[bytes, Row] = {}
    with closing(rendered(data, expressions)) as results, spool(data.dir, data.size, total, keep=False) as kept:
        if (there := existing(data.dir, settings)) is not None:
            return there
        for index, row, face in results:
            place = index.to_bytes(32, "big")
            used[place] = row
            kept.write(place, face, "")
            progress(index + 1, total)
        return _write(data, parts, used, kept, f"synthetic-{data.seed}", Origin(settings, action_units=EXACT))


def _photographed(data: Data, parts: Mapping[str, str], progress: Progress) -> FaceSet:
    assert data.layout
    source = data.source
    if source is None:
        command = prepare_command(data.dir, data.layout, None, data.size)
        raise UserError(f"layout {data.layout}: needs the folder of its photographs; run {command}.")
    own = data.own()
    found = read_layout(data.layout, source, getattr(data, *own) if own else None, data.expressions)
    labels = labelled(found.rows, source)
    settings = _settings(data) | {"source_sha256": listing(found.rows, source)} | digest(labels)
    if (there := existing(data.dir, settings)) is not None:
        return there
    rows, left_out = labels.rows, {one.path: one.reason for one in [*found.left_out, *labels.left_out]}

    def enough(rows: list[Row]) -> list[dict[str, str]]:
        entries = [{"path": name_in(source, path), "reason": reason} for path, reason in sorted(left_out.items())]
        check_enough(rows, entries, source, data.shares, parts, paired=data.layout != "unpaired")
        return entries

    enough(rows)  # what cannot work is refused before the long part
    keys = [key(row.path, data.size) for row in rows]
    with spool(data.dir, data.size, len(keys), keep=True) as kept:
        if (there := existing(data.dir, settings)) is not None:
            return there
        progress(len(keys) - len(missing := [place for place in keys if place not in kept]), len(keys))
        pictures = [row.path for row in rows]
        with closing(aligned(pictures, [place in kept for place in keys], source, data.size)) as results:
            for done, (index, face, reason) in enumerate(results, len(keys) - len(missing) + 1):
                kept.write(keys[index], face, reason)
                progress(done, len(keys))
        reasons = [kept.reason(place) for place in keys]
        left_out |= {row.path: reason for row, reason in zip(rows, reasons, strict=True) if reason}
        used = {place: row for place, row in zip(keys, rows, strict=True) if not kept.reason(place)}
        missed = enough(list(used.values()))
        suspects = same_under_two_names(list(used.values()), source)
        origin = Origin(settings, missed, found.not_chosen, suspects, labels.source)
        return _write(data, parts, used, kept, source.resolve().name, origin)


def _write(
    data: Data, parts: Mapping[str, str], used: dict[bytes, Row], kept: Spool, name: str, origin: Origin
) -> FaceSet:
    assert data.layout
    training = None
    if data.shards.mb:
        dealt_to = split_rows(list(used.values()), data.shares, parts)
        used, rest = sampled(used, dealt_to, data)
        parts = {**parts, **{row.identity: dealt_to[row.identity] for row in used.values()}}
        training = zip(rest.values(), kept.faces(rest), strict=True)
    return write_face_set(
        data.dir,
        list(used.values()),
        kept.faces(used),
        name=name,
        layout=data.layout,
        size=data.size,
        shares=data.shares,
        kept=parts,
        licence=LICENCES[data.layout],
        origin=origin,
        training=training,
        megabytes=data.shards.mb or 0,
    )


def sampled(
    used: Mapping[bytes, Row], parts: Mapping[str, str], data: Data
) -> tuple[dict[bytes, Row], dict[bytes, Row]]:
    """Of all pictures those that a set in shards holds packed, as every machine does, and those of its shards, in their
    order. parts: of all people. Raises UserError where the first are more than a machine should copy."""
    whole: dict[str, list[bytes]] = {}
    for place, row in used.items():
        whole.setdefault(row.identity, []).append(place)
    if beside := sorted(set(parts.values()) - set(PARTS)):
        raise UserError(
            f"data.shards.mb = {data.shards.mb:g}: the set has {beside[0]} people, who show action units alone, "
            "and these stay in a packed face set; leave them out (data.units=0), or shards (data.shards.mb=null)."
        )
    training = [name for name in dealt(whole) if parts[name] == "train"]
    chosen, count = {name for name in whole if parts[name] != "train"}, 0
    size = sum(len(whole[name]) for name in chosen) * data.size**2 * 3
    if size > MOST_PACKED:
        raise UserError(
            f"data.shards.mb = {data.shards.mb:g}: the validation and test people have {size / 1e9:.1f} GB of "
            f"pictures, which every machine copies whole; give them smaller shares (data.shares), up to "
            f"{MOST_PACKED / 1e9:g} GB."
        )
    for name in training:
        if count >= SAMPLE:
            break
        chosen.add(name)
        count += len(whole[name])
    head = {place: row for place, row in used.items() if row.identity in chosen}
    return head, {place: used[place] for name in training for place in whole[name]}
