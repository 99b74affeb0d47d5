"""What to generate for a judgement, and what to hold it against."""

from dataclasses import dataclass

import numpy as np

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.sampling import by_person, of_sitting

NONE = -1


@dataclass(frozen=True)
class Pairs:
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

    def __len__(self) -> int:
        return len(self.input)

    def take(self, places: np.ndarray) -> "Pairs":
        return Pairs(*(getattr(self, name)[places] for name in self.__dataclass_fields__))


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
    table = np.array(found)
    if limit is not None and limit < len(table):
        table = table[np.sort(random.permutation(len(table))[:limit])]
    return Pairs(*table.T)


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


def strangers(faces: FaceSet, part: str, pairs: Pairs, seed: int = 0) -> np.ndarray:
    """For each pair the real face of another person of the part, with the target expression; -1 where there is none.

    Drawn by `seed`; N indexes into the face set.
    """
    random = np.random.default_rng(seed)
    members = faces.part(part)
    shown = {target: members[faces.expression[members] == target] for target in np.unique(pairs.target)}
    found = np.full(len(pairs), NONE)
    for k in range(len(pairs)):
        others = shown[pairs.target[k]]
        others = others[faces.identity[others] != faces.identity[pairs.input[k]]]
        if len(others):
            found[k] = random.choice(others)
    return found
