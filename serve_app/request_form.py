"""The multipart form of a request: read under a size limit, parsed in memory, checked field by field.

Nothing is spooled to disk, as the usual form parser of the framework would do: a caller's photograph stays in memory.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal, TypeVar, cast

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from serve_app.bodies import pieces
from serve_app.problems import Problem
from visage.editing.expression import INTENSITIES, View, checked_intensity
from visage.errors import UserError

FIELDS = ("image", "expression", "intensity", "mix", "view", "format", "aligned", "face", "version")
TRANSFER_FIELDS = ("image", "driver", "au", "view", "aligned", "face")
AU_EXAMPLE = '{"12": 0.8}'
MIX_EXAMPLE = '{"happy": 0.6, "surprise": 0.5}'
Format = Literal["png", "webp"]
VIEWS = ("face", "photo")
T = TypeVar("T")
PARTS = 64
# Boundaries, headers and the small fields, on top of what the picture may weigh.
FRAMING = 64 * 1024


@dataclass(frozen=True)
class Form:
    """A request for each of the expressions at each of the intensities. `expressions` is empty when all are meant.

    format: png for pictures, webp for one animation from neutral to the one expression at the one intensity. version:
    the model that is asked for, if one is: champion, challenger or a version's number. drivers: the pictures whose
    expressions are asked for, of a request for a transfer; it names none. units: in their place, intensities of action
    units by FACS number; it is not said yet whether the model knows them. face: which of several in the picture,
    counted from 1 on the left. mix: in place of expressions and intensities, how much of each by its name.
    """

    image: bytes
    expressions: tuple[str, ...]
    intensities: tuple[float, ...]
    view: View
    format: Format
    aligned: bool
    version: str | None = None
    drivers: tuple[bytes, ...] = ()
    units: Mapping[int, float] | None = field(default=None, hash=False)
    face: int | None = None
    mix: Mapping[str, float] | None = field(default=None, hash=False)


async def read_form(
    request: Request, megabytes: float, known: Sequence[str] = FIELDS, arrived: Callable[[int], None] = lambda _: None
) -> Form:
    """The request's form, of the `known` fields. arrived: is told of each bytes that come, and may refuse them. Raises
    Problem 415, 413, 400 or 422."""
    boundary = _boundary(request.headers.get("content-type", ""))
    limit = int(megabytes * 1e6)
    too_large = Problem(413, f"The request has more than {megabytes:g} megabytes; make its picture smaller first.")
    body = []
    async for piece in pieces(request, limit + FRAMING, too_large):
        arrived(len(piece))
        body.append(piece)
    fields = _parse(b"".join(body), boundary)
    for name in fields:
        if name not in known:
            raise Problem(422, f"field {name[:40]!r}: is unknown; known are {', '.join(known)}.")
    image, drivers = _single(fields, "image", None), tuple(fields.get("driver", ()))
    if len(image) + sum(map(len, drivers)) > limit:
        raise too_large
    if "driver" in known and bool(drivers) == ("au" in fields):
        if drivers:
            raise Problem(422, "fields driver and au: are both given; send one of them.")
        raise Problem(
            422, f"fields driver and au: are both missing; send a picture of the expression, or au={AU_EXAMPLE}."
        )

    def text(name: str, default: bytes = b"") -> str:
        return _text(name, _single(fields, name, default))

    form = Form(
        image=image,
        expressions=_distinct(_text("expression", value) for value in fields.get("expression", ())),
        intensities=_distinct(intensity(_text("intensity", value)) for value in fields.get("intensity", [b"1"])),
        view=cast(View, choice("view", text("view", b"face"), VIEWS)),
        format=cast(Format, choice("format", text("format", b"png"), ("png", "webp"))),
        aligned=choice("aligned", text("aligned", b"false"), ("true", "false")) == "true",
        version=text("version") or None,
        drivers=drivers,
        units=_units(text("au")) if "au" in fields else None,
        face=_face(text("face")) if "face" in fields else None,
        mix=_mix(text("mix")) if "mix" in fields else None,
    )
    if form.mix is not None and ("expression" in fields or "intensity" in fields):
        raise Problem(422, "field mix: names expressions and how much of each; leave expression and intensity out.")
    if form.face is not None and form.aligned:
        raise Problem(422, "field face: is for photographs, and aligned is true; leave one of them out.")
    if form.format == "webp" and form.mix is None and (len(form.expressions), len(form.intensities)) != (1, 1):
        raise Problem(422, "format = 'webp': is one animation; give one expression and one intensity.")
    return form


def _distinct(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        given = content_type[:80] or "none"
        raise Problem(415, f"Content-Type {given}: send multipart/form-data with the picture in the field image.")
    return boundary


def _parse(body: bytes, boundary: bytes) -> dict[str, list[bytes]]:
    """All parts by their names. Raises Problem 400 for a body that is no whole form."""
    fields: dict[str, list[bytes]] = {}
    complete = False

    def keep(name: bytes | None, content: bytes | None) -> None:
        if sum(map(len, fields.values())) == PARTS:
            raise Problem(400, f"The form has more than {PARTS} parts; ask in several requests.")
        fields.setdefault((name or b"").decode("utf-8", "replace"), []).append(content or b"")

    def end() -> None:
        nonlocal complete
        complete = True

    try:
        parser = FormParser(
            "multipart/form-data",
            lambda field: keep(field.field_name, field.value),
            lambda file: keep(file.field_name, cast(BytesIO, file.file_object).getvalue()),
            end,
            boundary,
            config={"MAX_MEMORY_FILE_SIZE": math.inf},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:  # of a boundary that is too long, too
        complete = False
    if not complete:
        raise Problem(400, "The body is no whole form; send it complete, each part named, with its closing boundary.")
    return fields


def _single(fields: dict[str, list[bytes]], name: str, default: bytes | None) -> bytes:
    values = fields.get(name, [])
    if len(values) > 1:
        raise Problem(422, f"field {name}: is given {len(values)} times; give it once.")
    if values:
        return values[0]
    if default is None:
        raise Problem(422, f"field {name}: is missing; send the picture in it.")
    return default


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise Problem(422, f"field {name}: is no UTF-8 text; send text.") from None


def choice(name: str, text: str, choices: Iterable[str]) -> str:
    """The text, if it is one of the choices. Raises Problem 422."""
    if text not in choices:
        raise Problem(422, f"{name} = {text[:40]!r}: choose one of {', '.join(choices)}.")
    return text


def _pairs(name: str, text: str, example: str) -> tuple[tuple[str, object], ...]:
    """What a JSON object says, in order; a dict would keep the last of two values."""
    try:
        tree = json.loads(text, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, tuple):
        raise Problem(422, f"{name} = {text[:40]!r}: is no JSON object; send one such as {example}.")
    return tree


def _mix(text: str) -> dict[str, float]:
    """How much of each expression, of a JSON object: each from 0, together at most what one may have."""
    found = dict[str, float]()
    for name, value in _pairs("mix", text, MIX_EXAMPLE):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= INTENSITIES[1]:
            raise Problem(422, f"mix: {name[:40]!r} has no intensity from 0 to 1.5; send such as {MIX_EXAMPLE}.")
        if name in found:
            raise Problem(422, f"mix: {name[:40]!r} is given twice; give it once.")
        found[name] = float(value)
    if not found or sum(found.values()) > INTENSITIES[1] + 1e-9:
        raise Problem(
            422, f"mix = {text[:40]!r}: has no expression, or more than 1.5 together; send such as {MIX_EXAMPLE}."
        )
    return found


def _face(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 4 and int(text)):
        raise Problem(422, f"face = {text[:40]!r}: is no number of a face; count them from 1 on the left.")
    return int(text)


def _units(text: str) -> dict[int, float]:
    """Intensities by FACS number, of a JSON object."""
    found = dict[int, float]()
    for number, value in _pairs("au", text, AU_EXAMPLE):
        if not (number.isascii() and number.isdecimal() and len(number) < 3):
            raise Problem(422, f"au: {number[:40]!r} is no FACS number of an action unit; send such as {AU_EXAMPLE}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
            raise Problem(422, f"au: unit {number} has no intensity from 0 to 1; send such as {AU_EXAMPLE}.")
        if int(number) in found:
            raise Problem(422, f"au: unit {number} is given twice; give it once.")
        found[int(number)] = value
    return found


def intensity(text: str) -> float:
    """Raises Problem 422 for what is no intensity."""
    try:
        return checked_intensity(float(text))
    except ValueError:
        raise Problem(422, f"intensity = {text[:40]!r}: is no number; give one from 0 to 1.5.") from None
    except UserError as error:
        raise Problem(422, str(error)) from None
