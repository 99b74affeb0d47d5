"""Editing: from a picture to the same face with another expression. One road for `visage edit` and the endpoint."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from visage.errors import UserError
from visage.faces import align as alignment
from visage.faces.picture import check_animation, check_ending, encode_animation, read_picture, write_picture
from visage.faces.provenance import xmp_packet
from visage.infra.files import write_whole
from visage.models.condition import conditions
from visage.models.pixels import as_input, as_pixels
from visage.models.precision import uses_bfloat16

if TYPE_CHECKING:
    from visage.registry.bundle import Bundle

View = Literal["face", "photo"]
INTENSITIES = (0.0, 1.5)
FRAMES = 12  # of an animation
logger = logging.getLogger(__name__)


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


def locate(photo: np.ndarray, size: int, detector: alignment.Detector | None, origin: str) -> Located:
    """Find the one face of a picture, uint8 H,W,3, and align it to size,size. Without a detector the picture is an
    aligned face already. Raises UserError, naming the picture by `origin`, for no face or several, and for an
    aligned face that is not square.
    """
    if detector is not None:
        found = alignment.one_face(detector.find(photo), origin)
        face, matrix = alignment.align(photo, found.landmarks, size)
        return Located(photo, face, matrix, found.box, found.landmarks)
    height, width = photo.shape[:2]
    if height != width:
        raise UserError(not_square(origin, width, height))
    face = photo
    if width != size:
        face = np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))
    scale = size / width
    eyes = np.asarray(alignment.EYES) * width
    return Located(photo, face, np.array([[scale, 0, 0], [0, scale, 0]]), (0.0, 0.0, width, height), eyes)


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


@dataclass(frozen=True)
class Edited:
    """Faces uint8 N,S,S,3; of each, where it was asked for, the cosine of its identity to the input's (-1..1), the
    probability of its expression (0..1) and how natural its mouth is (0..1); NaN elsewhere. units: of a transfer,
    float32 N,U, the action units (0..1) that the model reads in each driver's face."""

    faces: np.ndarray
    similarity: np.ndarray
    confidence: np.ndarray
    natural: np.ndarray
    units: np.ndarray | None = None

    def take(self, part: slice) -> "Edited":
        """Some of them."""
        units = None if self.units is None else self.units[part]
        return Edited(self.faces[part], self.similarity[part], self.confidence[part], self.natural[part], units)


