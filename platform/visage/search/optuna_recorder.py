"""What the trials of this process reached, told to Optuna: the one place where a trial gets its ending."""

import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from optuna.study import Study
from optuna.trial import Trial, TrialState

from visage.config.experiment import Search
from visage.errors import UserError
from visage.infra.patience import Answer, patiently
from visage.search.study.database import database_faults
from visage.search.study.endings import HALTED, Ending, State, ending_of, metrics_of

STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.DIVERGED: TrialState.FAIL,
    State.FAILED: TrialState.FAIL,
}


class OptunaRecorder:
    """Trials are named as Tune names them.

    goal: images of a whole trial. run_id: the study's run in MLflow. place: of its trials in a bucket. `endings` holds
    how each trial ended, by Optuna's number of it. fault: a store's refusal, which stops the study. Methods raise
    UserError when the database refuses.
    """

    fault: UserError | None = None

    def __init__(self, study: Study, search: Search, goal: int) -> None:
        self.study, self.goal = study, goal
        self.run_id, self.place = (str(study.user_attrs.get(name, "")) for name in ("run_id", "place"))
        self.storage = search.storage
        self.objectives, self.constraints = list(search.objectives), search.bounds()
        self.needed = [*search.objectives, *search.constraints, *search.stop.goal]
        self.trials: dict[str, Trial] = {}
        self.endings: dict[int, Ending] = {}

    def identity(self) -> dict[str, str]:
        """What a trial is told of its study: {"study": its run_id, "place": of its trials in a bucket}."""
        return {"study": self.run_id, "place": self.place}

    def ended(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Record a trial that did not crash. result: its last one; a trial that halted goes on later."""
        if HALTED not in result:
            self.end(trial_id, ending_of(result, self.needed, self.goal), result)

    def end(self, trial_id: str, ending: Ending, result: Mapping[str, Any]) -> None:
        """Record the ending in the study; the metrics and the reason become user attributes.

        A constraint is set where the trial is complete: a pruned one might have met it later.
        """
        trial = self.trials[trial_id]

        def tell() -> None:
            for name, value in (kept(result) | {"state": str(ending.state), "reason": ending.reason}).items():
                trial.set_user_attr(name, value)
            values = None
            if ending.state is State.COMPLETE:
                values = [result[name] for name in self.objectives]
                for constraint in self.constraints:
                    trial.set_constraint(str(constraint), constraint.violation(result[constraint.metric]))
            self.study.tell(trial, values, state=STATES[ending.state])

        self.ask(tell)
        del self.trials[trial_id]
        self.endings[trial.number] = ending

    def noted(self, trial_id: str, name: str) -> Any:
        """A user attribute of a trial that runs, None without it."""
        return self.ask(lambda: self.trials[trial_id].user_attrs.get(name))

    def note(self, trial_id: str, name: str, value: Any) -> None:
        """Keep a user attribute of a trial that runs."""
        self.ask(lambda: self.trials[trial_id].set_user_attr(name, value))

    def require_answer(self) -> None:
        """Raises UserError when the database does not hold the study any more."""
        self.ask(lambda: self.study.user_attrs)

    def ask(self, call: Callable[[], Answer]) -> Answer:
        """What a call that needs the database returns; see `patiently`."""

        def asked() -> Answer:
            with database_faults(self.storage):
                return call()

        return patiently(asked)


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Keep a store's refusal as the `fault` of the object's `recorder`: Tune would print a traceback of it."""

    @wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> None:
        if self.recorder.fault:
            return
        try:
            method(self, *arguments, **named)
        except UserError as error:
            self.recorder.fault = error

    return call


def kept(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the database keeps of a trial's last result, whatever its ending."""
    finite = {name: value for name, value in metrics_of(result).items() if math.isfinite(value)}
    places = ("images", "checkpoint_path", "time_total_s")
    return finite | {name: result[name] for name in places if name in result}
