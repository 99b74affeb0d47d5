"""Editing: from a picture to the same face with another expression. One road for `visage edit` and the endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from visage.errors import UserError
from visage.faces import align as alignment
from visage.faces.picture import check_animation, check_ending, encode_animation, read_picture, write_picture
from visage.faces.provenance import xmp_packet
from visage.infra.files import write_whole
from visage.methods.requests import EXPRESSION
from visage.registry.bundle import Bundle

View = Literal["face", "photo"]
INTENSITIES = (0.0, 1.5)
FRAMES = 12  # of an animation


@dataclass(frozen=True)
class Located:
    """A picture and its aligned face: photo uint8 H,W,3; face uint8 S,S,3; matrix 2,3 from photo to face.

    box (x0, y0, x1, y1) and landmarks n,2 in the photo's pixels.
    """

    photo: np.ndarray
    face: np.ndarray
    matrix: np.ndarray
    box: tuple[float, float, float, float]
    landmarks: np.ndarray

    def view(self, face: np.ndarray, view: View) -> np.ndarray:
        """The edited face itself, or the whole photograph with it blended in."""
        if view == "face":
            return face
        return alignment.paste_back(self.photo, face, self.matrix, self.face)


def locate(
    photo: np.ndarray, size: int, found: Sequence[alignment.Found] | None, origin: str, face: int | None = None
) -> Located:
    """Align the one face of a picture, uint8 H,W,3, to size,size. found: the faces in it; None says that the picture
    is an aligned face already. face: which of several, counted from 1 on the left. Raises UserError, naming the picture
    by `origin`, for no face or several, and for an aligned face that is not square.
    """
    if found is not None:
        one = alignment.one_face(found, origin, face)
        aligned, matrix = alignment.align(photo, one.landmarks, size)
        return Located(photo, aligned, matrix, one.box, one.landmarks)
    height, width = photo.shape[:2]
    if height != width:
        raise UserError(not_square(origin, width, height))
    aligned = photo
    if width != size:
        aligned = np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))
    scale = size / width
    eyes = np.asarray(alignment.EYES) * width
    return Located(photo, aligned, np.array([[scale, 0, 0], [0, scale, 0]]), (0.0, 0.0, width, height), eyes)


def not_square(origin: str, width: int, height: int) -> str:
    return f"{origin}: is {width} x {height} pixels and an aligned face is square; send it unaligned."


def expression_index(expressions: Sequence[str], expression: str) -> int:
    """The place of a name among a model's expressions. Raises UserError that lists them."""
    try:
        return list(expressions).index(expression)
    except ValueError:
        raise UserError(
            f"expression {expression}: is unknown to the model; choose one of {', '.join(expressions)}."
        ) from None


def checked_intensity(intensity: float) -> float:
    """The intensity, if it lies in INTENSITIES; else UserError."""
    low, high = INTENSITIES
    if not low <= intensity <= high:
        raise UserError(f"intensity {intensity:g}: is outside {low:g} to {high:g}; choose a value within.")
    return intensity


def on_the_way(intensity: float) -> list[float]:
    """The intensities of an animation's pictures: from neutral to `intensity`."""
    return [intensity * frame / (FRAMES - 1) for frame in range(FRAMES)]


def edit(
    photo: Path, out: Path, bundle: Bundle, expression: str, *, intensity: float = 1.0, view: View = "photo",
    aligned: bool = False, animation: bool = False, face: int | None = None,
) -> None:  # fmt: skip
    """Write the picture at `photo` with another expression to `out` (.png, .jpg, .jpeg or .webp).

    The file says what made it: see `faces.provenance`. view: the whole photograph with the new face blended in, or the
    aligned face alone. animation: from neutral to the expression, as a WebP. face: which of several, counted from 1 on
    the left. Raises UserError for a picture, expression, intensity or path that does not do.
    """
    check_ending(out)
    if animation:
        check_animation(out)
    index = expression_index(bundle.card.expressions, expression)
    checked_intensity(intensity)
    picture = read_picture(photo)
    editor = bundle.editor(EXPRESSION)
    located = locate(picture, editor.size, None if aligned else alignment.Detector().find(picture), str(photo), face)
    shares = on_the_way(intensity) if animation else [intensity]
    edited = editor.run(np.stack([located.face]), [0] * len(shares), [index] * len(shares), shares)
    facts = bundle.facts
    xmp = xmp_packet(facts.name, facts.version, facts.run_id, view)
    pictures = (located.view(made, view) for made in edited.faces)
    if animation:
        write_whole(out, encode_animation(pictures, xmp=xmp))
    else:
        write_picture(out, next(pictures), xmp=xmp)
