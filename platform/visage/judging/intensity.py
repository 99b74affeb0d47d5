"""How the expression grows with the intensity that is asked for."""

import numpy as np

from visage.judging.judges import Generator, Judges
from visage.judging.metrics import interval_over_people
from visage.judging.pairs import Pairs
from visage.judging.results import Intensity
from visage.models.condition import NEUTRAL

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
PAIRS = 128
SLACK = 0.01  # a probability near 0 or 1 that moves by less has not fallen


def strengthening(judges: Judges, pairs: Pairs, seed: int, limit: int = PAIRS) -> Pairs:
    """At most `limit` of the pairs, drawn by `seed`, whose target is not neutral: that one has no intensity."""
    names = judges.faces.expressions
    places = np.arange(len(pairs))
    if NEUTRAL in names:
        places = places[pairs.target != names.index(NEUTRAL)]
    return pairs.take(np.sort(np.random.default_rng(seed).permutation(places)[:limit]))


def intensity_curve(
    judges: Judges, generator: Generator, pairs: Pairs, bootstrap: int, seed: int = 0
) -> Intensity | None:
    """Generate some of the pairs at every level and judge them; None when no target is other than neutral.

    An input that shows another expression loses it on the way to 0. Intervals are 95 % over people.
    """
    asked = strengthening(judges, pairs, seed)
    if not len(asked):
        return None
    people = judges.faces.identity[asked.input]
    probability, similarity = [], []
    for level in LEVELS:
        parts = [judges.columns(judges.judge(made), some, some.reference)
                 for some, made in judges.generated(generator, asked, level)]  # fmt: skip
        probability.append(np.concatenate([part["expression_probability"] for part in parts]))
        similarity.append(np.concatenate([part["identity_similarity"] for part in parts]))
    rise = np.array([values for level, values in zip(LEVELS, probability, strict=True) if level <= 1])
    rising = (np.diff(rise, axis=0) >= -SLACK).all(0) & (rise[-1] > rise[0])
    return Intensity(
        levels=list(LEVELS),
        expression_probability=[interval_over_people(values, people, bootstrap, seed) for values in probability],
        identity_similarity=[interval_over_people(values, people, bootstrap, seed) for values in similarity],
        rising=interval_over_people(rising.astype(float), people, bootstrap, seed),
        people=len(np.unique(people)),
        pairs=len(asked),
    )
