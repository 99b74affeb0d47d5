"""What a search seeks, what it must keep to, and what ends it early: metrics of the validation people, by name."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from visage.config.data import Section

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


def _readable(rules: Any) -> Any:
    """Check each bound, before a number would be refused as no text."""
    if not isinstance(rules, dict):
        raise ValueError("is no bound, which names its metric; write for instance {score: '>= 0.6'}")
    for metric, rule in rules.items():
        Constraint.read(str(metric), str(rule))
    return rules


Rules = Annotated[dict[str, str], BeforeValidator(_readable)]


class Stop(Section):
    """Whichever is reached first ends the study, as `search.trials` does. Hours are those of all its parts together."""

    hours: float | None = Field(
        None, gt=0, description="hours that the study has run, the time between its parts left out; none: no bound"
    )
    gpu_hours: float | None = Field(None, gt=0, description="GPUs of the trials that ran, times their hours")
    goal: Rules = Field(
        default_factory=dict,
        description='metric: ">= BOUND" or "<= BOUND"; reached by a complete trial that meets all, and the constraints',
    )
    no_improvement: int | None = Field(None, ge=1, description="trials that ended since the best one did")

    def rules(self) -> list[Constraint]:
        """The goal, read."""
        return [Constraint.read(metric, rule) for metric, rule in self.goal.items()]

    def bounds(self) -> list[str]:
        """Each that is set, in words."""
        return [
            *([f"{self.hours:g} hours"] if self.hours else []),
            *([f"{self.gpu_hours:g} GPU hours"] if self.gpu_hours else []),
            *([f"a trial with {' and '.join(map(str, self.rules()))}"] if self.goal else []),
            *([f"{self.no_improvement} trials without a better one"] if self.no_improvement else []),
        ]
