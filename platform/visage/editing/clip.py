"""A clip with another expression: each frame is aligned by eyes that are smoothed over time.

What a detector says of a face that rests moves by a pixel or so from frame to frame, and the new face would tremble
with it. The eyes' places are therefore averaged over a tenth of a second, which no head outruns, between cuts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.editing import film as films
from visage.editing.expression import Change, Located, View
from visage.editing.film import Film
from visage.editing.many import BATCH
from visage.errors import UserError
from visage.faces.align import Detector, Found, align, one_face

if TYPE_CHECKING:
    from visage.methods.base import Editor
    from visage.methods.requests import Request
    from visage.registry.bundle import Bundle

SMOOTH_SECONDS = 0.08  # of the Gaussian
GAP_SECONDS = 0.5  # so long a face may be out of sight, as behind a hand, and still be followed
JUMP = 0.6  # distances of the eyes between two frames: a cut
Update = Callable[[str, int, int], None]


def edit_clip(clip: Path, out: Path, bundle: "Bundle", request: "Request", change: Change, *, view: View,
              update: Update) -> int:  # fmt: skip
    """Write a clip with what `change` makes of the face in it, and its own sound; returns how many frames are without.

    The face is that of the first frame that shows one, alone or much larger than others, and is followed from there.
    Where none is to be seen, a frame stays as it is. Raises UserError for a clip without a face, or with several at
    first, for one that cannot be read, and where ffmpeg is missing.
    """
    films.check_clip(out)
    if out.resolve() == clip.resolve():
        raise UserError(f"--out {out}: is the clip itself; give another name.")
    film = films.look(clip)
    expected = round(film.seconds * film.rate)
    found = find_eyes(film, Detector(), lambda done: update("finding the face", done, 2 * expected))
    eyes = smoothed(found, float(film.rate))
    facts = bundle.facts
    note = f"A composite with trained algorithmic media, made by Visage {facts.name} {facts.version or facts.run_id}"
    pictures = edited(films.frames(film), eyes, bundle.editor(request), change, view)

    def counted() -> Iterator[np.ndarray]:
        for done, picture in enumerate(pictures, 1):
            update("editing", expected + done, 2 * expected)
            yield picture

    films.write(out, counted(), film, note)
    return int(np.isnan(eyes[:, 0, 0]).sum())


def find_eyes(film: Film, detector: Detector, told: Callable[[int], object] = lambda done: None) -> np.ndarray:
    """float64 N,2,2: the eyes of the face in each frame of a clip, NaN where it is not to be seen. Raises UserError for
    a clip without a face, or where the first frame with one has several."""
    eyes: list[np.ndarray] = []
    last: Found | None = None
    for batch in _batches(films.frames(film)):
        for found in detector.find_all(batch):
            here = _nearest(found, last) if last else one_face(found, str(film.path)) if found else None
            last = here or last
            eyes.append(here.landmarks[:2] if here else np.full((2, 2), np.nan))
        told(len(eyes))
    if last is None:
        raise UserError(f"{film.path}: no face was found; give a clip with one clear frontal face.")
    return np.array(eyes)


def smoothed(eyes: np.ndarray, rate: float) -> np.ndarray:
    """Eyes, N,2,2, of which short gaps are filled, each averaged with those around it between cuts; NaN stays where
    there is no face. rate: frames a second."""
    filled = eyes.copy()
    seen = np.flatnonzero(~np.isnan(eyes[:, 0, 0]))
    for before, after in pairwise(seen):
        if 1 < after - before <= GAP_SECONDS * rate and not _cut(eyes[before], eyes[after]):
            share = np.linspace(0, 1, after - before + 1)[:, None, None]
            filled[before : after + 1] = (1 - share) * eyes[before] + share * eyes[after]
    sigma = SMOOTH_SECONDS * rate
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    there = ~np.isnan(filled[:, 0, 0])
    new = [n for n in range(1, len(filled)) if not (there[n] and there[n - 1]) or _cut(filled[n - 1], filled[n])]
    result = filled.copy()
    for start, end in zip([0, *new], [*new, len(filled)], strict=True):
        part = filled[start:end]
        if not np.isnan(part[0, 0, 0]):
            # At the ends the path goes on as it came, mirrored in its last point, so that a moving face is not held.
            width = min(reach, len(part) - 1)
            ahead, behind = 2 * part[:1] - part[width:0:-1], 2 * part[-1:] - part[-2 : -2 - width : -1]
            longer = np.concatenate([ahead, part, behind])
            middle = weights[reach - width : reach + width + 1]
            windows = np.lib.stride_tricks.sliding_window_view(longer, len(middle), axis=0)
            result[start:end] = windows @ (middle / middle.sum())
    return result


def edited(
    frames: Iterable[np.ndarray], eyes: np.ndarray, editor: "Editor", change: Change, view: View
) -> Iterator[np.ndarray]:
    """Frames with another expression on the face whose eyes they are given with; those without eyes as they are."""
    places, last = iter(eyes), np.zeros((editor.size, editor.size, 3), np.uint8)
    for batch in _batches(frames):
        located = [_located(frame, next(places, None), editor.size) for frame in batch]
        faces = [one.face for one in located if one]
        made = iter(change(editor, np.stack(faces)) if faces else ())
        for frame, one in zip(batch, located, strict=True):
            if one:
                last = one.view(next(made), view)
            yield last if one or view == "face" else frame


def _located(frame: np.ndarray, eyes: "np.ndarray | None", size: int) -> Located | None:
    if eyes is None or np.isnan(eyes[0, 0]):
        return None
    try:
        face, matrix = align(frame, eyes, size)
    except UserError:  # too small to be seen
        return None
    return Located(frame, face, matrix, (0, 0, 0, 0), eyes)


def _nearest(found: Sequence[Found], last: Found) -> Found | None:
    """The face that is the last one a little later, or the only one after a cut; None where neither is sure."""

    def away(face: Found) -> float:
        return float(np.linalg.norm(face.landmarks[:2].mean(0) - last.landmarks[:2].mean(0)))

    near = min(found, key=away, default=None)
    if near and away(near) < last.box[3] - last.box[1]:
        return near
    try:
        return one_face(found, "")
    except UserError:
        return None


def _cut(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether a face has moved further, or grown more, than one does between two frames."""
    apart = float(np.linalg.norm(one[1] - one[0]))
    return float(np.linalg.norm(one - other, axis=1).max()) > JUMP * apart


def _batches(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    remaining = iter(frames)
    while batch := list(islice(remaining, BATCH)):
        yield batch
