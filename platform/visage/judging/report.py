"""An evaluation for people to read: the table in a terminal, and the faces themselves."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from visage.faces.faceset import FaceSet
from visage.judging.fit import as_input
from visage.judging.judges import Generator
from visage.judging.results import Evaluation
from visage.models.condition import conditions

if TYPE_CHECKING:
    from rich.console import Group

# Metric, heading, digits.
METRICS = (
    ("score", "score", 3),
    ("identity", "identity", 3),
    ("identity_similarity", "identity_similarity", 3),
    ("expression", "expression", 3),
    ("expression_probability", "expression_probability", 3),
    ("expression_change", "expression_change", 3),
    ("ssim", "ssim", 3),
    ("psnr", "psnr (dB)", 1),
    ("l1", "l1", 3),
)
ROWS = {"model": "model", "real": "real faces", "copy": "copy of the input", "mean_face": "mean face"}
CELL = 96
GAP = 4
INK, PAPER = (40, 40, 40), (255, 255, 255)


def table(evaluation: Evaluation) -> "Group":
    """The evaluation as a rich renderable: rows and metrics with their 95 % intervals, the judges, the warnings."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = [metric for metric in METRICS if any(metric[0] in row.metrics for row in evaluation.rows.values())]
    title = f"{evaluation.people} {evaluation.part} people, {evaluation.pairs} pairs; 95 % intervals over people"
    # Metrics go down, so that the table fits a terminal of 80 columns.
    grid = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("", no_wrap=True)
    for name in evaluation.rows:
        grid.add_column(ROWS.get(name, name), justify="right")
    for metric, heading, digits in shown:
        cells = []
        for row in evaluation.rows.values():
            figure = row.metrics.get(metric)
            if figure is None:
                cells.append("–")
            else:
                cells.append(f"{figure.value:.{digits}f}\n{figure.low:.{digits}f}–{figure.high:.{digits}f}")
        grid.add_row(heading, *cells)
    checked = evaluation.verification
    notes = [
        f"Judges on the real faces of these people: identity {evaluation.judges['identity']:.3f} "
        f"(verification rate at a false accept rate of {checked.false_accept_rate:.2%}, {checked.genuine_pairs} pairs "
        f"of one person and {checked.impostor_pairs} of two), expression {evaluation.judges['expression']:.3f} "
        f"(accuracy of {len(evaluation.expressions)}). Networks {evaluation.networks[:12]}.",
        *(f"Warning: {warning}" for warning in evaluation.warnings),
    ]
    return Group(grid, *(Text(note, style="yellow" if note.startswith("Warning") else "dim") for note in notes))


@torch.inference_mode()
def faces_picture(generator: Generator, faces: FaceSet, part: str, people: int = 8) -> np.ndarray:
    """People of a part down; across: the input, every generated expression, and one true face, which is named.

    generator: (faces N,3,S,S in [-1, 1], conditions N,K) -> faces; a network is given its inputs on its own device.
    The input is the person's first neutral face, or the first face where there is none. The true face's expression
    goes from person to person through all others than the input's. Returns uint8 H,W,3.
    """
    members = faces.part(part)
    chosen = np.unique(faces.identity[members])[:people]
    inputs = np.array([_first(faces, members, name, "neutral") for name in chosen])
    count = len(faces.expressions)
    device = next(generator.parameters()).device if isinstance(generator, nn.Module) else torch.device("cpu")
    condition = conditions(faces.expressions, torch.arange(count, device=device))
    cell = max(CELL, faces.size)
    line = 22
    sheet = Image.new("RGB", ((count + 2) * (cell + GAP) + GAP, line + len(chosen) * (cell + line)), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)

    def place(row: int, column: int, face: np.ndarray, caption: str = "") -> None:
        picture = Image.fromarray(face)
        if picture.width != cell:
            picture = picture.resize((cell, cell), Image.Resampling.LANCZOS)
        left, top = GAP + column * (cell + GAP), line + row * (cell + line)
        sheet.paste(picture, (left, top))
        pen.text((left + cell / 2, top + cell + line / 2), caption, INK, font, anchor="mm")

    for column, heading in enumerate(("input", *faces.expressions, "true face")):
        pen.text((GAP + column * (cell + GAP) + cell / 2, line / 2), heading, INK, font, anchor="mm")
    for row, picture in enumerate(inputs):
        face = torch.from_numpy(np.array(faces.faces[picture])).to(device)
        batch = as_input(face.permute(2, 0, 1)).expand(count, -1, -1, -1).contiguous()
        made = generator(batch, condition).float().clamp(-1, 1)
        pixels = ((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        place(row, 0, np.array(faces.faces[picture]), faces.expressions[faces.expression[picture]])
        for column in range(count):
            place(row, 1 + column, pixels[column])
        truth = _true_face(faces, members, int(picture), row)
        if truth is not None:
            place(row, 1 + count, np.array(faces.faces[truth]), faces.expressions[faces.expression[truth]])
    return np.array(sheet)


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
