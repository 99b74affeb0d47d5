"""Tune's OptunaSearch, made to tell Optuna the truth about every trial.

Its own version records a trial that ASHA stopped as COMPLETE, and leaves one whose objective is NaN RUNNING for ever.
Hence the pin of Ray's version, and the tests of the four endings.
"""

from collections.abc import Sequence
from typing import Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from ray.tune.search.optuna import OptunaSearch

from visage.config.experiment import Search
from visage.errors import UserError
from visage.search.optuna_private import begun_trial, storage_of
from visage.search.optuna_recorder import OptunaRecorder, guarded
from visage.search.ray_private import keep_trials_in
from visage.search.space import Space
from visage.search.study.database import database_faults


class StudySearch(OptunaSearch):
    """Suggests {"number": Optuna's trial number, "values": {dotted path: value}, and what says whose trial it is}, and
    tells the four endings.

    begun: trials that were cut off, which go on before new ones start.
    """

    def __init__(
        self, recorder: OptunaRecorder, search: Search, sampler: BaseSampler, begun: Sequence[FrozenTrial] = ()
    ) -> None:
        super().__init__(
            space=Space(search.space),
            metric=list(search.objectives),
            mode=list(search.objectives.values()),
            sampler=sampler,
            study_name=recorder.study.study_name,
            storage=storage_of(recorder.study),
        )
        self.recorder, self.begun = recorder, list(begun)
        keep_trials_in(self, recorder.trials)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self.recorder.fault:
            return None
        try:
            self.recorder.require_answer()
            with database_faults(self.recorder.storage):
                return self._suggest(trial_id)
        except UserError as error:
            self.recorder.fault = error
            return None

    def _suggest(self, trial_id: str) -> dict[str, Any]:
        if self.begun:
            self.recorder.trials[trial_id] = begun_trial(self.recorder.study, self.begun.pop(0))
        values = super().suggest(trial_id)  # of a trial that was begun: the values that it has
        return {"number": self.recorder.trials[trial_id].number, "values": values, **self.recorder.identity()}

    @guarded
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # Tune says that a trial crashed but not why; the callback knows, and tells the recorder right after.
        if not error:
            self.recorder.ended(trial_id, result or {})

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **kwargs: Any) -> None:
        """Nothing: the database is the state, and a study goes on by a new Tuner on it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the Tuner pickles its settings for a restore that is never made
