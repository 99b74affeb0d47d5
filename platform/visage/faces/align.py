"""Where the face is: detection, alignment on the eyes, and the way back into the photograph.

Coordinates are continuous: pixel i covers [i, i + 1), x to the right, y down. Of two eyes the image-left one is first.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from visage.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

# Pupils in an aligned face, as shares of its side. Eyes alone, as a smile moves all else.
EYES = ((0.34, 0.40), (0.66, 0.40))
# The ellipse from the brows to below the lips: centre and radii, as shares of the side.
INNER_CENTRE, INNER_RADII = (0.5, 0.57), (0.30, 0.35)
# What paste_back may change: the whole head without the corners, for a smile moves cheeks and jaw.
PASTE_CENTRE, PASTE_RADII = (0.5, 0.57), (0.43, 0.43)

CONFIDENT = 0.95
DETECTION_SIDES = (320, 640)
SMALLEST_FACE = 40
# A second face is a ghost or a passer-by below this share of the largest one's height.
GHOST = 0.35


def inner_face_mask(size: int) -> np.ndarray:
    """float32 size,size in 0..1: 1 on the inner face, 0 outside its ellipse, smooth between."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return _soft_ellipse(centres[None, :], centres[:, None], INNER_CENTRE, INNER_RADII)


@dataclass(frozen=True)
class Found:
    """A face in a picture: box (x0, y0, x1, y1) and landmarks 5,2 (eyes, nose, mouth corners) in its pixels."""

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float


class Detector:
    """MTCNN, whose weights come with its package. Loaded when constructed; one for each process or thread."""

    def __init__(self) -> None:
        import torch
        from facenet_pytorch import MTCNN

        self._mtcnn = MTCNN(keep_all=True, post_process=False, min_face_size=SMALLEST_FACE, device="cpu")
        for net in (self._mtcnn.pnet, self._mtcnn.rnet, self._mtcnn.onet):
            net.to(memory_format=torch.channels_last).register_forward_pre_hook(_channels_last)

    def find(self, picture: np.ndarray) -> "list[Found]":
        """Faces in a uint8 H,W,3 picture, the largest first; an empty list when there is none.

        The search runs on a copy whose long side is 320 to 640 px, so a face below about 1/16 of it is not seen.
        """
        return self.find_all([picture])[0]

    def find_all(self, pictures: "Sequence[np.ndarray]") -> "list[list[Found]]":
        """As `find` for each picture; those of one size are searched together, which is faster.

        Landmarks differ from those of a picture by itself by less than 0.001 pixels.
        """
        together: dict[tuple[int, int], list[int]] = {}
        for place, picture in enumerate(pictures):
            side = _searched(*picture.shape[:2])
            if min(side) >= SMALLEST_FACE:
                together.setdefault(side, []).append(place)
        found: list[list[Found]] = [[] for _ in pictures]
        for side, places in together.items():
            images = [Image.fromarray(pictures[k]).resize(side, Image.Resampling.BILINEAR) for k in places]
            for place, boxes, scores, points in zip(places, *self._detected(images), strict=True):
                height, width = pictures[place].shape[:2]
                found[place] = _found(boxes, scores, points, np.array([width / side[0], height / side[1]]))
        return found

    def _detected(self, images: "Sequence[Image.Image]") -> "tuple[Sequence[Any], ...]":
        """Boxes, scores and landmarks of images of one size; None of one without a face."""
        import torch

        try:
            with torch.inference_mode():
                return self._mtcnn.detect(_planar(images), landmarks=True)
        except (RuntimeError, IndexError):  # its package trips over boxes that leave the picture
            if len(images) == 1:
                return ([None],) * 3
            alone = [self._detected([image]) for image in images]
            return tuple([each[part][0] for each in alone] for part in range(3))


def _channels_last(net: "nn.Module", inputs: "tuple[Tensor]") -> "tuple[Tensor]":
    """Pooling takes a third of the time in this order of memory, and pooling is most of what the networks do."""
    import torch

    return (inputs[0].contiguous(memory_format=torch.channels_last),)


