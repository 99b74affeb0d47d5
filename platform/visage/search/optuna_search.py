"""Tune's OptunaSearch, made to tell Optuna the truth about every trial.

Its own version records a trial that ASHA stopped as COMPLETE, and leaves one whose objective is NaN RUNNING for ever.
It leans on private names of Ray 2.60 (`_ot_trials`), hence that pin and the tests of the four endings.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.search.optuna import OptunaSearch

from visage.config.experiment import Search
from visage.search.endings import HALTED, RETRIED, Ending, State, ending_of, metrics_of
from visage.search.space import Space

STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.DIVERGED: TrialState.FAIL,
    State.FAILED: TrialState.FAIL,
}


class Record:
    """What the trials of this process reached, told to Optuna; trials are named as Tune names them.

    goal: images of a whole trial. run_id: the study's run in MLflow. `endings` holds how each trial ended, by Optuna's
    number of it.
    """

    def __init__(self, study: Study, search: Search, goal: int) -> None:
        self.study, self.goal = study, goal
        self.run_id = str(study.user_attrs.get("run_id", ""))
        self.objectives, self.constraints = list(search.objectives), search.bounds()
        self.needed = [*search.objectives, *search.constraints]
        self.trials: dict[str, Trial] = {}
        self.endings: dict[int, Ending] = {}

    def ended(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Record a trial that did not crash. result: its last one; a trial that halted goes on later."""
        if HALTED not in result:
            self.end(trial_id, ending_of(result, self.needed, self.goal), result)

    def end(self, trial_id: str, ending: Ending, result: Mapping[str, Any]) -> None:
        """Record the ending in the study; the metrics and the reason become user attributes.

        A constraint is set where the trial is complete: a pruned one might have met it later.
        """
        trial = self.trials.pop(trial_id)
        for name, value in (kept(result) | {"state": str(ending.state), "reason": ending.reason}).items():
            trial.set_user_attr(name, value)
        values = None
        if ending.state is State.COMPLETE:
            values = [result[name] for name in self.objectives]
            for constraint in self.constraints:
                trial.set_constraint(str(constraint), constraint.violation(result[constraint.metric]))
        self.study.tell(trial, values, state=STATES[ending.state])
        self.endings[trial.number] = ending

    def noted(self, trial_id: str, name: str) -> Any:
        """A user attribute of a trial that runs, None without it."""
        return self.trials[trial_id].user_attrs.get(name)

    def note(self, trial_id: str, name: str, value: Any) -> None:
        """Keep a user attribute of a trial that runs."""
        self.trials[trial_id].set_user_attr(name, value)


class StudySearch(OptunaSearch):
    """Suggests {"number": Optuna's trial number, "values": {dotted path: value}, "study": the study's run_id}, and
    tells the four endings.

    begun: trials that were cut off, which go on before new ones start.
    """

    def __init__(self, record: Record, search: Search, sampler: BaseSampler, begun: Sequence[FrozenTrial] = ()) -> None:
        super().__init__(
            space=Space(search.space),
            metric=list(search.objectives),
            mode=list(search.objectives.values()),
            sampler=sampler,
            study_name=record.study.study_name,
            storage=record.study._storage,
        )
        self.record, self.begun = record, list(begun)
        self._ot_trials = record.trials

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self.begun:
            self._ot_trials[trial_id] = Trial(self.record.study, self.begun.pop(0)._trial_id)
        values = super().suggest(trial_id)  # of a trial that was begun: the values that it has
        return {"number": self._ot_trials[trial_id].number, "values": values, "study": self.record.run_id}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # Tune says that a trial crashed but not why; the callback knows, and tells the record right after.
        if not error:
            self.record.ended(trial_id, result or {})

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **kwargs: Any) -> None:
        """Nothing: the database is the state, and a study goes on by a new Tuner on it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the Tuner pickles its settings for a restore that is never made


def kept(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the database keeps of a trial's last result, whatever its ending."""
    finite = {name: value for name, value in metrics_of(result).items() if math.isfinite(value)}
    places = {name: result[name] for name in ("images", "checkpoint_path", "time_total_s", RETRIED) if name in result}
    return finite | places
