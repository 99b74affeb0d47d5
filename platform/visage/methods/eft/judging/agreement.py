"""How the action units of results agree with those of their drivers, as pure functions of numbers."""

from collections.abc import Mapping

import numpy as np

from visage.faces.action_units import PRESENT
from visage.judging.metrics import Estimate, Numbers, People, interval, means_over_people, resampled, score


def weights_of(people: People, resamplings: int) -> Numbers:
    """How often each of N pairs counts: in a first row each once, then in draws of as many people with replacement."""
    names, owner = np.unique(np.asarray(people), return_inverse=True)
    return resampled(len(names), resamplings)[:, owner]


def correlations(truth: Numbers, read: Numbers, weights: Numbers) -> Numbers:
    """Pearson's correlation of N,U and N,U under each row of M,N weights: M,U; NaN where either does not vary."""
    known = ~np.isnan(truth)
    x, y = np.where(known, truth, 0.0), np.where(known, read, 0.0)
    count = weights @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = weights @ x / count, weights @ y / count
        both = weights @ (x * y) / count - mean_x * mean_y
        spread = (weights @ (x * x) / count - mean_x**2) * (weights @ (y * y) / count - mean_y**2)
        return np.where(spread > 1e-12, both / np.sqrt(np.maximum(spread, 1e-12)), np.nan)


def f1_scores(truth: Numbers, read: Numbers, weights: Numbers) -> Numbers:
    """F1 of presence, as `correlations`; NaN where no driver shows the unit."""
    known = ~np.isnan(truth)
    shown, said = np.where(known, truth, 0) >= PRESENT, known & (read >= PRESENT)
    hits, misses, alarms = (weights @ found for found in (shown & said, shown & ~said, ~shown & said))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(hits + misses > 0, 2 * hits / (2 * hits + misses + alarms), np.nan)


def mean_interval(values: Numbers) -> Estimate:
    """As `interval` for the mean over U of M,U, without what is NaN of all pairs."""
    measured = values[:, ~np.isnan(values[0])]
    with np.errstate(invalid="ignore"):
        counted = ~np.isnan(measured)
        return interval(np.where(counted, measured, 0).sum(1) / np.where(counted.any(1), counted.sum(1), np.nan))


def agreement(missed: Numbers, driverless: float) -> Numbers:
    """au_agreement of N results: 1 - missed / driverless; 1 for a copy of the driver, and unbounded below.

    missed: how far a result's action units are from its driver's, on average over units. driverless: the same of the
    best answer that does not look at the driver, on average over the pairs; so such answers have at most 0. One number
    for all pairs, so that the mean over any of them is a ratio of means: table, gate and ablation say the same.
    """
    return 1 - missed / max(driverless, 1e-9)


def transfer_estimates(columns: Mapping[str, Numbers], people: People, resamplings: int) -> dict[str, Estimate]:
    """Means of the columns over N pairs with 95 % intervals over people, and the score that is made of them: the
    harmonic mean of identity_similarity and au_agreement."""
    means = means_over_people(columns, people, resamplings)
    means["score"] = score(means["identity_similarity"], means["au_agreement"])
    return {name: interval(values) for name, values in means.items()}
