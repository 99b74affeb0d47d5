"""What is measured, as pure functions of numbers that the judges gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from visage.judging.bootstrap import Numbers, bounds, resampled

Measured = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]


@dataclass(frozen=True)
class Verification:
    """Same person or not: yes where the similarity lies above `threshold`.

    false_accept_rate: the share of the impostor pairs above it. true_accept_rate: of the genuine pairs.
    allowed: the false accept rate that was asked for.
    """

    threshold: float
    allowed: float
    false_accept_rate: float
    true_accept_rate: float
    genuine_pairs: int
    impostor_pairs: int


def genuine_and_impostors(embeddings: NDArray[np.floating], people: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Cosines of all pairs of pictures of one person, and of all pairs of two people.

    embeddings: N,D unit vectors. people: N, whose picture it is.
    """
    similar = np.asarray(embeddings, np.float64) @ np.asarray(embeddings, np.float64).T
    names = np.asarray(people)
    first, second = np.triu_indices(len(names), 1)
    same = names[first] == names[second]
    return similar[first, second][same], similar[first, second][~same]


def false_accept_rate(impostors: int) -> float:
    """At which rate so many impostor pairs allow a verification: 1e-3 needs more than 10,000, else it is 1e-2."""
    return 0.001 if impostors > 10_000 else 0.01


def verification(genuine: Numbers, impostors: Numbers, allowed_rate: float = 0.01) -> Verification:
    """The verification whose threshold lets at most `allowed_rate` of the impostor pairs pass.

    With fewer impostor pairs than 1 / allowed_rate none passes, so the rate reached is 0.
    """
    if not len(impostors):
        raise ValueError("no impostor pairs; a threshold needs pictures of two people")
    allowed = int(allowed_rate * len(impostors))
    threshold = float(np.sort(impostors)[::-1][min(allowed, len(impostors) - 1)])
    return Verification(
        threshold=threshold,
        allowed=allowed_rate,
        false_accept_rate=float(np.mean(impostors > threshold)),
        true_accept_rate=float(np.mean(genuine > threshold)) if len(genuine) else float("nan"),
        genuine_pairs=len(genuine),
        impostor_pairs=len(impostors),
    )


def score(similarity: float | Numbers, probability: float | Numbers) -> float | Numbers:
    """Harmonic mean of identity_similarity, negative values of which count as 0, and expression_probability."""
    similarity, probability = np.maximum(similarity, 0.0), np.maximum(probability, 0.0)
    total = similarity + probability
    return np.where(total > 0, 2 * similarity * probability / np.where(total > 0, total, 1), 0.0)[()]


def expression_change(change: float | Numbers, true_change: float | Numbers) -> float | Numbers:
    """The share of the true change that was made: mean(p(c|g) - p(c|x)) / mean(p(c|y) - p(c|x)), given both means.

    A ratio of means and not a mean of ratios, for a true face that hardly differs from the input would rule the latter.
    NaN where the judge sees no true change.
    """
    true = np.asarray(true_change)
    return np.divide(change, true, out=np.full(true.shape, np.nan), where=true > 1e-3)[()]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; NaN, which JSON writes as null, where nothing could be measured."""

    value: Measured
    low: Measured
    high: Measured


def interval(values: Numbers) -> Estimate:
    """The first of M values with the 95 % interval of the others."""
    return Estimate(float(values[0]), *bounds(values[1:], float(values[0])))


def means_over_people(
    columns: Mapping[str, Numbers], people: Sequence[str] | NDArray[np.str_], resamplings: int, seed: int
) -> tuple[dict[str, float], dict[str, Numbers]]:
    """The mean of each column over its pairs, and the same means in `resamplings` draws of as many people.

    columns: N values each, NaN where a pair has none. People are drawn with replacement, with all their pairs, since
    the pairs of one person are not independent. A column without any value is left out.
    """
    names, owner = np.unique(np.asarray(people), return_inverse=True)
    weights = resampled(len(names), resamplings, seed)[1:]
    value, spread = {}, {}
    for name, column in columns.items():
        known = ~np.isnan(column)
        if not known.any():
            continue
        sums = np.bincount(owner[known], column[known], len(names))
        counts = np.bincount(owner[known], minlength=len(names)).astype(float)
        value[name] = float(sums.sum() / counts.sum())
        drawn = weights @ counts
        spread[name] = np.divide(weights @ sums, drawn, out=np.full(resamplings, np.nan), where=drawn > 0)
    return value, spread


def estimates(
    columns: Mapping[str, Numbers], people: Sequence[str], resamplings: int = 2_000, seed: int = 0
) -> dict[str, Estimate]:
    """All metrics of a row with 95 % bootstrap intervals over people, from values of single pairs.

    columns, of N pairs each: identity, identity_similarity, expression, expression_probability and, where a pair has
    a true face, change and true_change (of the probability), ssim, psnr, l1; NaN where a pair has no value.
    Adds score and expression_change, which are made of means and not means of values.
    """
    value, spread = means_over_people(columns, people, resamplings, seed)
    value, spread = dict(_derived(value)), dict(_derived(spread))  # type: ignore[arg-type]
    return {name: _estimate(figure, spread[name]) for name, figure in value.items()}


def interval_over_people(
    column: Numbers, people: Sequence[str] | NDArray[np.str_], resamplings: int = 2_000, seed: int = 0
) -> Estimate:
    """The mean of one column of N values, one person's each, as in `estimates`; NaN where there is none."""
    value, spread = means_over_people({"": column}, people, resamplings, seed)
    return _estimate(value[""], spread[""]) if value else Estimate(float("nan"), float("nan"), float("nan"))


def _estimate(figure: float | Numbers, drawn: float | Numbers) -> Estimate:
    return Estimate(float(figure), *bounds(np.asarray(drawn), float(figure)))


def _derived(means: Mapping[str, float] | Mapping[str, Numbers]) -> Mapping[str, float | Numbers]:
    """`means` with score and expression_change in place of what they are made of."""
    found: dict[str, float | Numbers] = {k: v for k, v in means.items() if k not in ("change", "true_change")}
    found["score"] = score(means["identity_similarity"], means["expression_probability"])
    if "true_change" in means:
        share = expression_change(means["change"], means["true_change"])
        if not np.isnan(share).all():
            found["expression_change"] = share
    return found
