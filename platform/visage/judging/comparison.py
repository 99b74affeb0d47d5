"""Variants of a training held against one another: several seeds each, judged on the same faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visage.judging.metrics import Estimate, Numbers, score
from visage.judging.results import FaceResult, Intensity

MEASURED = ("identity", "identity_similarity", "expression", "expression_probability")


@dataclass(frozen=True)
class Compared:
    """A variant's figures by metric. metrics: mean over its runs. by_run: each. difference: to the first variant, run
    by run of one seed; NaN where they share none.

    Intervals are of 95 % by Student's t over the seeds. The test people are the same in all runs, so that the intervals
    say nothing of other people; NaN
    where there is one seed.
    """

    metrics: dict[str, Estimate]
    by_run: dict[str, list[float]]
    difference: dict[str, Estimate]


def compared(runs: Mapping[str, Mapping[int, Sequence[FaceResult]]]) -> dict[str, Compared]:
    """Metrics and score of each variant, and what it changes against the first.

    runs: by variant and seed, the single results of a run; all of the same faces in the same order.
    """
    faces = None
    figures: dict[str, dict[int, dict[str, float]]] = {}
    for name, variant in runs.items():
        for results in variant.values():
            shown = [(result.identity, result.input, result.target) for result in results]
            faces = faces or shown
            if shown != faces:
                raise ValueError(f"{name}: was judged on other faces than the first variant")
        figures[name] = {seed: _figures(results) for seed, results in variant.items()}
    first = next(iter(figures.values()))
    found = {}
    for name, variant_figures in figures.items():
        by_run = {metric: [run[metric] for run in variant_figures.values()] for metric in (*MEASURED, "score")}
        both = [seed for seed in variant_figures if seed in first]
        found[name] = Compared(
            metrics={metric: over_seeds(values) for metric, values in by_run.items()},
            by_run=by_run,
            difference={
                metric: over_seeds([variant_figures[seed][metric] - first[seed][metric] for seed in both])
                for metric in by_run
            },
        )
    return found


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one figure for each seed with its 95 % interval by Student's t; few seeds make it wide, and one has
    none."""
    from scipy.stats import t

    count = len(values)
    if not count:
        return Estimate(float("nan"), float("nan"), float("nan"))
    mean = float(np.mean(values))
    reach = float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return Estimate(mean, mean - reach, mean + reach)


def _figures(results: Sequence[FaceResult]) -> dict[str, float]:
    found = {metric: float(_column(results, metric).mean()) for metric in MEASURED}
    return found | {"score": float(score(found["identity_similarity"], found["expression_probability"]))}


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
