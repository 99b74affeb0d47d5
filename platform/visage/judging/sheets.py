"""What a generator of expressions makes, as pictures for people to look at."""

import numpy as np
import torch

from visage.faces.faceset import FaceSet
from visage.judging.intensity import LEVELS
from visage.judging.judges import Generator
from visage.judging.sheet import Sheet, device_of, first_picture, pixels_of
from visage.models.condition import NEUTRAL, conditions
from visage.models.pixels import as_input


@torch.inference_mode()
def faces_sheet(generator: Generator, faces: FaceSet, part: str, people: int = 8) -> Sheet:
    """People of a part down; across: the input, every generated expression, and one true face, which is named.

    generator: (faces N,3,S,S in [-1, 1], conditions N,K) -> faces; a network is given its inputs on its own device.
    The input is the person's first neutral face, or the first face where there is none. The true face's expression
    goes from person to person through all others than the input's.
    """
    members = faces.part(part)
    chosen = np.unique(faces.identity[members])[:people]
    inputs = np.array([first_picture(faces, members, name, NEUTRAL) for name in chosen])
    count = len(faces.expressions)
    device = device_of(generator)
    condition = conditions(faces.expressions, torch.arange(count, device=device))
    sheet = Sheet(("input", *faces.expressions, "true face"), len(chosen), faces.size)
    for row, picture in enumerate(inputs):
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[faces.expression[picture]])
        truth = _true_face(faces, members, int(picture), row)
        if truth is not None:
            sheet.place(row, 1 + count, np.array(faces.faces[truth]), faces.expressions[faces.expression[truth]])
        for column, face in enumerate(_made(generator, faces, int(picture), condition)):
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
        picture, kind = first_picture(faces, members, name, NEUTRAL), kinds[row % len(kinds)]
        target = torch.full((len(LEVELS),), kind, device=device)
        condition = conditions(faces.expressions, target, torch.tensor(LEVELS, device=device))
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[kind])
        for column, face in enumerate(_made(generator, faces, picture, condition)):
            sheet.made(row, 1 + column, face)
    return sheet


def _made(generator: Generator, faces: FaceSet, picture: int, condition: torch.Tensor) -> np.ndarray:
    """One face under each of N conditions: uint8 N,S,S,3."""
    face = torch.from_numpy(np.array(faces.faces[picture])).to(condition.device)
    batch = as_input(face.permute(2, 0, 1)).expand(len(condition), -1, -1, -1).contiguous()
    return pixels_of(generator(batch, condition))


def _true_face(faces: FaceSet, members: np.ndarray, picture: int, row: int) -> int | None:
    """A real face of the same person with another expression, another one for each row; None where there is none."""
    own = members[faces.identity[members] == faces.identity[picture]]
    kinds = np.unique(faces.expression[own])
    kinds = kinds[kinds != faces.expression[picture]]
    if not len(kinds):
        return None
    return int(own[faces.expression[own] == kinds[row % len(kinds)]][0])
