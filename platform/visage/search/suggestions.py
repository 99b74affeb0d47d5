"""Draws the values of new trials, in a copy of the study that lies in memory.

So a draw costs the database nothing. TPE's own cost grows with the trials that it is shown, and of a long study it is
shown the best and the last: of more than 250 it takes the best 25 for good anyway, and the older ones of the others
weigh next to nothing with it.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from visage.config import Dimension
from visage.config.aims import PREFERENCE, UNSEEN
from visage.config.experiment import Search
from visage.judging.choices import Choice
from visage.search.private import begun_trial, good_trials, id_of_study, storage_of
from visage.search.strategy import sampler
from visage.search.study.choices import choices_of, preferences

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

SHOWN = 256  # trials that it is shown, at least; at twice as many it is shown as many again
BEST = 64  # of them the best
SHOWN_SOME = ("tpe", "random")  # the others count what they are shown: generations, places in a sequence
NUMBER = "number"  # attribute of a trial in memory: its number in the study


def suggest(trial: "Trial", space: Mapping[str, Dimension]) -> None:
    """Ask a trial for a value of every dotted path."""
    for path, dimension in space.items():
        if dimension.choice is not None:
            trial.suggest_categorical(path, list(dimension.choice))
        else:
            low, high = dimension.ends()
            trial.suggest_float(path, low, high, log=dimension.log_uniform is not None)


class Suggestions:
    """The values of a study's new trials."""

    def __init__(self, study: "Study", search: Search) -> None:
        self.study, self.search = study, search
        self.sought = list(search.objectives).index(PREFERENCE) if PREFERENCE in search.objectives else None
        self.choices = self._chosen_by_people()
        self._show([(trial.number, trial) for trial in study.get_trials(deepcopy=False)])

    def draw(self) -> "FrozenTrial":
        """A trial with values; once it has begun, `begun` says which it became."""
        if self.sought is not None and len(found := self._chosen_by_people()) != len(self.choices):
            self.choices = found
            self._show([(trial.number, trial) for trial in self.study.get_trials(deepcopy=False)])
        if self.search.sampler in SHOWN_SOME and self.shown >= self.most:
            trials = self.memory.get_trials(deepcopy=False)
            self._show([(trial.user_attrs[NUMBER], trial) for trial in trials])
        self.drawn = self.memory.ask()
        suggest(self.drawn, self.search.space)
        self._keep_place()
        self.shown += 1
        return self.memory.get_trials(deepcopy=False)[-1]

    def begun(self, number: int) -> None:
        """What was drawn last is the study's trial of this number."""
        self.drawn.set_user_attr(NUMBER, number)
        self.running[number] = self.drawn

    def ended(self, trial: "FrozenTrial") -> None:
        """A trial of the study has its ending."""
        running = self.running.pop(trial.number, None)
        if running is None:  # begun before, or with the values of an earlier study
            self._add(trial.number, trial)
            return
        for name, violation in trial.constraints.items():
            running.set_constraint(name, violation)
        self.memory.tell(running, self._values(trial.number, trial), state=trial.state)

    def _show(self, trials: "Sequence[tuple[int, FrozenTrial]]") -> None:
        """Begin a copy of the study, with those that ended or run; its sampler goes on as after a resume."""
        import optuna
        from optuna.trial import TrialState

        self.memory = optuna.create_study(directions=self.study.directions, sampler=sampler(self.study, self.search))
        self.running: dict[int, Trial] = {}  # in memory, by number in the study
        self.preferred = preferences(self.choices)
        self.shown = 0
        if self.search.sampler == "qmc":
            for name, value in self._system(self.study).items():
                storage_of(self.memory).set_study_system_attr(id_of_study(self.memory), name, value)
        numbers = {id(trial): number for number, trial in trials}
        ended = [trial for _, trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        runs = [trial for _, trial in trials if trial.state is TrialState.RUNNING]
        for trial in sorted(self._chosen(ended) + runs, key=lambda trial: numbers[id(trial)]):
            self._add(numbers[id(trial)], trial)
        self.most = max(2 * SHOWN, self.shown + SHOWN)  # of a thousand that run none is left out

    def _chosen(self, ended: "list[FrozenTrial]") -> "list[FrozenTrial]":
        """What the sampler is shown of the trials that ended, which come in order."""
        if self.search.sampler not in SHOWN_SOME or len(ended) <= SHOWN:
            return ended
        best = good_trials(self.memory, ended, BEST)
        taken = set(map(id, best))
        return best + [trial for trial in ended if id(trial) not in taken][BEST - SHOWN :]

    def _add(self, number: int, trial: "FrozenTrial") -> None:
        shown = deepcopy(trial)
        shown.user_attrs = {NUMBER: number}
        shown.values = self._values(number, trial)
        self.memory.add_trial(shown)
        self.shown += 1
        if not trial.state.is_finished():
            self.running[number] = begun_trial(self.memory, self.memory.get_trials(deepcopy=False)[-1])

    def _values(self, number: int, trial: "FrozenTrial") -> list[float] | None:
        """A trial's values, with what people prefer by now where that is sought: it changes after the ending."""
        if trial.values is None or self.sought is None:
            return trial.values
        values = list(trial.values)
        values[self.sought] = self.preferred.get(number, UNSEEN)
        return values

    def _chosen_by_people(self) -> list[Choice]:
        return [] if self.sought is None else choices_of(self.study.user_attrs)

    def _keep_place(self) -> None:
        """A sequence's place belongs to the study, which goes on there."""
        if self.search.sampler == "qmc":
            kept = self._system(self.study)
            for name, value in self._system(self.memory).items():
                if kept.get(name) != value:
                    storage_of(self.study).set_study_system_attr(id_of_study(self.study), name, value)

    @staticmethod
    def _system(study: "Study") -> dict[str, Any]:
        """The attributes of a study that its samplers set."""
        return storage_of(study).get_study_system_attrs(id_of_study(study))
