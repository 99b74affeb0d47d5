"""What Tune asks for trials: begun in the study, and told to it when they end.

Tune's own OptunaSearch records a trial that ASHA stopped as COMPLETE, leaves one whose objective is NaN RUNNING for
ever, and commits each value by itself.
"""

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial
from ray.tune.search import Searcher

from visage.errors import UserError
from visage.search.optuna_recorder import OfTheDriver, OptunaRecorder, guarded


class StudySearch(OfTheDriver, Searcher):
    """Suggests {"number": Optuna's trial number, "values": {dotted path: value}, and what says whose trial it is and in
    which trace}, and tells the four endings.

    begun: trials that were cut off, which go on before new ones start.
    """

    def __init__(self, recorder: OptunaRecorder, begun: Sequence[FrozenTrial] = ()) -> None:
        super().__init__()
        self.recorder, self.begun = recorder, list(begun)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self.recorder.fault:
            return None
        try:
            recorder, begun = self.recorder, self.begun
            values = recorder.go_on(trial_id, begun.pop(0)) if begun else recorder.begin(trial_id)
        except UserError as error:
            self.recorder.fault = error
            return None
        number, told = self.recorder.trials[trial_id].number, self.recorder.trace(trial_id)
        return {"number": number, "values": values, **self.recorder.identity(), **told}

    @guarded
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # Tune says that a trial crashed but not why; the callback knows, and tells the recorder right after.
        if not error:
            self.recorder.ended(trial_id, result or {})

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database is the state, and a study goes on by a new Tuner on it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as nothing is saved."""
