"""A face set's worth of procedural people."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from visage.faces.facs import AUS, EXPRESSIONS, au_vector, prototype
from visage.faces.synthetic.face import render
from visage.faces.synthetic.muscles import TURN_DEGREES, Nuisance
from visage.faces.synthetic.person import traits

# Faces at rest and posed ones are never quite the prototype: each AU's share of it, and stray AUs.
_STRENGTH = (0.8, 1.0)
_STRAY = 0.06
# Shots of one sitting differ by this share of what sittings differ by.
_SHOT = 0.2
# How one-sided an expression on one side alone is.
_LOPSIDED = (0.7, 1.0)
# Of random action units: how many a face shows at most, how strongly, how often one-sided, and by how much.
_MOST, _SHOWN, _ONE_SIDED, _WEAKER = 7, (0.1, 1.0), 0.4, (0.3, 1.0)


@dataclass(frozen=True)
class SyntheticRow:
    """One procedural picture: `aus` is float32 in the order of `facs.AUS`, exact; `session` numbers the sitting.

    aus: of the stronger side, as FACS scores them. turn: of the head, in degrees; None where it is not asked for.
    lopsided: see `muscles.posed`.
    """

    identity: str
    expression: str
    session: int
    aus: np.ndarray
    turn: float | None = None
    lopsided: float = 0.0


Variant = Literal["full", "half", "one-sided"]
VARIANTS: tuple[Variant, ...] = ("full", "half", "one-sided")


def picture_of(
    person: int, expression: str, session: int, size: int, seed: int, nuisance: float = 1.0, *, turn: float = 0.0,
    variant: Variant = "full",
) -> tuple[SyntheticRow, np.ndarray]:  # fmt: skip
    """One picture of a person: (row, uint8 size,size,3). The same arguments give the same picture.

    Within a sitting light, backdrop and hair are the same but for small movements, as in a studio; every picture has
    its own intensities.

    `nuisance`, 0 to 2: how far light, pose, hair and backdrop go from the middle; at 0 all pictures have the same.
    `turn`: each picture's head turns by up to so many degrees; 0 leaves that to the nuisance. `variant`: the whole
    expression, half of it, or most of it on one side alone.
    """
    shot, own, setting, degrees = _shot(person, expression, session, seed, nuisance, turn, variant)
    aus = {au: value * shot.uniform(*_STRENGTH) for au, value in prototype(expression).items()}
    if variant == "half":
        aus = {au: value / 2 for au, value in aus.items()}
    for au in shot.choice([au for au in AUS if au not in (14, 26, 27)], 2, replace=False).tolist():
        aus[au] = max(aus.get(au, 0.0), float(shot.uniform(0, _STRAY)))
    lopsided = float(own.choice((-1, 1)) * own.uniform(*_LOPSIDED)) if variant == "one-sided" else 0.0
    name = f"s{seed}-p{person:04d}"
    row = SyntheticRow(name, expression, session, au_vector(aus), degrees if turn else None, lopsided)
    return row, render(traits(person_seed(seed, person)), aus, size, setting, lopsided)


def exchanged(
    aus: Mapping[int, float], lopsided: float, person: int, expression: str, session: int, size: int, seed: int,
    nuisance: float = 1.0, *, turn: float = 0.0, variant: Variant = "full",
) -> np.ndarray:  # fmt: skip
    """The picture of `picture_of` with other action units, all else as it is: uint8 size,size,3."""
    *_, setting, _ = _shot(person, expression, session, seed, nuisance, turn, variant)
    return render(traits(person_seed(seed, person)), aus, size, setting, lopsided)


def _shot(
    person: int, expression: str, session: int, seed: int, nuisance: float, turn: float, variant: Variant
) -> tuple[np.random.Generator, np.random.Generator, Nuisance, float]:
    """What draws a picture's action units, and its side; its setting; and by how many degrees its head turns."""
    kind = [EXPRESSIONS.index(expression)] + ([VARIANTS.index(variant)] if variant != "full" else [])
    sitting = np.random.default_rng([0x53, seed, person, session])
    shot = np.random.default_rng([0x54, seed, person, session, *kind])
    setting = Nuisance.drawn(sitting).scaled(nuisance).near(Nuisance.drawn(shot).scaled(nuisance), _SHOT)
    own = np.random.default_rng([0x55, seed, person, session, *kind])
    degrees = float(own.uniform(-turn, turn))
    if turn:
        setting = replace(setting, turn=degrees / TURN_DEGREES)
    return shot, own, setting, degrees


def drawn_with(aus: Mapping[int, float], person: int, size: int, seed: int, turn: float = 0.0) -> np.ndarray:
    """A person with these action units by FACS number, in a setting of the person's own: uint8 size,size,3."""
    setting = Nuisance.drawn(sitting := np.random.default_rng([0x56, seed, person]))
    if turn:
        setting = replace(setting, turn=float(sitting.uniform(-turn, turn)) / TURN_DEGREES)
    return render(traits(person_seed(seed, person)), aus, size, setting)


def unit_picture(
    person: int, shot: int, size: int, seed: int, nuisance: float = 1.0, turn: float = 0.0
) -> tuple[SyntheticRow, np.ndarray]:
    """A picture of a person with random action units, none to seven, some stronger on one side: (row, uint8
    size,size,3). nuisance: how much light, pose and background vary. turn: the most degrees that a head turns.

    All shots of a person are of one setting and pose, so that two differ by their action units alone: each is the true
    face of the other under its units. Two neighbours, an even number and the next, show the same units in each shot, so
    that each has the true answer to the other as a driver. The row's expression is empty.
    """
    sitting, own = np.random.default_rng([0x56, seed, person]), np.random.default_rng([0x57, seed, person // 2, shot])
    setting, degrees = Nuisance.drawn(sitting).scaled(nuisance), float(sitting.uniform(-turn, turn))
    if turn:
        setting = replace(setting, turn=degrees / TURN_DEGREES)
    shown = own.choice(AUS, own.integers(0, _MOST + 1), replace=False).tolist()
    aus = {au: float(own.uniform(*_SHOWN)) for au in shown}
    lopsided = float(own.choice((-1, 1)) * own.uniform(*_WEAKER)) if own.random() < _ONE_SIDED else 0.0
    row = SyntheticRow(f"s{seed}-p{person:04d}", "", shot, au_vector(aus), degrees if turn else None, lopsided)
    return row, render(traits(person_seed(seed, person)), aus, size, setting, lopsided)


def person_seed(seed: int, person: int) -> int:
    """The seed of a person in the set of a seed: sets of different seeds share nobody."""
    return seed * 1_000_000 + person
