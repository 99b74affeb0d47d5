"""Keeps a study within its budgets while Tune runs it, and shows what is spent."""

import time
from dataclasses import replace
from typing import Any

from ray.tune import Callback

from visage.search.optuna_recorder import OfTheDriver, OptunaRecorder, guarded
from visage.search.study.budget import Budget
from visage.search.study.endings import State
from visage.search.study.progress import StudyProgress, Watch

KEEP_SECONDS = 30.0  # between two notes in the database: a driver that is killed has not counted the last of them
SHOW_SECONDS = 1.0


class BudgetKeeper(OfTheDriver, Callback):
    """`stopped`: the budget that ended the study, as `Budget.over` names it; empty as long as none did."""

    def __init__(self, budget: Budget, recorder: OptunaRecorder, watch: Watch | None) -> None:
        self.budget, self.recorder, self._watch = budget, recorder, watch
        self.stopped = budget.over()
        self._point: StudyProgress | None = None
        self._shown = self._kept = time.monotonic()

    def watch(self, point: StudyProgress) -> None:
        """Show a point of the study with what is spent, and with that alone until the next."""
        self._point, self._shown = point, time.monotonic()
        if self._watch:
            self._watch(replace(point, spending=str(self.budget)))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.budget.started(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ending = self.recorder.endings.get(trial.config["number"])
        if ending:  # else it halted, and goes on later
            self.budget.ended(trial.trial_id, trial.last_result, complete=ending.state is State.COMPLETE)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.budget.ended(trial.trial_id, trial.last_result, complete=False)

    def over(self) -> bool:
        """Whether a budget has ended the study. Asked all the time, so that it is also the clock of what is shown and
        kept."""
        self.stopped = self.stopped or self.budget.over()
        now = time.monotonic()
        if self._point and now >= self._shown + SHOW_SECONDS:
            self.watch(self._point)
        if now >= self._kept + KEEP_SECONDS:
            self._kept = now
            self._keep()
        return bool(self.stopped)

    @guarded
    def _keep(self) -> None:
        self.recorder.ask(lambda: self.budget.keep(self.recorder.study))
