"""A sheet of faces for people to look at, and what is put on one: of a generator of expressions, all that it makes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from visage.faces.faceset import FaceSet
from visage.faces.picture import encode_picture
from visage.infra.files import write_whole
from visage.judging.cells import CELLS, Box, Cell, Cells
from visage.judging.intensity import LEVELS
from visage.judging.judges import Generator
from visage.judging.networks.fit import real_inputs
from visage.models.condition import NEUTRAL, conditions

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
        content = encode_picture(np.array(self.image), texts={CELLS: Cells(self.cells).model_dump_json()})
        if path is not None:
            write_whole(path, content)
        return content

    def _box(self, row: int, column: int) -> Box:
        left, top = GAP + column * (self.cell + GAP), LINE + row * (self.cell + LINE)
        return left, top, left + self.cell, top + self.cell

    def _write(self, column: int, height: float, text: str) -> None:
        centre = GAP + column * (self.cell + GAP) + self.cell / 2
        self.pen.text((centre, height), text, INK, self.font, anchor="mm")


def device_of(generator: Generator) -> torch.device:
    return next(generator.parameters()).device if isinstance(generator, nn.Module) else torch.device("cpu")


def made_of(generator: Generator, faces: FaceSet, picture: int, second: torch.Tensor) -> np.ndarray:
    """What a generator makes of one face of the set with each of N second inputs: uint8 N,S,S,3."""
    made = generator(real_inputs(faces, np.repeat(picture, len(second)), second.device), second)
    return ((made.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def first_picture(faces: FaceSet, members: np.ndarray, name: str) -> int:
    """The first neutral picture of a person; the first of all where there is none."""
    own = members[faces.identity[members] == name].tolist()
    return next((picture for picture in own if faces.expressions[faces.expression[picture]] == NEUTRAL), own[0])


@torch.inference_mode()
def faces_sheet(generator: Generator, faces: FaceSet, part: str, people: int = 8) -> Sheet:
    """People of a part down; across: the input, every generated expression, and one true face, which is named.

    generator: (faces N,3,S,S in [-1, 1], conditions N,K) -> faces; a network is given its inputs on its own device.
    The input is the person's first neutral face, or the first face where there is none. The true face's expression
    goes from person to person through all others than the input's.
    """
    members = faces.part(part)
    chosen = np.unique(faces.identity[members])[:people]
    inputs = [first_picture(faces, members, name) for name in chosen]
    count = len(faces.expressions)
    device = device_of(generator)
    condition = conditions(faces.expressions, torch.arange(count, device=device))
    sheet = Sheet(("input", *faces.expressions, "true face"), len(chosen), faces.size)
    for row, picture in enumerate(inputs):
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[faces.expression[picture]])
        truth = _true_face(faces, members, picture, row)
        if truth is not None:
            sheet.place(row, 1 + count, np.array(faces.faces[truth]), faces.expressions[faces.expression[truth]])
        for column, face in enumerate(made_of(generator, faces, picture, condition)):
            shown = truth is not None and faces.expression[truth] == column
            sheet.made(row, 1 + column, face, truth=(row, 1 + count) if shown else None)
    return sheet


@torch.inference_mode()
def intensity_sheet(generator: Generator, faces: FaceSet, part: str, people: int = 6) -> Sheet:
    """People of a part down, intensities across; the expression goes from person to person through all but neutral.

    generator and inputs as for `faces_sheet`.
    """
    members = faces.part(part)
    chosen = np.unique(faces.identity[members])[:people]
    kinds = [kind for kind, name in enumerate(faces.expressions) if name != NEUTRAL]
    device = device_of(generator)
    sheet = Sheet(("input", *(f"{level:g}" for level in LEVELS)), len(chosen), faces.size)
    for row, name in enumerate(chosen):
        picture, kind = first_picture(faces, members, name), kinds[row % len(kinds)]
        target = torch.full((len(LEVELS),), kind, device=device)
        condition = conditions(faces.expressions, target, torch.tensor(LEVELS, device=device))
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[kind])
        for column, face in enumerate(made_of(generator, faces, picture, condition)):
            sheet.made(row, 1 + column, face)
    return sheet


def _true_face(faces: FaceSet, members: np.ndarray, picture: int, row: int) -> int | None:
    """A real face of the same person with another expression, another one for each row; None where there is none."""
    own = members[faces.identity[members] == faces.identity[picture]]
    kinds = np.unique(faces.expression[own])
    kinds = kinds[kinds != faces.expression[picture]]
    if not len(kinds):
        return None
    return int(own[faces.expression[own] == kinds[row % len(kinds)]][0])
