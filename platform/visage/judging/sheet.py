"""A sheet of faces for people to look at, and what is put on one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from visage.faces.faceset import FaceSet
from visage.faces.picture import write_png
from visage.judging.cells import CELLS, Box, Cell, Cells
from visage.judging.judges import Generator

CELL = 96
GAP = 4
LINE = 22
INK, PAPER = (40, 40, 40), (255, 255, 255)


class Sheet:
    """A grid of square faces with headings above and captions below. Which of them a model made stands in its file,
    for whoever shows them one by one."""

    def __init__(self, headings: Sequence[str], rows: int, size: int) -> None:
        self.cell = max(CELL, size)
        self.image = Image.new(
            "RGB", (len(headings) * (self.cell + GAP) + GAP, LINE + rows * (self.cell + LINE)), PAPER
        )
        self.pen, self.font = ImageDraw.Draw(self.image), ImageFont.load_default(size=13)
        self.headings, self.cells = tuple(headings), list[Cell]()
        for column, heading in enumerate(headings):
            self._write(column, LINE / 2, heading)

    def place(self, row: int, column: int, face: np.ndarray, caption: str = "") -> None:
        """face: uint8 S,S,3."""
        picture = Image.fromarray(face)
        if picture.width != self.cell:
            picture = picture.resize((self.cell, self.cell), Image.Resampling.LANCZOS)
        box = self._box(row, column)
        self.image.paste(picture, box[:2])
        self._write(column, box[3] + LINE / 2, caption)

    def made(
        self, row: int, column: int, face: np.ndarray, *, driver: tuple[int, int] | None = None,
        truth: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """Place what a model made of the face in the row's first column, asked for the column's heading.

        driver, truth: row and column of the face whose expression was asked for, and of the person's true face of it.
        """
        self.place(row, column, face)
        self.cells.append(
            Cell(
                box=self._box(row, column),
                asked=self.headings[column],
                person=self._box(row, 0),
                driver=self._box(*driver) if driver else None,
                truth=self._box(*truth) if truth else None,
            )
        )

    def write(self, path: Path | None) -> bytes:
        """The sheet as a PNG, written to `path` if there is one. Raises NotWritten when the disk refuses."""
        return write_png(path, np.array(self.image), texts={CELLS: Cells(self.cells).model_dump_json()})

    def _box(self, row: int, column: int) -> Box:
        left, top = GAP + column * (self.cell + GAP), LINE + row * (self.cell + LINE)
        return left, top, left + self.cell, top + self.cell

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
