"""The action units of a face set: exact or from label files, else the expressions' prototypes as weak labels."""

from dataclasses import dataclass

import numpy as np

from visage.errors import UserError
from visage.faces.faceset import EXACT, PROTOTYPE, FaceSet
from visage.faces.facs import AUS, EXPRESSIONS, au_vector, prototype
from visage.faces.labels import FACS, OPENFACE
from visage.faces.split import PRACTICE

SOURCES = {
    EXACT: "exact, as the faces were drawn",
    OPENFACE: "read by OpenFace",
    FACS: "FACS codes",
    PROTOTYPE: "weak: the EMFACS prototype of each face's expression, not what the face itself shows",
}

MIDDLE = (17, 23, 25, 26, 27)  # of chin, lips and jaw: both sides move alike
PRESENT = 0.25  # intensity from which an action unit counts as shown: between FACS grades A and B


@dataclass(frozen=True)
class ActionUnits:
    """values: float32 N,len(AUS) in 0..1, NaN where one is not known. source: a key of SOURCES. named: bool N, the
    faces that show an expression; None for all."""

    values: np.ndarray
    source: str
    named: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """bool len(AUS): the units that some face with an expression clearly shows, and others do not."""
        return _shown(self.values if self.named is None else self.values[self.named])

    @property
    def learnt(self) -> np.ndarray:
        """As `known`, of all faces."""
        return _shown(self.values)


def _shown(values: np.ndarray) -> np.ndarray:
    unknown = np.isnan(values)
    highest = np.where(unknown, -np.inf, values).max(axis=0)
    return (highest >= PRESENT) & (np.where(unknown, np.inf, values).min(axis=0) < PRESENT)


def learning_faces(faces: FaceSet) -> np.ndarray:
    """The indexes of what a transfer learns from: the people who show action units alone, else the training people."""
    practice = faces.part(PRACTICE)
    return practice if len(practice) else faces.part("train")


def shown_by_another(faces: FaceSet) -> np.ndarray:
    """Of each picture that a transfer learns from, one of another person who shows exactly the same action units, each
    side as the other's: int N indexes into the face set; the picture itself where nobody does."""
    labels, found = by_side(action_units(faces).values, faces.lopsided), np.arange(len(faces.identity))
    groups: dict[bytes, list[int]] = {}
    for picture in learning_faces(faces).tolist():
        groups.setdefault(labels[picture].tobytes(), []).append(picture)
    for group in groups.values():
        for place, picture in enumerate(group):
            around = (group[(place + step) % len(group)] for step in range(1, len(group)))
            others = (other for other in around if faces.identity[other] != faces.identity[picture])
            found[picture] = next(others, picture)
    return found


def by_side(values: np.ndarray, lopsided: np.ndarray) -> np.ndarray:
    """N,2U intensities on the image's left and then on its right, of N,U on the stronger side.

    lopsided: N, as in `layouts.rows.Row`. What lies in the middle moves as a whole; AU 14 acts on the right alone.
    """
    left, right = (values * (1 - np.clip(sign * lopsided, 0, 1))[:, None] for sign in (1, -1))
    middle, dimple = [AUS.index(au) for au in MIDDLE], AUS.index(14)
    left[:, middle] = right[:, middle] = values[:, middle]
    left[:, dimple], right[:, dimple] = 0, values[:, dimple]
    return np.concatenate([left, right], axis=1)


def action_units(faces: FaceSet) -> ActionUnits:
    """Raises UserError where neither labels nor a prototype is known of an expression."""
    if faces.aus is not None:
        made = EXACT if faces.layout == "synthetic" else FACS  # of a set that is older than this fact
        return ActionUnits(faces.aus, faces.facts["action_units"] or made, faces.expression >= 0)
    if unknown := [name for name in faces.expressions if name not in EXPRESSIONS]:
        raise UserError(
            f"{faces.dir}: has no labels of action units, and none is known of {unknown[0]}; lay OpenFace's files or "
            f"facs.csv beside the pictures, or keep only {', '.join(EXPRESSIONS)} (data.expressions)."
        )
    whole = np.stack([au_vector(prototype(name)) for name in faces.expressions])
    return ActionUnits(whole[faces.expression] * faces.intensity[:, None], PROTOTYPE)
