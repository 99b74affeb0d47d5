"""Trials as Tune asks for them, begun in Optuna's study, and what they reached, told to it: the one place where a trial
gets its ending."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from ray.tune.search import Searcher

from visage.config.aims import UNSEEN
from visage.config.experiment import Search
from visage.errors import UserError
from visage.infra import traces
from visage.infra.patience import Answer, patiently
from visage.infra.traces import Long
from visage.search.private import begun_trial, id_of_trial
from visage.search.strategy import sampler
from visage.search.study import transactions
from visage.search.study.database import database_faults
from visage.search.study.endings import HALTED, Ending, State, ending_of, metrics_of
from visage.search.suggestions import Suggestions, suggest

STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.DIVERGED: TrialState.FAIL,
    State.FAILED: TrialState.FAIL,
}


@dataclass
class Begun:
    """A trial of the study that runs. key: its own in the database. attributes: the user attributes that it has.
    trace: of it, where traces are on."""

    number: int
    key: int
    values: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    attributes: dict[str, Any]
    trace: Long | None = None


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
        self.needed = [*search.measured(), *search.constraints, *search.stop.goal]
        self.trials: dict[str, Begun] = {}
        self.endings: dict[int, Ending] = {}
        self.suggestions = Suggestions(study, search)
        self.count = len(study.get_trials(deepcopy=False))
        self.queued = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
        study.sampler = sampler(study, search)  # of what a queued trial leaves open

    def begin(self, trial_id: str) -> dict[str, Any]:
        """Begin a trial, first one of those that are queued; returns its values by dotted path."""
        if self.queued:
            self.queued -= 1
            return self._values_of(trial_id, self.ask(self.study.ask))
        drawn = self.suggestions.draw()
        key = self.ask(lambda: transactions.begin(self.study, drawn, self.count))
        self.trials[trial_id] = Begun(self.count, key, drawn.params, drawn.distributions, {})
        self.suggestions.begun(self.count)
        self.count += 1
        return drawn.params

    def go_on(self, trial_id: str, trial: FrozenTrial) -> dict[str, Any]:
        """Take up a trial that was cut off; returns the values that it has."""
        return self._values_of(trial_id, begun_trial(self.study, trial))

    def _values_of(self, trial_id: str, trial: Trial) -> dict[str, Any]:
        self.ask(lambda: suggest(trial, self.suggestions.search.space))
        key, attributes = id_of_trial(trial), self.ask(lambda: trial.user_attrs)
        self.trials[trial_id] = Begun(trial.number, key, trial.params, trial.distributions, attributes)
        return trial.params

    def identity(self) -> dict[str, str]:
        """What a trial is told of its study: {"study": its run_id, "place": of its trials in a bucket}."""
        return {"study": self.run_id, "place": self.place}

    def trace(self, trial_id: str) -> dict[str, str]:
        """Begin a trial's trace; what the trial is told of it, which is nothing where traces are off."""
        trial = self.trials[trial_id]
        trial.trace = traces.begin("trial", number=trial.number, study=self.run_id)
        return {"traceparent": trial.trace.traceparent} if trial.trace else {}

    def ended(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Record a trial that did not crash. result: its last one; a trial that halted goes on later."""
        if HALTED not in result:
            self.end(trial_id, ending_of(result, self.needed, self.goal), result)

    def end(self, trial_id: str, ending: Ending, result: Mapping[str, Any]) -> None:
        """Record the ending in the study; the metrics and the reason become user attributes.

        A constraint is set where the trial is complete: a pruned one might have met it later.
        """
        trial, state = self.trials[trial_id], STATES[ending.state]
        attributes = kept(result) | {"state": str(ending.state), "reason": ending.reason}
        complete = ending.state is State.COMPLETE
        values = [float(result.get(name, UNSEEN)) for name in self.objectives] if complete else []
        bounds = {str(bound): bound.violation(result[bound.metric]) for bound in self.constraints if complete}
        with traces.within("ending", trial.trace.traceparent if trial.trace else None):
            self.ask(lambda: transactions.end(self.study, trial.key, state, values, attributes, bounds))
        if trial.trace:
            trial.trace.end(state=str(ending.state))
        del self.trials[trial_id]
        self.endings[trial.number] = ending
        ended = create_trial(
            state=state,
            values=values or None,
            params=trial.values,
            distributions=trial.distributions,
            constraints=bounds,
        )
        ended.number = trial.number
        self.suggestions.ended(ended)

    def cut_off(self) -> None:
        """End the traces of the trials that still run."""
        for trial in self.trials.values():
            if trial.trace:
                trial.trace.end(state="cut off")

    def noted(self, trial_id: str, name: str) -> Any:
        """A user attribute of a trial that runs, None without it."""
        return self.trials[trial_id].attributes.get(name)

    def note(self, trial_id: str, name: str, value: Any) -> None:
        """Keep a user attribute of a trial that runs."""
        trial = self.trials[trial_id]
        self.ask(lambda: transactions.note(self.study, trial.key, name, value))
        trial.attributes[name] = value

    def note_run(self, key: int, run_id: str) -> None:
        """Keep which run in MLflow is a trial's, by the trial's key. Raises UserError at once."""
        with database_faults(self.storage):
            transactions.note(self.study, key, "run_id", run_id)

    def ask(self, call: Callable[[], Answer]) -> Answer:
        """What a call that needs the database returns; see `patiently`."""

        def asked() -> Answer:
            with database_faults(self.storage):
                return call()

        return patiently(asked)


class OfTheDriver:
    """What Tune calls in the driver alone: it pickles its settings for a restore that is never made."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


def guarded(method: Callable[..., Answer]) -> Callable[..., Answer | None]:
    """Keep a store's refusal as the `fault` of the object's `recorder`: Tune would print a traceback of it. Nothing is
    done, and None returned, from then on."""

    @wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Answer | None:
        if not self.recorder.fault:
            try:
                return method(self, *arguments, **named)
            except UserError as error:
                self.recorder.fault = error
        return None

    return call


def kept(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the database keeps of a trial's last result, whatever its ending."""
    finite = {name: value for name, value in metrics_of(result).items() if math.isfinite(value)}
    places = ("images", "checkpoint_path", "time_total_s")
    return finite | {name: result[name] for name in places if name in result}


class StudySearch(OfTheDriver, Searcher):
    """Suggests {"number": Optuna's trial number, "values": {dotted path: value}, and what says whose trial it is and in
    which trace}, and tells the four endings.

    begun: trials that were cut off, which go on before new ones start. Tune's own OptunaSearch records a trial that was
    stopped early as COMPLETE, leaves one whose objective is NaN RUNNING for ever, and commits each value by itself.
    """

    def __init__(self, recorder: OptunaRecorder, begun: Sequence[FrozenTrial] = ()) -> None:
        super().__init__()
        self.recorder, self.begun = recorder, list(begun)

    @guarded
    def suggest(self, trial_id: str) -> dict[str, Any]:
        recorder, begun = self.recorder, self.begun
        values = recorder.go_on(trial_id, begun.pop(0)) if begun else recorder.begin(trial_id)
        number, told = recorder.trials[trial_id].number, recorder.trace(trial_id)
        return {"number": number, "values": values, **recorder.identity(), **told}

    @guarded
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # Tune says that a trial crashed but not why; the callback knows, and tells the recorder right after.
        if not error:
            self.recorder.ended(trial_id, result or {})

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database is the state, and a study goes on by a new Tuner on it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as nothing is saved."""
