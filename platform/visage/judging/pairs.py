"""What to generate for a judgement, and what to hold it against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.sampling import by_person, of_sitting
from visage.models.condition import NEUTRAL

NONE = -1
DRIVERS = 3  # of each source
BATCH = 64


class Rows:
    """A dataclass of arrays of N rows each."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def take(self, places: np.ndarray) -> Self:
        return type(self)(*(values[places] for values in vars(self).values()))

    def batches(self) -> Iterator[Self]:
        """All of it, BATCH rows at a time."""
        for start in range(0, len(self), BATCH):
            yield self.take(np.arange(start, min(start + BATCH, len(self))))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        return cls(*(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True)))


def spread(values: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """As so many rows, the values at their places and NaN elsewhere."""
    table = np.full((count, *values.shape[1:]), np.nan)
    table[places] = values
    return table


@dataclass(frozen=True)
class Pairs(Rows):
    """What to generate and what to hold it against; N pairs of pictures, as indexes into the face set.

    input: the face to change. target: the expression to give it, always another than its own. truth: the person's
    real face of that expression, -1 where there is none. reference: the real picture of the person that identity is
    measured against; never the input. real_reference: the same for the true face itself.
    """

    input: np.ndarray
    target: np.ndarray
    truth: np.ndarray
    reference: np.ndarray
    real_reference: np.ndarray


@dataclass(frozen=True)
class Pairings(Rows):
    """N pairs of pictures, as indexes into the face set. source: whose face. driver: another person with another
    expression. reference: the picture that identity is measured against: another one of the source's person, and the
    source itself where there is none."""

    source: np.ndarray
    driver: np.ndarray
    reference: np.ndarray


def pairs(faces: FaceSet, part: str, limit: int | None = None, seed: int = 0) -> Pairs:
    """Every picture of the part's people as input, with every other expression as target.

    The true face is the person's picture of the target expression with the input's number (the n-th happy one for the
    n-th neutral one), which is the same sitting where there are several. The reference is a picture of the person
    that is neither input nor true face, the same for every row, drawn by `seed`. People with two pictures have none
    such: there the true face is the reference of what is generated, and the input that of the true face.
    A person with one picture has no reference and no pair. limit: at most so many pairs, drawn by `seed`.
    Raises UserError when no pair is left.
    """
    random = np.random.default_rng(seed)
    own = by_person(faces.identity, faces.expression, faces.part(part))
    found = []
    for name in sorted(own):
        kinds = own[name]
        everything = sorted(picture for kind in kinds.values() for picture in kind)
        for kind, inputs in sorted(kinds.items()):
            for number, picture in enumerate(inputs):
                for target in range(len(faces.expressions)):
                    if target == kind:
                        continue
                    true = kinds.get(target, [])
                    truth = of_sitting(true, number) if true else NONE
                    free = [other for other in everything if other not in (picture, truth)]
                    if free:
                        reference = real = free[int(random.integers(len(free)))]
                    else:
                        reference, real = truth, picture
                    if reference != NONE:
                        found.append((picture, target, truth, reference, real))
    if not found:
        raise UserError(f"{faces.dir}: no {part} person has two expressions, so nothing can be judged; add pictures.")
    return Pairs(*_limited(np.array(found), limit, random).T)


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
    return Pairings(*_limited(np.array(found), limit, random).T)


def _limited(table: np.ndarray, limit: int | None, random: np.random.Generator) -> np.ndarray:
    """At most so many of the rows, drawn, in their order."""
    if limit is None or limit >= len(table):
        return table
    return table[np.sort(random.permutation(len(table))[:limit])]


def check_people(faces: FaceSet, part: str, *, paired: bool = True) -> None:
    """Raise UserError unless the part has two people, as identity needs, and with `paired` a pair to judge."""
    people = len(np.unique(faces.identity[faces.part(part)]))
    if people < 2:
        have = "one person" if people else "nobody"
        raise UserError(
            f"{faces.dir}: the {part} part has {have} and a judgement needs two people; make the face set with a "
            f"larger share for it, as with --set data.shares='{{train: 0.5, validation: 0.2, test: 0.3}}'."
        )
    if paired:
        pairs(faces, part, limit=1)


def strangers(faces: FaceSet, part: str, pairs: Pairs) -> np.ndarray:
    """For each pair the real face of another person of the part, drawn, with the target expression: N indexes into the
    face set; -1 where there is none."""
    random = np.random.default_rng(0)
    members = faces.part(part)
    shown = {target: members[faces.expression[members] == target] for target in np.unique(pairs.target)}
    found = np.full(len(pairs), NONE)
    for k in range(len(pairs)):
        others = shown[pairs.target[k]]
        others = others[faces.identity[others] != faces.identity[pairs.input[k]]]
        if len(others):
            found[k] = random.choice(others)
    return found


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