class Editor:
    """A bundle's networks, ready to answer. One for each thread.

    On CUDA and on CPUs that compute in it the generator runs in bfloat16, unless its faces then differ by more than a
    level of 255 on average.
    """

    def __init__(self, bundle: "Bundle", *, self_check: bool = False, device: str = "cpu") -> None:
        bundle.require("ucgan")
        self.device = torch.device(device)
        network = bundle.generator().to(self.device).eval().requires_grad_(False)
        self.size: int = network.size
        self.expressions: tuple[str, ...] = bundle.card.expressions
        self._network, self._format = self._fastest(network)
        self._encoder: torch.nn.Module | None = None
        self._classifier: torch.nn.Module | None = None
        natural = bundle.natural() if self_check else None
        self._natural = natural and natural.to(self.device)
        if self_check:
            encoder, classifier = bundle.self_check()[:2]
            self._encoder = encoder.to(self.device).eval().requires_grad_(False)
            self._classifier = classifier.to(self.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def run(
        self, faces: np.ndarray, source: Sequence[int], expression: Sequence[int], intensity: Sequence[float],
        check: Sequence[bool] | None = None,
    ) -> Edited:  # fmt: skip
        """One forward pass. faces: uint8 M,S,S,3. Output n shows face source[n] with expression[n] at intensity[n];
        where check[n] is set its self-check values come with it (default: nowhere).
        """
        inputs = as_input(torch.tensor(faces, device=self.device).permute(0, 3, 1, 2))
        index = torch.as_tensor(source, device=self.device)
        target = torch.as_tensor(expression, device=self.device)
        condition = conditions(self.expressions, target, torch.as_tensor(intensity))
        outputs = self._forward(self._network, self._format, inputs[index], condition)
        pixels = as_pixels(outputs)
        similarity, confidence, natural = np.full((3, len(source)), np.nan, np.float32)
        wanted = [n for n in range(len(source)) if check is not None and check[n]]
        if wanted and self._encoder is not None and self._classifier is not None:
            chosen = torch.as_tensor(wanted, device=self.device)
            results = outputs[chosen]
            vectors = self._encoder(torch.cat([inputs, results]))
            pairs = vectors[len(inputs) :] * vectors[index[chosen]]
            similarity[wanted] = pairs.sum(1).float().cpu().numpy()
            probabilities = self._classifier(results).float().cpu().numpy()
            confidence[wanted] = probabilities[range(len(wanted)), [expression[n] for n in wanted]]
            if self._natural is not None:
                natural[wanted] = self._natural(results).cpu().numpy()
        return Edited(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), similarity, confidence, natural)

    def warm_up(self, count: int) -> None:
        """One pass of `count` faces."""
        faces = np.full((count, self.size, self.size, 3), 127, np.uint8)
        self.run(faces, range(count), [0] * count, [1.0] * count, [True] * count)

    def _fastest(self, network: Any) -> tuple[Any, torch.dtype]:
        """The network in its fastest number format that keeps its faces, and that format."""
        network = network.to(memory_format=torch.channels_last)
        if not uses_bfloat16(self.device):
            return network, torch.float32
        short = copy.deepcopy(network).to(torch.bfloat16)
        count = len(self.expressions)
        noise = torch.Generator().manual_seed(0)
        coarse = torch.rand(count, 3, 8, 8, generator=noise).mul_(2).sub_(1).to(self.device)
        faces = torch.nn.functional.interpolate(coarse, (self.size, self.size), mode="bilinear")
        condition = torch.eye(count, device=self.device)
        with torch.inference_mode():
            exact = self._forward(network, torch.float32, faces, condition)
            near = self._forward(short, torch.bfloat16, faces, condition)
        levels = float((exact - near).abs().mean()) * 127.5
        if levels > 1:
            logger.warning("bfloat16 changes faces by %.1f levels on average; float32 is used.", levels)
            return network, torch.float32
        return short, torch.bfloat16

    @staticmethod
    def _forward(network: Any, number_format: torch.dtype, faces: Tensor, condition: Tensor) -> Tensor:
        faces = faces.to(number_format).contiguous(memory_format=torch.channels_last)
        return network(faces, condition.to(number_format)).float()


def edit(
    photo: Path, out: Path, bundle: "Bundle", expression: str, *, intensity: float = 1.0, view: View = "photo",
    aligned: bool = False, animation: bool = False,
) -> None:  # fmt: skip
    """Write the picture at `photo` with another expression to `out` (.png, .jpg, .jpeg or .webp).

    The file says what made it: see `faces.provenance`. view: the whole photograph with the new face blended in, or the
    aligned face alone. animation: from neutral to the expression, as a WebP. Raises UserError for a picture,
    expression, intensity or path that does not do.
    """
    check_ending(out)
    if animation:
        check_animation(out)
    index = expression_index(bundle.card.expressions, expression)
    checked_intensity(intensity)
    picture = read_picture(photo)
    editor = Editor(bundle)
    located = locate(picture, editor.size, None if aligned else alignment.Detector(), str(photo))
    shares = on_the_way(intensity) if animation else [intensity]
    edited = editor.run(np.stack([located.face]), [0] * len(shares), [index] * len(shares), shares)
    facts = bundle.facts
    xmp = xmp_packet(facts.name, facts.version, facts.run_id, view)
    pictures = (located.view(face, view) for face in edited.faces)
    if animation:
        write_whole(out, encode_animation(pictures, xmp=xmp))
    else:
        write_picture(out, next(pictures), xmp=xmp)
