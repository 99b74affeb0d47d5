"""What a transfer makes, as pictures for people to look at."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.judges import Generator
from visage.judging.networks.fit import real_inputs
from visage.judging.sheet import Sheet, device_of, first_picture, made_of
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import UnitMap
from visage.models.condition import NEUTRAL

# What `units_sheet` asks for: one unit more and more, then others at their full.
TOLD: tuple[dict[int, float], ...] = (
    *({12: level} for level in (0.0, 0.25, 0.5, 0.75, 1.0)), {1: 1.0, 2: 1.0}, {4: 1.0}, {26: 1.0}
)  # fmt: skip


@torch.inference_mode()
def transfer_sheet(transfer: Generator, faces: FaceSet, part: str, people: int = 6, drivers: int = 8) -> Sheet:
    """Sources down, drivers across: every source with the expression of every driver.

    transfer: (sources N,3,S,S in [-1, 1], drivers N,3,S,S) -> faces. A source is a person's first neutral face, or the
    first; the drivers are other people, with each expression in turn, and the finer ones where there are any.
    """
    members = faces.part(part)
    names = np.unique(faces.identity[members])
    rows = [first_picture(faces, members, name) for name in names[: min(people, len(names) - 1)]]
    others = members[~np.isin(faces.identity[members], names[: len(rows)])]
    columns = _drivers(faces, others, drivers)
    sheet = Sheet(("", *(faces.expressions[faces.expression[one]] for one in columns)), len(rows) + 1, faces.size)
    driving = real_inputs(faces, np.array(columns), device_of(transfer))
    for column, picture in enumerate(columns):
        sheet.place(0, 1 + column, np.array(faces.faces[picture]), "driver")
    for row, picture in enumerate(rows):
        sheet.place(1 + row, 0, np.array(faces.faces[picture]), "source")
        for column, face in enumerate(made_of(transfer, faces, picture, driving)):
            sheet.made(1 + row, 1 + column, face, driver=(0, 1 + column))
    return sheet


@torch.inference_mode()
def units_sheet(generator: Disentangler, unit_map: UnitMap, faces: FaceSet, part: str, people: int = 6) -> Sheet:
    """People of a part down; across: the source, and what it becomes when it is told each of TOLD, as far as the map
    knows those units. Sources as for `transfer_sheet`."""
    members = faces.part(part)
    known = {au for au, there in zip(AUS, unit_map.known.tolist(), strict=True) if there}
    asked = [units for units in TOLD if units.keys() <= known]
    chosen = np.unique(faces.identity[members])[:people]
    sheet = Sheet(("source", *(_named(units) for units in asked)), len(chosen), faces.size)
    table = torch.full((len(asked), len(AUS)), float("nan"), device=device_of(generator))
    for row, units in enumerate(asked):
        for au, value in units.items():
            table[row, AUS.index(au)] = value
    for row, name in enumerate(chosen):
        picture = first_picture(faces, members, name)
        sheet.place(row, 0, np.array(faces.faces[picture]), faces.expressions[faces.expression[picture]])
        made = made_of(partial(unit_map.told, generator), faces, picture, table) if asked else ()
        for column, face in enumerate(made):
            sheet.made(row, 1 + column, face)
    return sheet


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
