"""Training tuples, drawn by their index alone: not by batch, worker or order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visage.config.experiment import Augment
from visage.errors import UserError

SAME_EXPRESSION = 0.1  # share of tuples whose target is the input's own expression, so that it is learnt too


def by_person(
    identity: NDArray[np.str_], expression: NDArray[np.integer], members: NDArray[np.integer]
) -> dict[str, dict[int, list[int]]]:
    """Of each person of the pictures `members` those that show each expression, in the order of `members`."""
    people: dict[str, dict[int, list[int]]] = {}
    for picture in members.tolist():
        people.setdefault(str(identity[picture]), {}).setdefault(int(expression[picture]), []).append(picture)
    return people


def of_sitting(pictures: list[int], number: int) -> int:
    """Of a person's pictures of an expression, one or more, that of the sitting in which the other expression's picture
    `number` was taken: the n-th is of the same sitting in every expression, as far as there are so many."""
    return pictures[min(number, len(pictures) - 1)]


@dataclass(frozen=True)
class Swaps:
    """Draws pair k of a run without any pairing: two people with two expressions, and another picture of each.

    identity, expression: of every picture of the face set. members: the pictures to draw from (one split), of two
    people at least; nobody needs two expressions.
    """

    identity: NDArray[np.str_]
    expression: NDArray[np.integer]
    members: NDArray[np.integer]
    augment: Augment
    seed: int

    def __post_init__(self) -> None:
        people: dict[str, list[int]] = {}
        for picture in self.members:
            people.setdefault(str(self.identity[picture]), []).append(int(picture))
        if len(people) < 2:
            raise ValueError(f"{len(people)} people; training needs at least two")
        object.__setattr__(self, "_people", [people[name] for name in sorted(people)])

    def draw(self, k: int) -> "DrawnSwap":
        """Pair k; the same for the same seed, whoever asks."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, k]))
        people: list[list[int]] = self._people  # type: ignore[attr-defined]
        i, j = _two(random, len(people))
        face = _choice(random, people[i])
        # Someone who shows what the face shows teaches little; where there is nothing else, it must do.
        other = [p for p in people[j] if self.expression[p] != self.expression[face]]
        driver = _choice(random, other or people[j])
        positives = [
            _choice(random, [p for p in people[n] if p != own] or [own]) for n, own in ((i, face), (j, driver))
        ]
        augmentation = np.stack([_augmentation(random, self.augment) for _ in range(2)])
        return DrawnSwap((face, driver, *positives), augmentation)

    def batch(self, first: int, count: int) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        """Pairs first .. first + count - 1: 4,N indexes of (face, driver, positive, driver's positive); 2,N,10."""
        drawn = [self.draw(k) for k in range(first, first + count)]
        return np.array([one.pictures for one in drawn]).T, np.stack([one.augmentation for one in drawn], axis=1)


@dataclass(frozen=True)
class DrawnSwap:
    """pictures: face, driver and another picture of each; augmentation: 2,10, of the face and of the driver."""

    pictures: tuple[int, ...]
    augmentation: NDArray[np.float32]


@dataclass(frozen=True)
class Likeness:
    """How alike two people of the pictures are, by an embedding that was not fitted to them.

    half: of every picture of the face set, that of its person, 0 or 1; all 0 where the embedding was fitted to nobody
    here. vectors: N,D unit vectors, of which those of one half compare. hardest: so many other people are drawn for a
    tuple, and the one whose face is most like the target is taken.
    """

    half: NDArray[np.integer]
    vectors: NDArray[np.floating]
    hardest: int


