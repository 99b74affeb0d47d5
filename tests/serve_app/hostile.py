"""Requests that nobody means well: whole HTTP requests for /v1/expressions, as many as are asked for, from a seed."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from PIL import Image

from tests.serve_app.samples import bomb, face, png

BOUNDARY = b"x-hostile"
MULTIPART = "multipart/form-data; boundary=" + BOUNDARY.decode()
# A request may be refused in any of these ways, or answered.
ALLOWED = {200, 400, 404, 405, 408, 411, 413, 414, 415, 422, 429, 431, 501, 503}
NAMES = (
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "a\x00b.png",
    "con",
    "/dev/zero",
    "%2e%2e%2f",
    "x" * 5000,
    "face\r\nX: 1",
)


@dataclass
class Hostile:
    """One request: what it is called in a failure, and what is sent."""

    kind: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": MULTIPART})
    method: str = "POST"
    path: str = "/v1/expressions"


def part(name: bytes, content: bytes, filename: bytes | None = None) -> bytes:
    named = b'Content-Disposition: form-data; name="' + name + b'"'
    if filename is not None:
        named += b'; filename="' + filename + b'"'
    return b"--" + BOUNDARY + b"\r\n" + named + b"\r\n\r\n" + content + b"\r\n"


def form(image: bytes, *more: bytes, filename: bytes = b"face.png", aligned: bytes = b"true") -> bytes:
    parts = [part(b"image", image, filename), part(b"aligned", aligned), part(b"expression", b"happy"), *more]
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def hostile(count: int, seed: int) -> Iterator[Hostile]:
    """So many requests, all kinds in turn."""
    chance = random.Random(seed)
    good = png(face())
    for number in range(count):
        yield KINDS[number % len(KINDS)](chance, good)


def _truncated(chance: random.Random, good: bytes) -> Hostile:
    return Hostile("truncated picture", form(good[: chance.randrange(len(good))]))


def _flipped(chance: random.Random, good: bytes) -> Hostile:
    damaged = bytearray(good)
    for _ in range(chance.randrange(1, 20)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return Hostile("damaged picture", form(bytes(damaged)))


def _bomb(chance: random.Random, good: bytes) -> Hostile:
    return Hostile("announces many pixels", form(bomb()))


def _packed(chance: random.Random, good: bytes) -> Hostile:
    """A small file of very many pixels, below the limit by its header and whole."""
    side = chance.choice((1500, 3000))
    buffer = io.BytesIO()
    Image.new("L", (side, side), chance.randrange(256)).save(buffer, "PNG")
    return Hostile("packs many pixels", form(buffer.getvalue()))


def _text_bomb(chance: random.Random, good: bytes) -> Hostile:
    """A chunk of text in a PNG that unpacks to far more than it weighs."""
    content = b"Comment\0\0" + zlib.compress(bytes(30_000_000))
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    return Hostile("unpacks text", form(good[:33] + chunk + good[33:]))


def _polyglot(chance: random.Random, good: bytes) -> Hostile:
    tail = chance.choice((b"PK\x03\x04" + bytes(60), b"<script>alert(1)</script>", b"%PDF-1.7", b"#!/bin/sh\nid\n"))
    return Hostile("picture and something else", form(chance.choice((good + tail, tail + good))))


def _other_format(chance: random.Random, good: bytes) -> Hostile:
    heads = (
        b"GIF89a",
        b"%!PS-Adobe-3.0 EPSF",
        b"II*\x00",
        b"\xff\xd8\xff\xe0",
        b"RIFF\xff\xff\xff\xffWEBP",
        b"P6 9 9 255 ",
        b"BM",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00\x00\x00 ftypavif",
        b"8BPS",
    )
    return Hostile("begins like a format", form(chance.choice(heads) + chance.randbytes(chance.randrange(300))))


def _many_frames(chance: random.Random, good: bytes) -> Hostile:
    frames = [Image.new("P", (64, 64), number % 256) for number in range(200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, chance.choice(("GIF", "TIFF")), save_all=True, append_images=frames[1:])
    return Hostile("many frames", form(buffer.getvalue()))


def _values(chance: random.Random, good: bytes) -> Hostile:
    name = chance.choice((b"expression", b"intensity", b"view", b"format", b"aligned"))
    values = (
        b"",
        b"-1",
        b"1e999",
        b"nan",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"' OR 1=1--",
        b"9" * 5000,
        "\u202eyppah".encode(),
        b"\0",
        b"$(id)",
        b"{{7*7}}",
        b"true\n",
    )
    return Hostile("wrong value", form(good, part(name, chance.choice(values))))


def _names(chance: random.Random, good: bytes) -> Hostile:
    name = chance.choice(NAMES).encode()
    return Hostile("tricks with paths", form(good, part(name, b"1"), filename=name))


def _huge_form(chance: random.Random, good: bytes) -> Hostile:
    many = [part(b"expression", b"happy")] * chance.choice((60, 2000))
    return Hostile("many parts", form(good, *many))


def _huge_field(chance: random.Random, good: bytes) -> Hostile:
    return Hostile("large field", form(good, part(b"expression", b"a" * chance.choice((70_000, 1_000_000)))))


def _broken_form(chance: random.Random, good: bytes) -> Hostile:
    whole = form(good)
    cut = whole[: chance.randrange(len(whole))]
    twisted = (
        whole.replace(b"\r\n", b"\n"),
        whole.replace(b"form-data", b"\xff" * 9),
        cut,
        b"--" * 500,
        chance.randbytes(400),
    )
    return Hostile("broken form", chance.choice(twisted))


def _content_type(chance: random.Random, good: bytes) -> Hostile:
    kinds = (
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="',
        "multipart/form-data; boundary=" + "b" * 300,
        "text/xml",
        "multipart/mixed; boundary=x-hostile",
        "multipart/form-data; boundary=\xff",
    )
    return Hostile("wrong kind of body", form(good), {"content-type": chance.choice(kinds)})


def _headers(chance: random.Random, good: bytes) -> Hostile:
    extra = chance.choice(
        (
            {"x-request-id": "\xff\xfe" * 40},
            {"x-request-id": "a" * 4000},
            {"x-request-timeout-seconds": chance.choice(("-1", "0", "nan", "\xff"))},
            {"x-request-disconnect-disabled": "\xff"},
            {"serve_multiplexed_model_id": "\xff"},
            {"x-session-id": "\xff"},
            {"traceparent": "00-\xff-\xff-00"},
            {"accept": "image/*;q=" + "9" * 500},
            {"content-length": chance.choice(("-1", "1e3", "9" * 40))},
            {"expect": "100-continue"},
            {"host": "../.."},
            {"range": "bytes=0-99999999999"},
            {"authorization": "Bearer \xff"},
            {"cookie": "a=" + "b" * 3000},
        )
    )
    return Hostile(f"header {next(iter(extra))}", form(good), {"content-type": MULTIPART, **extra})


def _paths(chance: random.Random, good: bytes) -> Hostile:
    paths = (
        "/page/../../../etc/passwd",
        "/page/%2e%2e/%2e%2e/app.py",
        "/docs/assets/..%2f..%2f",
        "/v1/model?method=%ff%00",
        "/page/samples/-1.png?size=99999999",
        "/page/samples/1e9.png",
        "//etc/passwd",
        "/v1/expressions/" + "a/" * 900,
        "/page/samples/9999999999999999999999.png?size=64",
        "/%00",
        "/v1/model?" + "a=1&" * 500,
    )
    return Hostile("path", b"", {}, method="GET", path=chance.choice(paths))


def _methods(chance: random.Random, good: bytes) -> Hostile:
    method = chance.choice(("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "BREW"))
    return Hostile(
        f"method {method}", b"", {}, method=method, path=chance.choice(("/v1/expressions", "/v1/model", "/"))
    )


def _good(chance: random.Random, good: bytes) -> Hostile:
    """And one that must be answered in between."""
    return Hostile("good", form(good))


KINDS: tuple[Callable[[random.Random, bytes], Hostile], ...] = (
    _truncated,
    _flipped,
    _bomb,
    _packed,
    _text_bomb,
    _polyglot,
    _other_format,
    _many_frames,
    _values,
    _names,
    _huge_form,
    _huge_field,
    _broken_form,
    _content_type,
    _headers,
    _paths,
    _methods,
    _good,
)
