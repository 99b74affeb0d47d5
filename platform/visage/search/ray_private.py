"""Names that Ray calls its own, each behind one function. Written for Ray 2.60.

A private method that a subclass replaces is the worst of them: under another name nobody would call it, in silence.
"""

from typing import Any

from visage.search.private import private


def keep_trials_in(search: Any, trials: dict[str, Any]) -> None:
    """Let an OptunaSearch look for its trials of Optuna, by Tune's name of each, in a dictionary of ours."""
    private(search, "_ot_trials")
    search._ot_trials = trials


def put_in_bracket(scheduler: Any, trial_id: str, number: int) -> None:
    """Give a trial of an AsyncHyperBandScheduler its bracket, in turn."""
    brackets = private(scheduler, "_brackets")
    private(scheduler, "_trial_info")[trial_id] = brackets[number % len(brackets)]


def require_new_config() -> None:
    """See that PopulationBasedTraining has the `_get_new_config` that `Population` replaces."""
    from ray.tune.schedulers import PopulationBasedTraining

    private(PopulationBasedTraining, "_get_new_config")


def hand_on(variable: str) -> None:
    """Let Ray Train give a variable of the environment to its own processes."""
    from ray.train.v2._internal import constants

    private(constants, "ENV_VARS_TO_PROPAGATE").add(variable)
