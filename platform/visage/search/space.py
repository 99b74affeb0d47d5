"""The search space of a configuration, as Optuna asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visage.config import Dimension


@dataclass(frozen=True)
class Space:
    """A define-by-run space: called with a trial it suggests a value for every dotted path.

    An object of the module and not a closure, because Tune pickles what it is given.
    """

    dimensions: Mapping[str, Dimension]

    def __call__(self, trial: Any) -> None:
        for path, dimension in self.dimensions.items():
            if dimension.choice is not None:
                trial.suggest_categorical(path, list(dimension.choice))
            else:
                low, high = dimension.ends()
                trial.suggest_float(path, low, high, log=dimension.log_uniform is not None)
