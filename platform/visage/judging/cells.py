"""The faces on a sheet that a model made, one by one, as its file names them: for people who choose between two."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, RootModel

from visage.errors import UserError

CELLS = "visage-cells"  # the text of a sheet's PNG that names them
MOST_PIXELS = 64_000_000
VISIBLE = 1.0  # levels of 255 that two faces must differ by on average, for somebody to choose
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


class Cell(BaseModel):
    """A face that a model made. asked: what for, in a word. person: the face that it was made of. driver: whose
    expression was asked for, where a face said so. truth: a real face of the person with it, where there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    box: Box
    asked: str
    person: Box
    driver: Box | None = None
    truth: Box | None = None


class Cells(RootModel[list[Cell]]):
    """All of a sheet."""


class Sheeted:
    """A sheet, read from its PNG. Raises UserError where it names no cells: an older Visage, or nobody, wrote it.

    name: of the sheet, for the sentence.
    """

    def __init__(self, png: bytes, name: str) -> None:
        try:
            opened = Image.open(io.BytesIO(png), formats=["PNG"])
            if opened.width * opened.height > MOST_PIXELS:
                raise ValueError("more pixels than a sheet has")
            self.image = opened.convert("RGB")
            self.cells = Cells.model_validate_json(getattr(opened, "text", {}).get(CELLS, "")).root
        except (OSError, ValueError, SyntaxError):
            raise UserError(
                f"{name}: does not say which faces on it a model made, as an older Visage drew it; train it again."
            ) from None

    def cut(self, box: Box) -> Image.Image:
        """Faces are cut out as they stand there."""
        return self.image.crop(box)


def differing(one: Sheeted, other: Sheeted) -> Iterator[tuple[Cell, Cell]]:
    """Cells of two sheets that were made of the same face for the same expression, and visibly differ."""
    for mine, theirs in zip(one.cells, other.cells, strict=False):
        if mine.asked != theirs.asked or not _same(one, mine.person, other, theirs.person):
            continue
        if (mine.driver is None) != (theirs.driver is None):
            continue
        if mine.driver and theirs.driver and not _same(one, mine.driver, other, theirs.driver):
            continue
        here, there = (np.asarray(sheet.cut(cell.box), int) for sheet, cell in ((one, mine), (other, theirs)))
        if here.shape == there.shape and np.abs(here - there).mean() >= VISIBLE:
            yield mine, theirs


def _same(one: Sheeted, mine: Box, other: Sheeted, theirs: Box) -> bool:
    here, there = one.cut(mine), other.cut(theirs)
    return here.size == there.size and here.tobytes() == there.tobytes()
