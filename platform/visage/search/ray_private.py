"""Names that Ray calls its own, each behind one function. Written for Ray 2.60."""

from typing import Any

from visage.search.private import private


def keep_trials_in(search: Any, trials: dict[str, Any]) -> None:
    """Let an OptunaSearch look for its trials of Optuna, by Tune's name of each, in a dictionary of ours."""
    private(search, "_ot_trials")
    search._ot_trials = trials


def hand_on(variable: str) -> None:
    """Let Ray Train give a variable of the environment to its own processes."""
    from ray.train.v2._internal import constants

    private(constants, "ENV_VARS_TO_PROPAGATE").add(variable)
