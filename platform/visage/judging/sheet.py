"""A sheet of faces for people to look at, and what is put on one."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from visage.faces.faceset import FaceSet
from visage.judging.judges import Generator

CELL = 96
GAP = 4
LINE = 22
INK, PAPER = (40, 40, 40), (255, 255, 255)


class Sheet:
    """A grid of square faces with headings above and captions below."""

    def __init__(self, headings: Sequence[str], rows: int, size: int) -> None:
        self.cell = max(CELL, size)
        self.image = Image.new(
            "RGB", (len(headings) * (self.cell + GAP) + GAP, LINE + rows * (self.cell + LINE)), PAPER
        )
        self.pen, self.font = ImageDraw.Draw(self.image), ImageFont.load_default(size=13)
        for column, heading in enumerate(headings):
            self._write(column, LINE / 2, heading)

    def place(self, row: int, column: int, face: np.ndarray, caption: str = "") -> None:
        """face: uint8 S,S,3."""
        picture = Image.fromarray(face)
        if picture.width != self.cell:
            picture = picture.resize((self.cell, self.cell), Image.Resampling.LANCZOS)
        top = LINE + row * (self.cell + LINE)
        self.image.paste(picture, (GAP + column * (self.cell + GAP), top))
        self._write(column, top + self.cell + LINE / 2, caption)

    def _write(self, column: int, height: float, text: str) -> None:
        centre = GAP + column * (self.cell + GAP) + self.cell / 2
        self.pen.text((centre, height), text, INK, self.font, anchor="mm")


def device_of(generator: Generator) -> torch.device:
    return next(generator.parameters()).device if isinstance(generator, nn.Module) else torch.device("cpu")


def pixels_of(made: torch.Tensor) -> np.ndarray:
    """Faces N,3,S,S in [-1, 1] as uint8 N,S,S,3."""
    return ((made.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def first_picture(faces: FaceSet, members: np.ndarray, name: str, expression: str) -> int:
    """The first picture of a person with an expression; the first of all where there is none."""
    own = members[faces.identity[members] == name]
    if expression in faces.expressions:
        shown = own[faces.expression[own] == faces.expressions.index(expression)]
        return int(shown[0]) if len(shown) else int(own[0])
    return int(own[0])
