"""What ends a study before its last trial: budgets of time, of GPUs and of patience, and a goal."""

from typing import Any

from pydantic import Field, field_validator

from visage.config.aims import Constraint
from visage.config.data import Section


class Stop(Section):
    """Whichever is reached first ends the study, as `search.trials` does. Hours are those of all its parts together."""

    hours: float | None = Field(
        None, gt=0, description="hours that the study has run, the time between its parts left out; none: no bound"
    )
    gpu_hours: float | None = Field(None, gt=0, description="GPUs of the trials that ran, times their hours")
    goal: dict[str, str] = Field(
        default_factory=dict,
        description='metric: ">= BOUND" or "<= BOUND"; reached by a complete trial that meets all, and the constraints',
    )
    no_improvement: int | None = Field(None, ge=1, description="trials that ended since the best one did")

    @field_validator("goal", mode="before")
    @classmethod
    def _rules(cls, goal: Any) -> Any:
        if not isinstance(goal, dict):
            raise ValueError("is no goal, which names its metric; write for instance {score: '>= 0.6'}")
        for metric, rule in goal.items():
            Constraint.read(str(metric), str(rule))
        return goal

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
