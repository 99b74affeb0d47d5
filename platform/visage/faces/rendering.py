"""Procedural people over all cores."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from visage.config.data import Data
from visage.faces.facs import EXPRESSIONS
from visage.faces.layouts import Row

# Below this, starting worker processes takes longer than the work.
FEW_RENDERINGS = 400


def rendered(data: Data, expressions: tuple[str, ...]) -> Generator[tuple[int, Row, np.ndarray]]:
    """Every picture of the procedural people, person by person: (index, row, uint8 S,S,3)."""
    with _pool(data.people * data.pictures * len(expressions)) as parallel:
        settings = data.pictures, data.size, data.seed, data.nuisance, expressions
        everybody = parallel(_person, ((person, *settings) for person in range(data.people)))
        for index, (row, face) in enumerate(itertools.chain.from_iterable(everybody)):
            yield index, row, face


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


def _person(
    person: int, pictures: int, size: int, seed: int, nuisance: float, expressions: tuple[str, ...]
) -> list[tuple[Row, np.ndarray]]:
    from visage.faces.synthetic import picture_of

    shots = [
        picture_of(person, expression, session, size, seed, nuisance)
        for session in range(pictures)
        for expression in EXPRESSIONS
        if expression in expressions
    ]
    return [
        (Row(Path(), made.identity, made.expression, str(made.session), aus=tuple(made.aus.tolist())), face)
        for made, face in shots
    ]
