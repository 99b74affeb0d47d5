"""Procedural people over all cores."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visage.config.data import Data
from visage.faces.facs import EXPRESSIONS, one_sided, prototype
from visage.faces.layouts import Row
from visage.faces.split import PRACTICE, READING

if TYPE_CHECKING:
    from visage.faces.synthetic.people import SyntheticRow, Variant

# Below this, starting worker processes takes longer than the work.
FEW_RENDERINGS = 400
SHOTS = 24  # of each person who shows action units and no expression
READING_EVERY = 4  # of the first of these people is the judge's,
READING_MOST = 50  # so many: a linear judge reads no better with more of them


def rendered(data: Data, expressions: tuple[str, ...]) -> Generator[tuple[int, Row, np.ndarray]]:
    """Every picture of the procedural people, person by person: (index, row, uint8 S,S,3)."""
    with _pool(count(data, expressions)) as parallel:
        named = ((person, data, expressions) for person in range(data.people))
        further = ((person, data) for person in range(data.people, data.people + data.units))
        # One after the other: the processes serve one call at a time.
        everybody = (one for draw, people in ((_person, named), (_practice, further)) for one in parallel(draw, people))
        for index, (row, face) in enumerate(itertools.chain.from_iterable(everybody)):
            yield index, row, face


def count(data: Data, expressions: tuple[str, ...]) -> int:
    """How many pictures `rendered` makes."""
    return data.people * data.pictures * len(_kinds(data, expressions)) + data.units * SHOTS


def _kinds(data: Data, expressions: tuple[str, ...]) -> list[tuple[str, "Variant"]]:
    """Expressions and variants of a sitting. A face at rest has no half, and contempt is one-sided already."""
    shown = [name for name in EXPRESSIONS if name in expressions]
    kinds: list[tuple[str, Variant]] = [(name, "full") for name in shown]
    if data.fine:
        kinds += [(name, "half") for name in shown if prototype(name)]
        kinds += [(name, "one-sided") for name in shown if prototype(name) and not one_sided(name)]
    return kinds


@contextmanager
def _pool(total: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A starmap in order, over all cores when there is enough to do; its processes end with the block."""
    if total < FEW_RENDERINGS:
        yield itertools.starmap
        return
    # Processes without Ray: it takes as long to start as this takes to finish.
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    run = Parallel(n_jobs=-1, return_as="generator")
    try:
        yield lambda function, items: run(delayed(function)(*item) for item in items)
    finally:
        get_reusable_executor().shutdown(kill_workers=True)


def _person(person: int, data: Data, expressions: tuple[str, ...]) -> list[tuple[Row, np.ndarray]]:
    from visage.faces.synthetic import picture_of

    found = []
    for session in range(data.pictures):
        for expression, variant in _kinds(data, expressions):
            made, face = picture_of(
                person, expression, session, data.size, data.seed, data.nuisance, turn=data.turn, variant=variant
            )
            name = f"{session}" if variant == "full" else f"{session}-{variant}"
            found.append((_row(made, name, intensity=0.5 if variant == "half" else 1.0), face))
    return found


def _practice(person: int, data: Data) -> list[tuple[Row, np.ndarray]]:
    from visage.faces.synthetic import unit_picture

    place = person - data.people
    teaches_judge = place % READING_EVERY == 0 and place < READING_EVERY * READING_MOST
    found = []
    for shot in range(SHOTS):
        made, face = unit_picture(person, shot, data.size, data.seed, data.nuisance, data.turn)
        found.append((_row(made, f"{shot}", published=READING if teaches_judge else PRACTICE), face))
    return found


def _row(made: "SyntheticRow", session: str, **more: Any) -> Row:
    return Row(
        Path(),
        made.identity,
        made.expression,
        session,
        angle="" if made.turn is None else f"{made.turn:.1f}",
        aus=tuple(made.aus.tolist()),
        lopsided=round(made.lopsided, 3),
        **more,
    )
