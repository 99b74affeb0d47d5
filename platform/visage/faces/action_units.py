"""The action units of a face set: exact or from label files, else the expressions' prototypes as weak labels."""

from dataclasses import dataclass

import numpy as np

from visage.errors import UserError
from visage.faces.faceset import EXACT, PROTOTYPE, FaceSet
from visage.faces.facs import EXPRESSIONS, au_vector, prototype
from visage.faces.labels import FACS, OPENFACE

SOURCES = {
    EXACT: "exact, as the faces were drawn",
    OPENFACE: "read by OpenFace",
    FACS: "FACS codes",
    PROTOTYPE: "weak: the EMFACS prototype of each face's expression, not what the face itself shows",
}

PRESENT = 0.25  # intensity from which an action unit counts as shown: between FACS grades A and B


@dataclass(frozen=True)
class ActionUnits:
    """values: float32 N,len(AUS) in 0..1, NaN where one is not known. source: a key of SOURCES."""

    values: np.ndarray
    source: str

    @property
    def known(self) -> np.ndarray:
        """bool len(AUS): the units that some face clearly shows, and others do not."""
        unknown = np.isnan(self.values)
        highest = np.where(unknown, -np.inf, self.values).max(axis=0)
        return (highest >= PRESENT) & (np.where(unknown, np.inf, self.values).min(axis=0) < PRESENT)


def action_units(faces: FaceSet) -> ActionUnits:
    """Raises UserError where neither labels nor a prototype is known of an expression."""
    if faces.aus is not None:
        made = EXACT if faces.layout == "synthetic" else FACS  # of a set that is older than this fact
        return ActionUnits(faces.aus, faces.facts.get("action_units", made))
    if unknown := [name for name in faces.expressions if name not in EXPRESSIONS]:
        raise UserError(
            f"{faces.dir}: has no labels of action units, and none is known of {unknown[0]}; lay OpenFace's files or "
            f"facs.csv beside the pictures, or keep only {', '.join(EXPRESSIONS)} (data.expressions)."
        )
    whole = np.stack([au_vector(prototype(name)) for name in faces.expressions])
    return ActionUnits(whole[faces.expression] * faces.intensity[:, None], PROTOTYPE)