def _planar(images: "Sequence[Image.Image]") -> "Tensor":
    """float32 N,H,W,3 whose colours lie one after the other, which are the fastest to make smaller copies of."""
    import torch

    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.permute(0, 2, 3, 1)


def _searched(height: int, width: int) -> tuple[int, int]:
    """Width and height of the copy that is searched."""
    low, high = DETECTION_SIDES
    scale = min(1.0, high / max(height, width)) * max(1.0, low / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _found(boxes: "Any", scores: "Any", points: "Any", back: np.ndarray) -> "list[Found]":
    """What MTCNN says of one picture, in the picture's own pixels."""
    if boxes is None:
        return []
    found = [
        Found(tuple((np.reshape(box, (2, 2)).astype(float) * back).ravel()), np.asarray(five, float) * back, float(p))
        for box, p, five in zip(boxes, scores, points, strict=True)
        if p >= CONFIDENT
    ]
    return sorted(found, key=_height, reverse=True)


class SeveralFaces(UserError):
    """A picture with more than one face, and nobody said which. faces: from left to right."""

    def __init__(self, origin: str, faces: "Sequence[Found]") -> None:
        self.origin, self.faces = origin, faces
        super().__init__(f"{origin}: {len(faces)} faces were found; crop it to the one that is meant.")


def one_face(found: "Sequence[Found]", origin: str, place: int | None = None) -> Found:
    """The one face of a picture called `origin`; much smaller ones beside it are passed over.

    place: which of several, counted from 1 on the left. Raises UserError when there is none, and SeveralFaces when
    there are several and none is named.
    """
    if not found:
        raise UserError(f"{origin}: no face was found; give a picture with one clear frontal face.")
    largest = max(found, key=_height)
    real = [face for face in found if _height(face) >= GHOST * _height(largest)]
    real.sort(key=lambda face: face.box)
    if place is not None and place > len(real):
        raise UserError(f"{origin}: has {len(real)} faces and none of number {place}; count them from 1 on the left.")
    if place is None and len(real) > 1:
        raise SeveralFaces(origin, real)
    return real[(place or 1) - 1]


def align(picture: np.ndarray, landmarks: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn, shift and scale so that the first two landmarks, the eyes, fall on EYES.

    `picture`: uint8 H,W,3; `landmarks`: n,2 with n >= 2, in its pixels. Returns the face, uint8 size,size,3, and the
    matrix, float64 2,3, from picture to face coordinates. Beyond the border the picture's edge goes on. Raises
    UserError when the eyes are less than two pixels apart.
    """
    matrix = _on_eyes(landmarks, size)
    return _resample(picture, matrix, (0, 0, size, size)), matrix


def paste_back(
    picture: np.ndarray, face: np.ndarray, matrix: np.ndarray, original_face: np.ndarray | None = None
) -> np.ndarray:
    """The picture with a changed aligned face blended in; outside the mask every pixel is the picture's own.

    `picture`: uint8 H,W,3; `face`: uint8 S,S,3; `matrix`: as `align` gave it for the side S; `original_face`: what
    `align` cut out, computed when not given. Where the face is as it was, the photograph's own detail stays; where it
    changed, the new face replaces it; a shift of colour at the mask's rim is taken out of the whole.
    """
    size = face.shape[0]
    original = _resample(picture, matrix, (0, 0, size, size)) if original_face is None else original_face
    change = face.astype(np.float32) - original
    change -= np.median(change[_rim(size)], axis=0)

    inverse = _inverse(matrix)
    limit = (picture.shape[1], picture.shape[0])
    x0, y0, x1, y1 = window = tuple(
        int(edge) for edges in _image_of(inverse, (0, 0, size, size)) for edge in np.clip(edges, 0, limit)
    )
    if x0 >= x1 or y0 >= y1:
        return picture.copy()
    new = _resample(change + original, inverse, window)
    change = _resample(change, inverse, window)
    # 4 to 16 levels of change: below it is the network's noise, above it is meant.
    amount = np.abs(change).max(axis=2)
    replaced = _smooth(np.clip((amount - 4) / 12, 0, 1))[..., None]
    x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    u, v = np.einsum("ij,jhw->ihw", matrix / size, np.stack([x, y, np.ones_like(x)]))
    mask = _soft_ellipse(u, v, PASTE_CENTRE, PASTE_RADII)[..., None]

    pasted = picture.copy()
    part = picture[y0:y1, x0:x1].astype(np.float32)
    blended = part + mask * (replaced * (new - part) + (1 - replaced) * change)
    pasted[y0:y1, x0:x1] = np.where(mask > 0, np.clip(blended + 0.5, 0, 255).astype(np.uint8), pasted[y0:y1, x0:x1])
    return pasted


def _on_eyes(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The similarity, 2,3, that takes the first two landmarks to EYES of a face of this side."""
    left, right = (complex(x, y) for x, y in landmarks[:2])
    if abs(right - left) < 2:
        raise UserError(f"the eyes are {abs(right - left):.1f} pixels apart; give a picture with a larger face.")
    to_left, to_right = (complex(x * size, y * size) for x, y in EYES)
    turn = (to_right - to_left) / (right - left)
    shift = to_left - turn * left
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _inverse(matrix: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def _image_of(matrix: np.ndarray, window: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the upper corner, 2 each, of the box of whole pixels around the image of `window`."""
    x0, y0, x1, y1 = window
    corners = matrix @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]], float)
    return np.floor(corners.min(axis=1)), np.ceil(corners.max(axis=1))


def _resample(pixels: np.ndarray, matrix: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    """`pixels` H,W,3 (uint8, or float32) under a similarity `matrix`, seen in `window` of the target; bicubic.

    When the similarity shrinks, the source is reduced first with an antialiasing filter.
    """
    x0, y0, x1, y1 = window
    inverse = _inverse(matrix)
    scale = min(1.0, float(np.hypot(*matrix[:, 0])))
    margin = int(np.ceil(4 / scale))
    low, high = (edges.astype(int) for edges in _image_of(inverse, window))
    low, high = low - margin, high + margin
    rows = np.clip(np.arange(low[1], high[1]), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(low[0], high[0]), 0, pixels.shape[1] - 1)
    source = pixels[rows[:, None], columns]
    reduced = (max(1, round(len(columns) * scale)), max(1, round(len(rows) * scale)))
    ratio = np.array([reduced[0] / len(columns), reduced[1] / len(rows)])
    offset = inverse @ np.array([x0, y0, 1.0]) - low
    affine = np.column_stack([inverse[:, :2], offset]) * ratio[:, None]

    def warped(image: Image.Image) -> np.ndarray:
        if scale < 1:
            image = image.resize(reduced, Image.Resampling.BICUBIC)
        data: Any = tuple(affine.ravel())
        return np.asarray(image.transform((x1 - x0, y1 - y0), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC))

    if source.dtype == np.uint8:
        return warped(Image.fromarray(source, "RGB"))
    return np.stack([warped(Image.fromarray(source[..., channel], "F")) for channel in range(3)], axis=2)


def _rim(size: int) -> np.ndarray:
    """bool size,size: the ring just inside the paste mask's edge, where nothing should have changed."""
    centres = (np.arange(size) + 0.5) / size
    mask = _soft_ellipse(centres[None, :], centres[:, None], PASTE_CENTRE, PASTE_RADII)
    return (mask > 0) & (mask < 0.5)


def _soft_ellipse(x: Any, y: Any, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """float32: 0 on and outside the ellipse, 1 within four fifths of it; x, y as shares of the side."""
    distance = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    return _smooth(np.clip((1 - distance) / 0.2, 0, 1)).astype(np.float32)


def _smooth(t: np.ndarray) -> np.ndarray:
    return t * t * (3 - 2 * t)


def _height(face: Found) -> float:
    return face.box[3] - face.box[1]
