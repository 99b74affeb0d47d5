"""What a search seeks, and what it must keep to: metrics of the validation people, by their names."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

Transferred = Literal["au_agreement", "au_correlation"]
Measured = Literal[
    "identity_similarity", "expression_probability", "expression_change", "score", "frechet", Transferred
]
Objective = Literal[Measured, "preference"]
Metric = Literal[Measured, "identity", "expression"]
PREFERENCE = "preference"  # what people choose, on a study's page; no trial reports it
UNSEEN = 0.5  # the preference of a trial that nobody was shown
FRECHET = "frechet"
RANGES = {  # the others lie in 0..1
    "identity_similarity": (-1.0, 1.0),
    "expression_change": (-math.inf, math.inf),
    "au_agreement": (-math.inf, 1.0),
    "au_correlation": (-1.0, 1.0),
    FRECHET: (0.0, math.inf),
}
RULE = re.compile(r"\s*([<>]=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound of a metric, as in `identity: ">= 0.6"`."""

    metric: str
    at_least: bool
    bound: float

    @classmethod
    def read(cls, metric: str, rule: str) -> "Constraint":
        """Raises ValueError when the rule is none, or one that no value of the metric can meet."""
        found = RULE.fullmatch(rule)
        if metric not in get_args(Metric):
            raise ValueError(f"{metric} is no metric; use one of {', '.join(get_args(Metric))}")
        if not found:
            raise ValueError(f"{metric}: {rule} is no bound; write for instance {metric}: '>= 0.6'")
        constraint = cls(metric, found[1] == ">=", float(found[2]))
        low, high = RANGES.get(metric, (0.0, 1.0))
        if constraint.violation(high if constraint.at_least else low) > 0:
            raise ValueError(
                f"{metric}: {rule} can never be met, as {metric} lies in {low:g}..{high:g}; mend the bound"
            )
        return constraint

    def violation(self, value: float) -> float:
        """By how much a value misses the bound; 0 or less where it is met."""
        return self.bound - value if self.at_least else value - self.bound

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.bound:g}"


def check_direction(metric: str, mode: str) -> None:
    """Raise ValueError for an objective that seeks the worst."""
    best = "min" if metric == FRECHET else "max"
    if mode != best:
        raise ValueError(f"{metric}: {mode} would seek the worst; write {metric}: {best}")
