"""What a generator makes, as pictures for people to look at."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.fit import real_inputs
from visage.judging.intensity import LEVELS
from visage.judging.judges import Generator
from visage.models.condition import NEUTRAL, conditions
from visage.models.disentangler import Disentangler
from visage.models.pixels import as_input
from visage.models.unit_map import UnitMap

CELL = 96
GAP = 4
LINE = 22
# What `units_picture` asks for: one unit more and more, then others at their full.
TOLD: tuple[dict[int, float], ...] = (
    *({12: level} for level in (0.0, 0.25, 0.5, 0.75, 1.0)), {1: 1.0, 2: 1.0}, {4: 1.0}, {26: 1.0}
)  # fmt: skip
INK, PAPER = (40, 40, 40), (255, 255, 255)


@torch.inference_mode()
def faces_picture(generator: Generator, faces: FaceSet, part: str, people: int = 8) -> np.ndarray:
    """People of a part down; across: the input, every generated expression, and one true face, which is named.

    generator: (faces N,3,S,S in [-1, 1], conditions N,K) -> faces; a network is given its inputs on its own device.
    The input is the person's first neutral face, or the first face where there is none. The true face's expression
    goes from person to person through all others than the input's. Returns uint8 H,W,3.
    """
    members = faces.part(part)
    chosen = np.unique(faces.identity[members])[:people]
    inputs = np.array([_first(faces, members, name, NEUTRAL) for name in chosen])
    count = len(faces.expressions)
    device = _device(generator)
    condition = conditions(faces.expressions, torch.arange(count, device=device))
    sheet = Sheet(("input", *faces.expressions, "true face"), len(chosen), faces.size)
    for row, picture in enumerate(inputs):
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[faces.expression[picture]])
        for column, face in enumerate(_made(generator, faces, int(picture), condition)):
            sheet.place(row, 1 + column, face)
        truth = _true_face(faces, members, int(picture), row)
        if truth is not None:
            sheet.place(row, 1 + count, np.array(faces.faces[truth]), faces.expressions[faces.expression[truth]])
    return np.array(sheet.image)


@torch.inference_mode()
def intensity_picture(generator: Generator, faces: FaceSet, part: str, people: int = 6) -> np.ndarray:
    """People of a part down, intensities across; the expression goes from person to person through all but neutral.

    generator, inputs and the result as for `faces_picture`.
    """
    members = faces.part(part)
    chosen = np.unique(faces.identity[members])[:people]
    kinds = [kind for kind, name in enumerate(faces.expressions) if name != NEUTRAL]
    device = _device(generator)
    sheet = Sheet(("input", *(f"{level:g}" for level in LEVELS)), len(chosen), faces.size)
    for row, name in enumerate(chosen):
        picture, kind = _first(faces, members, name, NEUTRAL), kinds[row % len(kinds)]
        target = torch.full((len(LEVELS),), kind, device=device)
        condition = conditions(faces.expressions, target, torch.tensor(LEVELS, device=device))
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[kind])
        for column, face in enumerate(_made(generator, faces, picture, condition)):
            sheet.place(row, 1 + column, face)
    return np.array(sheet.image)


@torch.inference_mode()
def transfer_picture(transfer: Generator, faces: FaceSet, part: str, people: int = 6, drivers: int = 8) -> np.ndarray:
    """Sources down, drivers across: every source with the expression of every driver. Returns uint8 H,W,3.

    transfer: (sources N,3,S,S in [-1, 1], drivers N,3,S,S) -> faces. A source is a person's first neutral face, or the
    first; the drivers are other people, with each expression in turn, and the finer ones where there are any.
    """
    members = faces.part(part)
    names = np.unique(faces.identity[members])
    rows = [_first(faces, members, name, NEUTRAL) for name in names[: min(people, len(names) - 1)]]
    others = members[~np.isin(faces.identity[members], names[: len(rows)])]
    columns = _drivers(faces, others, drivers)
    sheet = Sheet(("", *(faces.expressions[faces.expression[one]] for one in columns)), len(rows) + 1, faces.size)
    device = _device(transfer)
    driving = real_inputs(faces, np.array(columns), device)
    for column, picture in enumerate(columns):
        sheet.place(0, 1 + column, np.array(faces.faces[picture]), "driver")
    for row, picture in enumerate(rows):
        sheet.place(1 + row, 0, np.array(faces.faces[picture]), "source")
        made = transfer(real_inputs(faces, np.repeat(picture, len(columns)), device), driving)
        for column, face in enumerate(_pixels(made)):
            sheet.place(1 + row, 1 + column, face)
    return np.array(sheet.image)


@torch.inference_mode()
def units_picture(generator: Disentangler, unit_map: UnitMap, faces: FaceSet, part: str, people: int = 6) -> np.ndarray:
    """People of a part down; across: the source, and what it becomes when it is told each of TOLD, as far as the map
    knows those units. Sources as for `transfer_picture`. Returns uint8 H,W,3."""
    members, device = faces.part(part), _device(generator)
    known = {au for au, there in zip(AUS, unit_map.known.tolist(), strict=True) if there}
    asked = [units for units in TOLD if units.keys() <= known]
    chosen = np.unique(faces.identity[members])[:people]
    sheet = Sheet(("source", *(_named(units) for units in asked)), len(chosen), faces.size)
    table = torch.full((len(asked), len(AUS)), float("nan"), device=device)
    for row, units in enumerate(asked):
        for au, value in units.items():
            table[row, AUS.index(au)] = value
    for row, name in enumerate(chosen):
        picture = _first(faces, members, name, NEUTRAL)
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[faces.expression[picture]])
        if not asked:
            continue
        made = unit_map.told(generator, real_inputs(faces, np.repeat(picture, len(asked)), device), table)
        for column, face in enumerate(_pixels(made)):
            sheet.place(row, 1 + column, face)
    return np.array(sheet.image)


def _named(units: Mapping[int, float]) -> str:
    values = set(units.values())
    return f"AU {'+'.join(map(str, units))}: {values.pop():g}"


def _drivers(faces: FaceSet, others: np.ndarray, count: int) -> list[int]:
    """At most `count` pictures: each expression but neutral in turn, each of another person as far as there are."""
    kinds = [kind for kind, name in enumerate(faces.expressions) if name != NEUTRAL]
    found: list[int] = []
    for place in range(count):
        shown = others[faces.expression[others] == kinds[place % len(kinds)]]
        used = faces.identity[found] if found else np.array([])
        new = shown[~np.isin(faces.identity[shown], used)]
        if len(shown):
            found.append(int((new if len(new) else shown)[0]))
    return found


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


def _device(generator: Generator) -> torch.device:
    return next(generator.parameters()).device if isinstance(generator, nn.Module) else torch.device("cpu")


def _made(generator: Generator, faces: FaceSet, picture: int, condition: torch.Tensor) -> np.ndarray:
    """One face under each of N conditions: uint8 N,S,S,3."""
    face = torch.from_numpy(np.array(faces.faces[picture])).to(condition.device)
    batch = as_input(face.permute(2, 0, 1)).expand(len(condition), -1, -1, -1).contiguous()
    return _pixels(generator(batch, condition))


def _pixels(made: torch.Tensor) -> np.ndarray:
    """Faces N,3,S,S in [-1, 1] as uint8 N,S,S,3."""
    return ((made.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _first(faces: FaceSet, members: np.ndarray, name: str, expression: str) -> int:
    """The first picture of a person with an expression; the first of all where there is none."""
    own = members[faces.identity[members] == name]
    if expression in faces.expressions:
        shown = own[faces.expression[own] == faces.expressions.index(expression)]
        return int(shown[0]) if len(shown) else int(own[0])
    return int(own[0])


def _true_face(faces: FaceSet, members: np.ndarray, picture: int, row: int) -> int | None:
    """A real face of the same person with another expression, another one for each row; None where there is none."""
    own = members[faces.identity[members] == faces.identity[picture]]
    kinds = np.unique(faces.expression[own])
    kinds = kinds[kinds != faces.expression[picture]]
    if not len(kinds):
        return None
    return int(own[faces.expression[own] == kinds[row % len(kinds)]][0])
