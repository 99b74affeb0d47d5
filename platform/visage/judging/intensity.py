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


def intensity_curve(judges: Judges, generator: Generator, pairs: Pairs, bootstrap: int) -> Intensity | None:
    """Generate at most PAIRS of the pairs, drawn, at every level and judge them: those whose target is not neutral,
    which has no intensity. None where there are none.

    An input that shows another expression loses it on the way to 0. Intervals are 95 % over people.
    """
    neutral = [kind for kind, name in enumerate(judges.faces.expressions) if name == NEUTRAL]
    places = np.flatnonzero(~np.isin(pairs.target, neutral))
    if not len(places):
        return None
    asked = pairs.take(np.sort(np.random.default_rng(0).permutation(places)[:PAIRS]))
    people = judges.faces.identity[asked.input]
    found = [judges.answers(generator, asked, level)[1] for level in LEVELS]
    probability, similarity = (
        [columns[name] for columns in found] for name in ("expression_probability", "identity_similarity")
    )
    rise = np.array([values for level, values in zip(LEVELS, probability, strict=True) if level <= 1])
    rising = (np.diff(rise, axis=0) >= -SLACK).all(0) & (rise[-1] > rise[0])
    return Intensity(
        levels=list(LEVELS),
        expression_probability=[interval_over_people(values, people, bootstrap) for values in probability],
        identity_similarity=[interval_over_people(values, people, bootstrap) for values in similarity],
        rising=interval_over_people(rising.astype(float), people, bootstrap),
        people=len(np.unique(people)),
        pairs=len(asked),
    )
