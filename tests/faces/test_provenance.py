"""Provenance: written in every format, read back, and hostile notes."""

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visage.errors import UserError
from visage.faces.picture import ENDINGS, encode_picture, write_picture
from visage.faces.provenance import IPTC, NEWSCODES, RDF, VISAGE, Provenance, read_provenance, xmp_packet

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def stamped(ending: str = ".png", xmp: str | None = None) -> bytes:
    return encode_picture(
        PICTURE, ending, xmp=xmp if xmp is not None else xmp_packet("visage-ucgan", 7, "a1b2", "photo")
    )


@pytest.mark.parametrize("ending", sorted(ENDINGS))
@pytest.mark.parametrize(
    ("view", "source_type"),
    [("photo", "compositeWithTrainedAlgorithmicMedia"), ("face", "trainedAlgorithmicMedia")],
)
def test_every_format_carries_it(tmp_path: Path, ending: str, view: Literal["photo", "face"], source_type: str) -> None:
    path = tmp_path / f"out{ending.upper()}"
    write_picture(path, PICTURE, xmp=xmp_packet("visage-ucgan", 7, "a1b2", view))
    assert read_provenance(path) == Provenance("visage-ucgan", "7", "a1b2", source_type)
    with Image.open(path) as image:
        assert image.size == (30, 40)
        assert image.format == ENDINGS[ending][0]


def test_a_reader_that_knows_iptc_alone_finds_its_fields() -> None:
    with Image.open(io.BytesIO(stamped(".jpg"))) as image:
        description = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert description["DigitalSourceType"] == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    )
    assert description["AISystemUsed"] == "Visage visage-ucgan"
    assert description["AISystemVersionUsed"] == "7"


@given(st.text(min_size=1, max_size=50), st.none() | st.integers(0, 10**6), st.text("0123456789abcdef", min_size=1))
def test_any_name_is_read_back_or_made_printable(model: str, version: int | None, run_id: str) -> None:
    # XML has no word for control characters, and such a name is refused when it is registered.
    if not all(each.isprintable() for each in model) or model != model.strip():
        return
    found = read_provenance(stamped(xmp=xmp_packet(model, version, run_id, "face")))
    expected = None if version is None else str(version)
    assert found == Provenance(model, expected, run_id, "trainedAlgorithmicMedia")


def test_a_packet_that_another_program_rewrote_is_read() -> None:
    """With elements in place of attributes, in two descriptions, behind the pixels."""
    xmp = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="{RDF}">
    <r:Description xmlns:v="{VISAGE}"><v:model>m</v:model><v:version> 3 </v:version><v:run_id>r</v:run_id>
    </r:Description>
    <r:Description xmlns:i="{IPTC}"><i:DigitalSourceType>{NEWSCODES}trainedAlgorithmicMedia</i:DigitalSourceType>
    </r:Description></r:RDF></x:xmpmeta>"""
    plain = encode_picture(PICTURE, ".png")
    data = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()
    chunk = struct.pack(">I", len(data)) + b"iTXt" + data + struct.pack(">I", zlib.crc32(b"iTXt" + data))
    behind = plain[:-12] + chunk + plain[-12:]
    assert read_provenance(behind) == Provenance("m", "3", "r", "trainedAlgorithmicMedia")


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_a_picture_without_it_has_none(ending: str) -> None:
    assert read_provenance(encode_picture(PICTURE, ending)) is None
    foreign = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="{RDF}"><r:Description/></r:RDF></x:xmpmeta>'
    assert read_provenance(stamped(ending, foreign)) is None


BILLION = """<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>"""
OUTSIDE = """<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><x>&a;</x>"""


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize(
    "xmp", [BILLION, OUTSIDE, "no XML", "<open>", "<a>" * 3000, '<?xml version="1.0" encoding="none"?><a/>', "\ufffe"]
)
def test_hostile_xmp_is_one_sentence(ending: str, xmp: str) -> None:
    with pytest.raises(UserError, match=r"^the picture: its XMP cannot be read .*\.$") as fault:
        read_provenance(stamped(ending, xmp))
    assert "\n" not in str(fault.value)


def test_a_packet_beyond_measure_is_refused_unread() -> None:
    for ending in (".png", ".webp"):
        with pytest.raises(UserError, match=r"XMP has|damaged picture"):
            read_provenance(stamped(ending, "<a>" + "x" * 2_000_000 + "</a>"))


def test_values_cannot_steer_a_terminal() -> None:
    found = read_provenance(stamped(xmp=xmp_packet("a\u009b31mb\u202ec\nd" + "x" * 500, 1, "r", "face")))
    assert found is not None
    assert found.model.startswith("a?31mb?c")
    assert found.model.isprintable()
    assert len(found.model) == 200


@given(st.binary(max_size=300), st.integers(0, 900), st.sampled_from([".png", ".jpg", ".webp"]))
def test_no_damage_ends_in_anything_but_an_answer_or_a_sentence(junk: bytes, at: int, ending: str) -> None:
    whole = stamped(ending)
    for content in (junk, whole[:at], whole[:at] + junk + whole[at + len(junk) :]):
        with contextlib.suppress(UserError):  # anything else is a traceback for the user
            found = read_provenance(content)
            assert found is None or found.model.isprintable()


def test_a_pipe_is_refused_instead_of_awaited(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="no regular file"):
        read_provenance(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(600_000_000)
    with pytest.raises(UserError, match="600 megabytes"):
        read_provenance(tmp_path / "huge.png")
