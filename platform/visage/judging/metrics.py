"""What is measured, as pure functions of numbers that the judges gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

Numbers = NDArray[np.float64]
People = Sequence[str] | NDArray[np.str_]  # whose each of N values is
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


def score(similarity: float | Numbers, probability: float | Numbers) -> Numbers:
    """Harmonic mean of identity_similarity, negative values of which count as 0, and expression_probability."""
    similarity, probability = np.maximum(similarity, 0.0), np.maximum(probability, 0.0)
    total = similarity + probability
    return np.where(total > 0, 2 * similarity * probability / np.where(total > 0, total, 1), 0.0)[()]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; NaN, which JSON writes as null, where nothing could be measured."""

    value: Measured
    low: Measured
    high: Measured


def resampled(count: int, resamplings: int, seed: int = 0) -> Numbers:
    """The bootstrap over people: how often each of `count` counts, R+1,count. In the first row each once, which gives
    the figure itself; then in `resamplings` draws of as many people with replacement, each with all their pairs, since
    the pairs of one person are not independent."""
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamplings)
    return np.vstack([np.ones(count), draws])


def bounds(drawn: Numbers, figure: float) -> tuple[float, float]:
    """The ends of the 95 % interval of a figure's draws, without those that gave none (NaN); else the figure."""
    known = drawn[~np.isnan(drawn)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (figure, figure)
    return float(low), float(high)


def interval(values: Numbers) -> Estimate:
    """The first of M values with the 95 % interval of the others."""
    return Estimate(float(values[0]), *bounds(values[1:], float(values[0])))


def means_over_people(columns: Mapping[str, Numbers], people: People, resamplings: int) -> dict[str, Numbers]:
    """The mean of each column over its pairs, and then the same in `resamplings` draws of people: R+1 each.

    columns: N values each, NaN where a pair has none. A column without any value is left out.
    """
    names, owner = np.unique(np.asarray(people), return_inverse=True)
    weights = resampled(len(names), resamplings)[1:]
    found = {}
    for name, column in columns.items():
        known = ~np.isnan(column)
        if not known.any():
            continue
        sums = np.bincount(owner[known], column[known], len(names))
        counts = np.bincount(owner[known], minlength=len(names)).astype(float)
        drawn = weights @ counts
        means = np.divide(weights @ sums, drawn, out=np.full(resamplings, np.nan), where=drawn > 0)
        found[name] = np.append(sums.sum() / counts.sum(), means)
    return found


def estimates(columns: Mapping[str, Numbers], people: People, resamplings: int) -> dict[str, Estimate]:
    """All metrics of a row with 95 % bootstrap intervals over people, from values of single pairs.

    columns, of N pairs each: identity, identity_similarity, expression, expression_probability and, where a pair has
    a true face, change and true_change (of the probability), ssim, psnr, l1; NaN where a pair has no value.
    Adds score, and expression_change, the share of the true change that was made: mean(p(c|g) - p(c|x)) / mean(p(c|y) -
    p(c|x)), a ratio of means and no mean of ratios, which a true face that hardly differs from the input would rule. It
    is left out where the judge sees no true change.
    """
    means = means_over_people(columns, people, resamplings)
    found = {name: mean for name, mean in means.items() if name not in ("change", "true_change")}
    found["score"] = score(means["identity_similarity"], means["expression_probability"])
    if "true_change" in means and means["true_change"][0] > 1e-3:
        true = means["true_change"]
        found["expression_change"] = np.divide(means["change"], true, out=np.full_like(true, np.nan), where=true > 1e-3)
    return {name: interval(values) for name, values in found.items()}


def interval_over_people(column: Numbers, people: People, resamplings: int = 2_000) -> Estimate:
    """The mean of one column of N values, one person's each, as in `estimates`; NaN where there is none."""
    means = means_over_people({"": column}, people, resamplings)
    return interval(means[""]) if means else Estimate(float("nan"), float("nan"), float("nan"))
