"""Names that Ray calls its own, each behind one function. Written for Ray 2.60."""

from visage.search.private import private


def hand_on(variable: str) -> None:
    """Let Ray Train give a variable of the environment to its own processes."""
    from ray.train.v2._internal import constants

    private(constants, "ENV_VARS_TO_PROPAGATE").add(variable)
