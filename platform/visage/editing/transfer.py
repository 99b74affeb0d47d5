"""Transfer: the expression of one picture's face on another's, or action units in its place. One road for `visage
transfer` and the endpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from visage.editing.expression import View, locate
from visage.faces import align as alignment
from visage.faces.picture import check_ending, read_picture, write_picture
from visage.faces.provenance import xmp_packet
from visage.methods.requests import DRIVER
from visage.registry.bundle import Bundle


def transfer(
    photo: Path, drivers: Sequence[Path], outs: Sequence[Path], bundle: Bundle, *, view: View = "photo",
    aligned: bool = False, face: int | None = None,
) -> None:  # fmt: skip
    """Write the picture at `photo` with the expression of each driver's face to the file of the same place in `outs`.

    One face in every picture, or in `photo` that of number `face`; view, aligned, face and endings as for `edit`.
    Raises UserError, naming the picture, for one without a face or with several, and for a bundle of another method.
    """
    _carry(photo, drivers, outs, bundle, None, view, aligned, face)


def tell(
    photo: Path, units: Mapping[int, float], out: Path, bundle: Bundle, *, view: View = "photo", aligned: bool = False,
    face: int | None = None,
) -> None:  # fmt: skip
    """Write the picture at `photo` with these action units, by FACS number, to `out`; what is not named stays.

    view, aligned and face as for `edit`. Raises UserError as for other edits, and for a unit that the model does not
    know or an intensity outside 0..1.
    """
    _carry(photo, [], [out], bundle, units, view, aligned, face)


def _carry(
    photo: Path, drivers: Sequence[Path], outs: Sequence[Path], bundle: Bundle, units: Mapping[int, float] | None,
    view: View, aligned: bool, face: int | None,
) -> None:  # fmt: skip
    for out in outs:
        check_ending(out)
    editor = bundle.editor(DRIVER)
    asked = None if units is None else editor.asked(units)[None]
    pictures = [read_picture(one) for one in (photo, *drivers)]
    found = [None] * len(pictures) if aligned else alignment.Detector().find_all(pictures)
    source, *driving = (
        locate(picture, editor.size, faces, str(one), None if place else face)
        for place, (one, picture, faces) in enumerate(zip((photo, *drivers), pictures, found, strict=True))
    )
    faces = np.stack([one.face for one in (source, *driving)])
    results = editor.run(faces, [0] * len(outs), range(1, len(faces)) if drivers else [0], units=asked).faces
    facts = bundle.facts
    xmp = xmp_packet(facts.name, facts.version, facts.run_id, view)
    for out, made in zip(outs, results, strict=True):
        write_picture(out, source.view(made, view), xmp=xmp)
