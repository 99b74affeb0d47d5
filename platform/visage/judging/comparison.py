"""Variants of a training held against one another: several seeds each, judged on the same faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visage.judging.metrics import Estimate, Numbers, score
from visage.judging.results import FaceResult, Intensity

RESAMPLINGS = 2_000
MEASURED = ("identity", "identity_similarity", "expression", "expression_probability")


@dataclass(frozen=True)
class Compared:
    """A variant's figures by metric. metrics: mean over its runs. by_run: each. difference: to the first variant.

    Intervals are of 95 % over people and runs: both are resampled, people as the same ones for all variants.
    """

    metrics: dict[str, Estimate]
    by_run: dict[str, list[float]]
    difference: dict[str, Estimate]


def compared(
    runs: Mapping[str, Sequence[Sequence[FaceResult]]], resamplings: int = RESAMPLINGS, seed: int = 0
) -> dict[str, Compared]:
    """Metrics and score of each variant, and what it changes against the first.

    runs: by variant, the single results of each of its runs; all of the same faces in the same order.
    """
    first = next(results for variant in runs.values() for results in variant)
    faces = [(result.identity, result.input, result.target) for result in first]
    people, owner = np.unique([result.identity for result in first], return_inverse=True)
    random = np.random.default_rng(seed)
    # The first line draws everybody once and gives the figure itself.
    weights = random.multinomial(len(people), np.full(len(people), 1 / len(people)), size=resamplings)
    weights = np.vstack([np.ones(len(people)), weights])
    drawn = weights @ np.bincount(owner, minlength=len(people))
    spread: dict[str, dict[str, Numbers]] = {}
    by_run: dict[str, dict[str, list[float]]] = {}
    for name, variant in runs.items():
        for results in variant:
            if [(result.identity, result.input, result.target) for result in results] != faces:
                raise ValueError(f"{name}: was judged on other faces than the first variant")
        figures = {
            metric: np.stack([weights @ np.bincount(owner, _column(r, metric), len(people)) / drawn for r in variant])
            for metric in MEASURED
        }
        figures["score"] = np.asarray(score(figures["identity_similarity"], figures["expression_probability"]))
        by_run[name] = {metric: values[:, 0].tolist() for metric, values in figures.items()}
        chosen = random.integers(len(variant), size=(len(variant), resamplings))
        chosen = np.hstack([np.arange(len(variant))[:, None], chosen])
        spread[name] = {
            metric: np.take_along_axis(values, chosen, axis=0).mean(axis=0) for metric, values in figures.items()
        }
    base = next(iter(spread.values()))
    return {
        name: Compared(
            metrics={metric: _estimate(values) for metric, values in drawn_figures.items()},
            by_run=by_run[name],
            difference={metric: _estimate(values - base[metric]) for metric, values in drawn_figures.items()},
        )
        for name, drawn_figures in spread.items()
    }


@dataclass(frozen=True)
class AtEqualExpression:
    """identity_similarity of a variant and of the first one at the same expression_probability."""

    expression_probability: float
    identity_similarity: float
    first: float


def at_equal_expression(variant: Intensity, first: Intensity) -> AtEqualExpression:
    """Hold a variant against the first where both change as much: one that merely changes less gains nothing.

    The one that changes more at intensity 1 is turned down, along its own intensity curve, to where the other is.
    """
    at = variant.levels.index(1.0)
    asked = min(curve.expression_probability[at].value for curve in (variant, first))
    return AtEqualExpression(asked, _similarity_where(variant, asked), _similarity_where(first, asked))


def _similarity_where(curve: Intensity, asked: float) -> float:
    """The identity_similarity where a curve's expression_probability is `asked`, on its way from 0 to 1."""
    way = curve.levels.index(1.0) + 1
    reached = np.maximum.accumulate([point.value for point in curve.expression_probability[:way]])
    return float(np.interp(asked, reached, [point.value for point in curve.identity_similarity[:way]]))


def _column(results: Sequence[FaceResult], metric: str) -> Numbers:
    attribute = {"identity": "verified", "identity_similarity": "similarity", "expression": "correct"}
    return np.array([getattr(result, attribute.get(metric, "probability")) for result in results], float)


def _estimate(values: Numbers) -> Estimate:
    low, high = np.percentile(values[1:], (2.5, 97.5))
    return Estimate(float(values[0]), float(low), float(high))
