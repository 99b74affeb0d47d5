"""Provenance: the note in a generated picture, as XMP, that says what made it, and the way to read it back.

It is a note and no proof: anyone can write it, and many programs remove it when they save a picture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import quoteattr

from visage.errors import UserError, one_line
from visage.faces.picture import MEGAPIXELS, content_of, name_of, opened

# The terms of IPTC's NewsCodes for a photograph of which a part is generated, and for a picture that is so as a whole.
SOURCE_TYPES = {"photo": "compositeWithTrainedAlgorithmicMedia", "face": "trainedAlgorithmicMedia"}
NEWSCODES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
VISAGE = "urn:visage:provenance:1/"
LARGEST_PACKET = 1_000_000  # bytes; ours has 1 KB
LONGEST_VALUE = 200


@dataclass(frozen=True)
class Provenance:
    """What a picture says of itself. version: None for a model that no registry gave. source_type: IPTC's term."""

    model: str
    version: str | None
    run_id: str
    source_type: str


def xmp_packet(model: str, version: int | None, run_id: str, view: Literal["face", "photo"]) -> str:
    """The XMP packet of a picture that `model` made: a photograph with a new face in it, or a face alone.

    Model and version stand in it twice, as IPTC's "AI system used" too, for programs that do not know Visage.
    """
    fields = {
        "Iptc4xmpExt:DigitalSourceType": NEWSCODES + SOURCE_TYPES[view],
        "Iptc4xmpExt:AISystemUsed": f"Visage {model}",
        "visage:model": model,
        "visage:run_id": run_id,
    }
    if version is not None:
        fields |= {"Iptc4xmpExt:AISystemVersionUsed": str(version), "visage:version": str(version)}
    attributes = "".join(f"\n   {name}={quoteattr(value)}" for name, value in fields.items())
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC}" xmlns:visage="{VISAGE}"{attributes}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def read_provenance(data: bytes | Path) -> Provenance | None:
    """What a picture says of itself, or None where it carries nothing of Visage's.

    Values come without unprintable characters and cut at LONGEST_VALUE, as anyone can have written them. Raises
    UserError for what is no usable picture, and for XMP that cannot be read.
    """
    name = name_of(data)
    packet = _packet(content_of(data, name), name)
    if packet is None:
        return None
    values = _values(packet, name)
    if not {"model", "run_id", "DigitalSourceType"} <= values.keys():
        return None
    source_type = values["DigitalSourceType"].removeprefix(NEWSCODES)
    return Provenance(values["model"], values.get("version"), values["run_id"], source_type)


def _packet(content: bytes, name: str) -> bytes | None:
    with opened(content, MEGAPIXELS, name) as image:
        if image.format == "PNG" and "xmp" not in image.info:
            image.load()  # some programs write it behind the pixels
        packet = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    if not isinstance(packet, bytes) or not packet.strip(b"\0 \n"):
        return None
    if len(packet) > LARGEST_PACKET:
        raise UserError(f"{name}: its XMP has {len(packet)} bytes; give a picture with less than {LARGEST_PACKET}.")
    return packet.rstrip(b"\0")


def _values(packet: bytes, name: str) -> dict[str, str]:
    """The properties of interest by their names; a program that rewrote the packet may have made elements of them."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(packet, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise UserError(
            f"{name}: its XMP cannot be read ({one_line(error)}); give the picture as it was made."
        ) from None
    keys = {f"{{{IPTC}}}DigitalSourceType": "DigitalSourceType"}
    keys |= {f"{{{VISAGE}}}{key}": key for key in ("model", "version", "run_id")}
    values: dict[str, str] = {}
    for description in root.iter(f"{{{RDF}}}Description"):
        found = dict(description.attrib) | {child.tag: child.text or "" for child in description}
        values |= {keys[key]: _printable(value) for key, value in found.items() if key in keys}
    return values


def _printable(value: str) -> str:
    """A foreign value without what could steer a terminal."""
    return "".join(each if each.isprintable() else "?" for each in value.strip())[:LONGEST_VALUE]
