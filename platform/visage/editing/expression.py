"""Editing: from a picture to the same face with another expression. One road for the commands and the endpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from visage.errors import UserError
from visage.faces import align as alignment
from visage.faces.picture import encode_animation, read_picture, write_picture
from visage.faces.provenance import xmp_packet
from visage.infra.files import write_whole

if TYPE_CHECKING:
    from visage.methods.base import Editor
    from visage.registry.bundle import Bundle

View = Literal["face", "photo"]
INTENSITIES = (0.0, 1.5)
FRAMES = 12  # of an animation
# Aligned faces, uint8 N,S,S,3, to K pictures of each, uint8 N*K,S,S,3: those of the first face first.
Change = Callable[["Editor", np.ndarray], np.ndarray]


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


def locate_all(photos: Sequence[Path], size: int, face: int | None = None) -> list[Located]:
    """The one face of each of some photographs; `face` says which of the first one's. Raises UserError as `locate`."""
    pictures = [read_picture(photo) for photo in photos]
    found = alignment.Detector().find_all(pictures)
    return [
        locate(picture, size, faces, str(photo), None if place else face)
        for place, (photo, picture, faces) in enumerate(zip(photos, pictures, found, strict=True))
    ]


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


def to_expression(expressions: Sequence[str], expression: str, intensity: float, animation: bool) -> Change:
    """An expression by its name, or all pictures on the way to it. Raises UserError for what the model, which knows
    `expressions`, cannot be asked."""
    index = expression_index(expressions, expression)
    shares = on_the_way(checked_intensity(intensity)) if animation else [checked_intensity(intensity)]

    def change(editor: "Editor", faces: np.ndarray) -> np.ndarray:
        source = np.repeat(np.arange(len(faces)), len(shares))
        return editor.run(faces, source.tolist(), [index] * len(source), shares * len(faces)).faces

    return change


def to_drivers(drivers: Sequence[Located]) -> Change:
    """The expression of each of K other faces."""

    def change(editor: "Editor", faces: np.ndarray) -> np.ndarray:
        count, others = len(faces), [one.face for one in drivers]
        source, driver = np.indices((count, len(others))).reshape(2, -1)
        return editor.run(np.stack([*faces, *others]), source.tolist(), (count + driver).tolist()).faces

    return change


def to_units(units: Mapping[int, float], editor: "Editor") -> Change:
    """Action units by FACS number; what is not named stays. Raises UserError for those that the model does not know,
    and for an intensity outside 0..1."""
    asked = editor.asked(units)

    def change(editor: "Editor", faces: np.ndarray) -> np.ndarray:
        each = range(len(faces))
        return editor.run(faces, each, each, units=np.tile(asked, (len(faces), 1))).faces

    return change


def edit(
    photo: Path, outs: Sequence[Path], bundle: "Bundle", editor: "Editor", change: Change | None = None, *,
    drivers: Sequence[Path] = (), view: View = "photo", face: int | None = None,
) -> None:  # fmt: skip
    """Write what `change` makes of the face in a photograph, or the expression of each driver's face on it, to `outs`.

    editor: the bundle's, for the kind of change. view: the whole photograph with the new face blended in, or the
    aligned face alone. face: which of several, counted from 1 on the left; a driver has one. Endings as for
    `write_edited`. Raises UserError, which names the picture, for one without a face or with several.
    """
    source, *driving = locate_all([photo, *drivers], editor.size, face)
    change = change or to_drivers(driving)
    made = change(editor, source.face[None])
    for out, faces in zip(outs, made.reshape(len(outs), -1, *made.shape[1:]), strict=True):
        write_edited(out, source, faces, bundle, view)


def write_edited(out: Path, source: Located, faces: np.ndarray, bundle: "Bundle", view: View) -> None:
    """Write what was made of a face, uint8 K,S,S,3, to `out`: one picture (.png, .jpg, .jpeg or .webp), or several as
    an animation (.webp). The file says what made it, see `faces.provenance`. Raises NotWritten."""
    facts, pictures = bundle.facts, [source.view(face, view) for face in faces]
    xmp = xmp_packet(facts.name, facts.version, facts.run_id, view)
    if len(pictures) > 1:
        write_whole(out, encode_animation(pictures, xmp=xmp))
    else:
        write_picture(out, pictures[0], xmp=xmp)
