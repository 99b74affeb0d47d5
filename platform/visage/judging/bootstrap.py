"""The bootstrap over people: how often each of them counts in a draw, and the 95 % between which the draws lie."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def resampled(count: int, resamplings: int, seed: int) -> Numbers:
    """How often each of `count` people counts: R+1,count. In the first row each once, which gives the figure itself;
    then in `resamplings` draws of as many people with replacement, each with all their pairs, since the pairs of one
    person are not independent."""
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamplings)
    return np.vstack([np.ones(count), draws])


def bounds(drawn: Numbers, figure: float) -> tuple[float, float]:
    """The ends of the 95 % interval of a figure's draws, without those that gave none (NaN); else the figure."""
    known = drawn[~np.isnan(drawn)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (figure, figure)
    return float(low), float(high)
