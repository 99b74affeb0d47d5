"""What two models' self-checks say of the same kind of requests: their difference, and how sure it is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from visage.judging.metrics import Estimate, Numbers, bounds

# Requests, of each side, below which nothing is said of a difference.
REQUESTS = 50
RESAMPLINGS = 2_000
CHUNK = 100  # resamplings at a time, for the memory


@dataclass(frozen=True)
class Difference:
    """Means of a value over requests. difference: challenger minus champion with its 95 % interval; None for few.

    champion_requests, challenger_requests: what the means rest on; the same ones where both answered each request.
    """

    champion: float | None
    challenger: float | None
    champion_requests: int
    challenger_requests: int
    difference: Estimate | None

    @property
    def verdict(self) -> str:
        """What may be said of the challenger: higher, lower, no difference shown, or too few requests."""
        if self.difference is None:
            return "too few requests"
        if self.difference.low > 0:
            return "higher"
        return "lower" if self.difference.high < 0 else "no difference shown"


def paired(champion: Numbers, challenger: Numbers) -> Difference:
    """Both models' values of the same requests, N each, resampled as pairs."""
    return _difference(champion, challenger, lambda: _means(challenger - champion, 0))


def unpaired(champion: Numbers, challenger: Numbers) -> Difference:
    """Values of different requests, dealt out by chance, N and M; both sides are resampled by themselves."""
    return _difference(champion, challenger, lambda: _means(challenger, 0) - _means(champion, 1))


def _difference(champion: Numbers, challenger: Numbers, spread: Callable[[], Numbers]) -> Difference:
    here, there = (float(values.mean()) if len(values) else None for values in (champion, challenger))
    estimate = None
    if here is not None and there is not None and min(len(champion), len(challenger)) >= REQUESTS:
        estimate = Estimate(there - here, *bounds(spread(), there - here))
    return Difference(here, there, len(champion), len(challenger), estimate)


def _means(values: Numbers, seed: int) -> Numbers:
    """The mean of each resampling."""
    random = np.random.default_rng(seed)
    drawn = [
        values[random.integers(len(values), size=(CHUNK, len(values)))].mean(axis=1)
        for _ in range(RESAMPLINGS // CHUNK)
    ]
    return np.concatenate(drawn)
