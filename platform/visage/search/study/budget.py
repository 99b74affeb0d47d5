"""What a study may spend and has spent, what is left to do, and which budget has ended it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from visage.config.aims import Stop
from visage.config.experiment import Search
from visage.search.study.endings import State
from visage.search.study.records import counted, feasible

if TYPE_CHECKING:
    from optuna import Study

# User attributes of a study: what is spent, the budgets of its last part, and what was left of them lately.
SPENT, STOP, LEFT = "spent", "stop", "left"
HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """Of all parts of a study together. seconds: that it ran. gpu_seconds: of the GPUs that its trials held."""

    seconds: float = 0.0
    gpu_seconds: float = 0.0

    @classmethod
    def of(cls, study: "Study") -> "Spent":
        return cls(**study.user_attrs.get(SPENT, {}))

    def keep(self, study: "Study") -> None:
        study.set_user_attr(SPENT, asdict(self))

    def told(self, stop: Stop) -> str:
        """In words, beside the budgets; empty where nothing is spent."""
        if not self.seconds:
            return ""
        hours = f" of {stop.hours:g} h" if stop.hours else ""
        gpus = f" of {stop.gpu_hours:g}" if stop.gpu_hours else ""
        on_gpus = f" and {self.gpu_seconds / HOUR:.3g}{gpus} GPU hours" if self.gpu_seconds or gpus else ""
        return f"{span(self.seconds)}{hours}{on_gpus} spent"


class Budget:
    """The budgets of a study that runs, from the moment that this is made.

    gpus: of one trial. at_once: trials side by side. clock: seconds. Trials are named as the caller likes.
    """

    def __init__(
        self, study: "Study", search: Search, gpus: float, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stop, self.trials, self.gpus, self.at_once, self.clock = search.stop, search.trials, gpus, at_once, clock
        self.rules, self.bounds = search.stop.rules(), search.bounds()
        self.spent, self.looked = Spent.of(study), clock()
        self.running: dict[str, float] = {}  # when each trial began, here
        self.took, self.ended_here = 0.0, 0  # seconds of the trials that ended here, and their number
        self.ended_trials = self.since_best = 0
        self.best: float | None = None
        self.reached = ""
        for trial in sorted(counted(study), key=lambda trial: str(trial.datetime_complete)):
            self._count(trial.user_attrs, complete=trial.user_attrs.get("state") == State.COMPLETE and feasible(trial))

    def started(self, trial: str) -> None:
        """A trial holds its GPUs from now on, or goes on to."""
        self.tick()
        self.running.setdefault(trial, self.looked)

    def ended(self, trial: str, metrics: Mapping[str, Any], *, complete: bool) -> None:
        """A trial has its ending. metrics: what it reached, by name. complete: whether that counts."""
        self.tick()
        self.took += self.looked - self.running.pop(trial, self.looked)
        self.ended_here += 1
        self._count(
            metrics,
            complete=complete and all(bound.violation(metrics[bound.metric]) <= 0 for bound in self.bounds),
        )

    def tick(self) -> Spent:
        """What is spent by now."""
        now = self.clock()
        passed, self.looked = now - self.looked, now
        held = passed * len(self.running) * self.gpus
        self.spent = Spent(self.spent.seconds + passed, self.spent.gpu_seconds + held)
        return self.spent

    def over(self) -> str:
        """The budget that ends the study, with its value; empty as long as there is none."""
        stop, spent = self.stop, self.tick()
        if self.ended_trials >= self.trials:
            return ""
        if self.reached:
            return self.reached
        if stop.hours and spent.seconds >= stop.hours * HOUR:
            return f"search.stop.hours = {stop.hours:g}"
        if stop.gpu_hours and spent.gpu_seconds >= stop.gpu_hours * HOUR:
            return f"search.stop.gpu_hours = {stop.gpu_hours:g}"
        if stop.no_improvement and self.best is not None and self.since_best >= stop.no_improvement:
            return f"search.stop.no_improvement = {stop.no_improvement}"
        return ""

    def to_go(self) -> Spent | None:
        """What is left to be spent to the end, by the trials that ended here; None before the first.

        By their mean, whether pruned or complete: of a study that has pruned none or all of them yet, a rough one.
        """
        if not self.ended_here:
            return None
        mean, left, now = self.took / self.ended_here, self.trials - self.ended_trials, self.clock()
        work = max(0.0, left * mean - sum(min(mean, now - since) for since in self.running.values()))
        side_by_side = max(1, min(self.at_once, left))
        seconds = work / side_by_side
        if self.stop.hours:
            seconds = min(seconds, self.stop.hours * HOUR - self.spent.seconds)
        if self.stop.gpu_hours and self.gpus:
            rate = side_by_side * self.gpus
            seconds = min(seconds, (self.stop.gpu_hours * HOUR - self.spent.gpu_seconds) / rate)
        seconds = max(0.0, seconds)
        return Spent(seconds, min(work, seconds * side_by_side) * self.gpus)

    def keep(self, study: "Study") -> None:
        """What is spent, and about what is left, for those who look at the study meanwhile."""
        self.tick().keep(study)
        study.set_user_attr(LEFT, self.left())

    def left(self) -> str:
        """What is left to be spent, in words; empty before the first trial has ended."""
        left = self.to_go()
        if left is None:
            return ""
        gpus = f" and {left.gpu_seconds / HOUR:.3g} GPU hours" if self.gpus else ""
        return f"about {span(left.seconds)}{gpus} to go"

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.tick().told(self.stop), self.left())))

    def _count(self, metrics: Mapping[str, Any], *, complete: bool) -> None:
        self.ended_trials += 1
        self.since_best += 1
        if not complete:
            return
        if self.best is None or metrics["score"] > self.best:
            self.best, self.since_best = metrics["score"], 0
        missed = [rule for rule in self.rules if rule.metric not in metrics or rule.violation(metrics[rule.metric]) > 0]
        if self.rules and not missed:
            self.reached = f"search.stop.goal = {' and '.join(map(str, self.rules))}"


def told_as_stopped(over: str, budget: Budget) -> str:
    """What is kept in a study, and said of it, that a budget has ended."""
    return f"{over} ended it after {budget.ended_trials} of {budget.trials} trials, {budget.spent.told(budget.stop)}"


def announced(search: Search, spent: Spent) -> str:
    """When a study ends, as it is said at its start; empty where the number of its trials alone decides."""
    bounds = search.stop.bounds()
    if not bounds:
        return ""
    before = spent.told(Stop())
    so_far = f"; {before} so far" if before else ""
    return (
        f"search.stop: the study ends after {search.trials} trials, or before that at {', or '.join(bounds)}; what "
        f"is left is estimated from the first trials{so_far}"
    )


def span(seconds: float) -> str:
    """A time for people: 50 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / HOUR:.1f} h"