@dataclass(frozen=True)
class Tuples:
    """Draws tuple k of a run: five pictures, the target expression and one augmentation.

    identity, expression: of every picture of the face set. members: the pictures to draw from (one split).
    A person needs two expressions; a set needs two such people. likeness: with it both people of a tuple are of one
    half; how many are drawn changes nothing else of a tuple.
    """

    identity: NDArray[np.str_]
    expression: NDArray[np.integer]
    members: NDArray[np.integer]
    augment: Augment
    seed: int
    likeness: Likeness | None = None

    def __post_init__(self) -> None:
        people = by_person(self.identity, self.expression, self.members)
        usable = [people[name] for name in sorted(people) if len(people[name]) >= 2]
        if len(usable) < 2:
            raise ValueError(f"{len(usable)} people with two expressions or more; training needs at least two")
        places = range(len(usable))
        halves = {0: list(places)}
        if self.likeness:
            of = [int(self.likeness.half[_all(person)[0]]) for person in usable]
            halves = {half: [place for place in places if of[place] == half] for half in set(of)}
            if min(map(len, halves.values())) < 2:
                raise UserError(
                    f"loss.triplet.embedding = crossed: of the {len(usable)} training people who show two expressions "
                    "one half has only one, to whom nobody there is another; add people, or use compact."
                )
        object.__setattr__(self, "_people", usable)
        object.__setattr__(self, "_around", {place: half for half in halves.values() for place in half})

    def draw(self, k: int) -> "Drawn":
        """Tuple k; the same for the same seed, whoever asks."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, k]))
        people: list[dict[int, list[int]]] = self._people  # type: ignore[attr-defined]
        i = int(random.integers(len(people)))
        j = self._stranger(random, i)
        own = people[i]
        start = _choice(random, sorted(own))
        ends = [e for e in sorted(own) if e != start]
        target = start if random.random() < SAME_EXPRESSION else _choice(random, ends)
        face = _choice(random, own[start])
        # Of another sitting, it would differ in light and pose by more than the expression does.
        goal = of_sitting(own[target], own[start].index(face))
        # A positive that is the input would reward copying it; the target picture is the last resort.
        positive = _choice(random, [p for e in sorted(own) for p in own[e] if p not in (face, goal)] or [goal])
        # Another person with the same expressions, so that only identity tells them apart.
        other, negative = _shown(random, people[j], start, target)
        augmentation = _augmentation(random, self.augment)
        if self.likeness:
            several = [(other, negative)]
            for _ in range(self.likeness.hardest - 1):
                several.append(_shown(random, people[self._stranger(random, i)], start, target))
            shown = [picture for _, picture in several]
            alike = self.likeness.vectors[shown] @ self.likeness.vectors[goal]
            other, negative = several[np.lexsort((alike, self.expression[shown] == target))[-1]]
        return Drawn((face, goal, positive, other, negative), target, augmentation)

    def batch(self, first: int, count: int) -> "Batch":
        """Tuples first .. first + count - 1."""
        drawn = [self.draw(k) for k in range(first, first + count)]
        return Batch(
            pictures=np.array([d.pictures for d in drawn]).T,
            targets=np.array([d.target for d in drawn]),
            augmentation=np.stack([d.augmentation for d in drawn]),
        )

    def _stranger(self, random: np.random.Generator, i: int) -> int:
        """Another person's place, of the half that person i is of."""
        half: list[int] = self._around[i]  # type: ignore[attr-defined]
        j = int(random.integers(len(half) - 1))
        return half[j + (half[j] >= i)]


@dataclass(frozen=True)
class Drawn:
    pictures: tuple[int, int, int, int, int]
    target: int
    augmentation: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """pictures: 5,N indexes of (input, target, positive, other, negative); targets: N; augmentation: N,10."""

    pictures: NDArray[np.integer]
    targets: NDArray[np.integer]
    augmentation: NDArray[np.float32]


def _two(random: np.random.Generator, count: int) -> tuple[int, int]:
    """Two different places of `count`."""
    i, j = int(random.integers(count)), int(random.integers(count - 1))
    return i, j + (j >= i)


def _augmentation(random: np.random.Generator, augment: Augment) -> NDArray[np.float32]:
    """(mirror -1 or 1, shift x, shift y, scale, turn in radians, brightness, contrast and three colour factors)."""
    u = random.uniform(-1, 1, 10)
    mirror = -1.0 if augment.flip and u[0] < 0 else 1.0
    # A shift is a share of the side; the sampling grid runs from -1 to 1, two units a side.
    spread = np.array([2 * augment.shift] * 2 + [augment.scale, np.deg2rad(augment.rotate)] + [augment.light] * 2)
    middle = np.array([0, 0, 1, 0, 0, 1])
    colours = 1 + augment.colour * u[7:]
    return np.concatenate([[mirror], middle + spread * u[1:7], colours]).astype(np.float32)


def _shown(random: np.random.Generator, person: dict[int, list[int]], start: int, target: int) -> tuple[int, int]:
    """A picture of the person with each expression; any picture, where there is none with it."""
    return _choice(random, person.get(start) or _all(person)), _choice(random, person.get(target) or _all(person))


def _choice(random: np.random.Generator, values: list[int]) -> int:
    return values[int(random.integers(len(values)))]


def _all(pictures: dict[int, list[int]]) -> list[int]:
    return [p for e in sorted(pictures) for p in pictures[e]]
