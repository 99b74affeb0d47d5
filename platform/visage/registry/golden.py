"""Golden pictures: what a generator makes of drawn faces when its bundle is written, kept in the bundle.

Whoever loads the bundle later, with other code, in another number format or on another device, compares with them.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.errors import UserError
from visage.registry.card import MEND

if TYPE_CHECKING:
    from visage.methods.requests import Request
    from visage.models.generator import Network

SEED = 4242  # of people of the procedural world who are in no face set
LEVELS = 2.0
ARRAYS = ("faces", "source", "expected")


@dataclass(frozen=True)
class Golden:
    """Picture n is face source[n] as it is asked for, as the plain float32 network makes it.

    faces: uint8 M,S,S,3. source: int64 N. asked: the columns of a request, N values each. expected: uint8 N,S,S,3.
    levels: how far, in levels of 255, a picture may differ from its expected one on average over its pixels.
    """

    faces: np.ndarray
    source: np.ndarray
    expected: np.ndarray
    asked: Mapping[str, np.ndarray]
    levels: float = LEVELS

    def first(self) -> "Golden":
        """The first of the pictures alone, with all faces."""
        asked = {name: values[:1] for name, values in self.asked.items()}
        return replace(self, source=self.source[:1], expected=self.expected[:1], asked=asked)

    def difference(self, pictures: np.ndarray) -> float:
        """Of the picture that differs most: by how many levels of 255 on average. pictures: uint8 N,S,S,3."""
        return float(np.abs(pictures.astype(np.float32) - self.expected).mean(axis=(1, 2, 3)).max())


def make_golden(generator: "Network", request: "Request", expressions: Sequence[str]) -> Golden:
    """What a generator makes of drawn faces, asked for all the examples of its kind of request.

    Raises UserError when it does not give numbers.
    """
    import torch

    from visage.faces.synthetic.people import picture_of
    from visage.models.pixels import as_input, as_pixels

    shown, asked = request.examples(expressions)
    faces = np.stack([picture_of(person, name, 0, generator.size, SEED)[1] for person, name in enumerate(shown)])
    inputs = as_input(torch.from_numpy(faces).permute(0, 3, 1, 2))
    second = request.second(asked.columns, lambda places: inputs[torch.from_numpy(places)], expressions)
    plain = copy.deepcopy(generator).cpu().float().eval()
    with torch.inference_mode():
        made = plain(inputs[torch.from_numpy(asked.source)], second)
    if not bool(torch.isfinite(made).all()):
        raise UserError("the generator gives no numbers for its golden pictures; train or register another.")
    expected = as_pixels(made).permute(0, 2, 3, 1)
    return Golden(faces, asked.source, np.ascontiguousarray(expected.numpy()), asked.columns)


def golden_file(golden: Golden) -> bytes:
    """The pictures as a safetensors file, with what is allowed to differ among its metadata."""
    from safetensors.numpy import save

    arrays = {name: getattr(golden, name) for name in ARRAYS} | dict(golden.asked)
    return save(arrays, {"levels": f"{golden.levels:g}"})


def read_golden(path: Path, request: "Request", size: int, expressions: int) -> Golden:
    """The pictures of a file that `golden_file` has written. Raises UserError for one that fits no such model."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            asked = {name: file.get_tensor(name) for name in request.columns}
            golden = Golden(
                **{name: file.get_tensor(name) for name in ARRAYS}, asked=asked, levels=float(file.metadata()["levels"])
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: holds no golden pictures ({error}); {MEND}.") from None
    count, people = len(golden.expected), len(golden.faces)
    fits = (
        golden.faces.shape == (people, size, size, 3)
        and golden.expected.shape == (count, size, size, 3)
        and all(places.shape == (count,) for places in (golden.source, *asked.values()))
        and count > 0
        and set(golden.source.tolist()) <= set(range(people))
        and request.fits(asked, people, expressions)
    )
    if not fits:
        raise UserError(f"{path}: its golden pictures are not of {expressions} expressions at {size} px; {MEND}.")
    return golden
