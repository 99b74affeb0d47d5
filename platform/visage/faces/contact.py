"""The contact sheet: what a face set holds, at a glance."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from visage.faces.layouts import Row

PEOPLE = 12
MARGIN, HEADING = 110, 24
TILES = (64, 128)


def contact_sheet(
    faces: np.ndarray, rows: Sequence[Row], expressions: Sequence[str], parts: Mapping[str, str]
) -> np.ndarray:
    """A labelled picture, uint8 H,W,3: a row for each of up to 12 people spread over the set, a column an expression.

    `faces`: uint8 N,S,S,3 in the order of `rows`; `parts`: the split of each person. A cell is empty where a person
    has no picture of the expression.
    """
    people = sorted({row.identity for row in rows if row.expression})
    people = [
        people[k] for k in np.unique(np.linspace(0, len(people) - 1, min(PEOPLE, len(people))).round().astype(int))
    ]
    side = int(np.clip(faces.shape[1], *TILES))
    sheet = Image.new("RGB", (MARGIN + side * len(expressions), HEADING + side * len(people)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for column, expression in enumerate(expressions):
        draw.text((MARGIN + side * (column + 0.5), HEADING / 2), expression, "black", font, anchor="mm")
    first = {(row.identity, row.expression): k for k, row in reversed(list(enumerate(rows)))}
    for line, person in enumerate(people):
        top = HEADING + side * line
        draw.text((6, top + side / 2), f"{person[:16]}\n{parts[person]}", "black", font, anchor="lm")
        for column, expression in enumerate(expressions):
            if (k := first.get((person, expression))) is not None:
                face = Image.fromarray(np.asarray(faces[k])).resize((side, side), Image.Resampling.BICUBIC)
                sheet.paste(face, (MARGIN + side * column, top))
    return np.asarray(sheet)
