"""Golden pictures: what a generator makes of two drawn faces when its bundle is written, kept in the bundle.

Whoever loads the bundle later, with other code, in another number format or on another device, compares with them.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.errors import UserError

if TYPE_CHECKING:
    from torch import nn

# Two people of the procedural world in no face set, and how much of every expression each of them gets.
SEED, INTENSITIES = 4242, (1.0, 0.5)
LEVELS = 2.0
ARRAYS = ("faces", "source", "expression", "intensity", "expected")


@dataclass(frozen=True)
class Golden:
    """Picture n is face source[n] with expression[n] at intensity[n], as the plain float32 network makes it.

    faces: uint8 M,S,S,3. source, expression: int64 N. intensity: float32 N. expected: uint8 N,S,S,3. levels: how far,
    in levels of 255, a picture may differ from its expected one on average over its pixels.
    """

    faces: np.ndarray
    source: np.ndarray
    expression: np.ndarray
    intensity: np.ndarray
    expected: np.ndarray
    levels: float = LEVELS

    def difference(self, pictures: np.ndarray) -> float:
        """Of the picture that differs most: by how many levels of 255 on average. pictures: uint8 N,S,S,3."""
        return float(np.abs(pictures.astype(np.float32) - self.expected).mean(axis=(1, 2, 3)).max())


def make_golden(generator: "nn.Module", size: int, expressions: Sequence[str]) -> Golden:
    """Every expression of the drawn faces by a generator. Raises UserError when it does not give numbers."""
    import torch

    from visage.faces.synthetic.people import picture_of
    from visage.models.condition import conditions

    count = len(expressions)
    faces = np.stack([picture_of(person, "neutral", 0, size, SEED)[1] for person in range(len(INTENSITIES))])
    source = np.repeat(np.arange(len(INTENSITIES)), count)
    expression = np.tile(np.arange(count), len(INTENSITIES))
    intensity = np.repeat(np.array(INTENSITIES, np.float32), count)
    inputs = torch.from_numpy(faces).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    plain = copy.deepcopy(generator).cpu().float().eval()
    with torch.inference_mode():
        condition = conditions(expressions, torch.from_numpy(expression), torch.from_numpy(intensity))
        made = plain(inputs[torch.from_numpy(source)], condition)
    if not bool(torch.isfinite(made).all()):
        raise UserError("the generator gives no numbers for its golden pictures; train or register another.")
    expected = made.add(1).mul(127.5).add(0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return Golden(faces, source, expression, intensity, np.ascontiguousarray(expected.numpy()))


def golden_file(golden: Golden) -> bytes:
    """The pictures as a safetensors file, with what is allowed to differ among its metadata."""
    from safetensors.numpy import save

    return save({name: getattr(golden, name) for name in ARRAYS}, {"levels": f"{golden.levels:g}"})


def read_golden(path: Path, size: int, expressions: int) -> Golden:
    """The pictures of a file that `golden_file` has written. Raises UserError for one that fits no such model."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
            golden = Golden(**arrays, levels=float(file.metadata()["levels"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: holds no golden pictures ({error}); fetch or register the model again.") from None
    count, people = len(golden.expected), len(golden.faces)
    fits = (
        golden.faces.shape == (people, size, size, 3)
        and golden.expected.shape == (count, size, size, 3)
        and golden.source.shape == golden.expression.shape == golden.intensity.shape == (count,)
        and count > 0
        and set(golden.source.tolist()) <= set(range(people))
        and set(golden.expression.tolist()) <= set(range(expressions))
    )
    if not fits:
        raise UserError(
            f"{path}: its golden pictures are not of {expressions} expressions at {size} px; fetch or register the "
            "model again."
        )
    return golden
