"""Whose expression is to be given to whom, for a judgement of transfers."""

from dataclasses import dataclass

import numpy as np

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.models.condition import NEUTRAL

DRIVERS = 3  # of each source


@dataclass(frozen=True)
class Pairings:
    """N pairs of pictures, as indexes into the face set. source: whose face. driver: another person with another
    expression. reference: the picture that identity is measured against: another one of the source's person, and the
    source itself where there is none."""

    source: np.ndarray
    driver: np.ndarray
    reference: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def take(self, places: np.ndarray) -> "Pairings":
        return Pairings(self.source[places], self.driver[places], self.reference[places])


def pairings(faces: FaceSet, part: str, limit: int | None = None, seed: int = 0) -> Pairings:
    """Every picture of the part's people with DRIVERS others, drawn by `seed`; at most `limit` of them.

    Raises UserError when no two people show two expressions.
    """
    random = np.random.default_rng(seed)
    members = faces.part(part)
    found = []
    for source in members.tolist():
        own = faces.identity[members] == faces.identity[source]
        others = members[~own & (faces.expression[members] != faces.expression[source])]
        more = members[own & (members != source)]
        if not len(others):
            continue
        for driver in random.choice(others, min(DRIVERS, len(others)), replace=False):
            found.append((source, int(driver), int(random.choice(more)) if len(more) else source))
    if not found:
        raise UserError(
            f"{faces.dir}: the {part} part has no two people with two expressions, so no transfer can be judged; make "
            "the face set with a larger share for it (data.shares), or add pictures."
        )
    table = np.array(found)
    if limit is not None and limit < len(table):
        table = table[np.sort(random.permutation(len(table))[:limit])]
    return Pairings(*table.T)


def at_rest(faces: FaceSet, pairs: Pairings) -> np.ndarray:
    """For each source a neutral picture of its person, and not the reference where there is another; the source itself
    where it is neutral, or the person has none. N indexes into the face set."""
    found = pairs.source.copy()
    if NEUTRAL not in faces.expressions:
        return found
    neutral = np.flatnonzero(faces.expression == faces.expressions.index(NEUTRAL))
    own = {name: neutral[faces.identity[neutral] == name] for name in np.unique(faces.identity[found])}
    for k, (source, reference) in enumerate(zip(pairs.source, pairs.reference, strict=True)):
        shown = own[faces.identity[source]]
        if len(shown) and source not in shown:
            found[k] = next((picture for picture in shown if picture != reference), shown[0])
    return found
