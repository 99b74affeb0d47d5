"""Names that Optuna and Ray call their own and a search leans on, each behind one function.

Written for Optuna 5.0 and Ray 2.60. The functions raise UserError where a package has a name no more.
"""

import inspect
from collections.abc import Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from visage.errors import UserError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial
    from sqlalchemy import Engine, Select, Update


def storage_of(study: "Study") -> "BaseStorage":
    """Where a study is kept."""
    return _own(study, "_storage")


def engine_of(study: "Study") -> "Engine":
    """The engine through which a study reads and writes its database."""
    return _own(_own(storage_of(study), "_backend"), "engine")  # behind a cache


def id_of_study(study: "Study") -> int:
    """A study's key in its database."""
    return _own(study, "_study_id")


def id_of_trial(trial: "FrozenTrial | Trial") -> int:
    """A trial's key in its database."""
    return _own(trial, "_trial_id")


def tables() -> SimpleNamespace:
    """What the database's schema calls a trial, its params, values, user attributes and system attributes."""
    from optuna.storages._rdb import models

    names = {"trial": "", "param": "Param", "value": "Value", "user": "UserAttribute", "system": "SystemAttribute"}
    return SimpleNamespace(**{name: _own(models, f"Trial{part}Model") for name, part in names.items()})


def constraint_key(name: str) -> str:
    """The system attribute that holds a constraint of a trial."""
    from optuna.study import _constrained_optimization

    return f"{_own(_constrained_optimization, '_CONSTRAINTS_KEY')}:{name}"


def good_trials(study: "Study", trials: "Sequence[FrozenTrial]", count: int) -> "list[FrozenTrial]":
    """The best of a study's trials, as TPE ranks them."""
    from optuna.samplers._tpe import sampler

    return _own(sampler, "_split_trials")(study, trials, count)[0]


def begun_trial(study: "Study", trial: "FrozenTrial") -> "Trial":
    """A trial that was begun, to go on with."""
    from optuna.trial import Trial

    return Trial(study, id_of_trial(trial))


def attribute(study: "Study", name: str) -> "Select[str]":
    """The query of a study's user attribute, as JSON."""
    from sqlalchemy import select

    row, of_study = _rows(), id_of_study(study)
    return select(row.value_json).where(row.study_id == of_study, row.key == name)


def attribute_changed(study: "Study", name: str, before: str, after: str) -> "Update":
    """The statement that changes a study's user attribute, as JSON, where it is still what it was."""
    from sqlalchemy import update

    row, of_study = _rows(), id_of_study(study)
    same = (row.study_id == of_study, row.key == name, row.value_json == before)
    return update(row).where(*same).values(value_json=after)


def is_not_found(error: KeyError) -> bool:
    """Whether an error says that the database holds no such study or trial."""
    from optuna.storages._rdb import models

    return _own(models, "NOT_FOUND_MSG") in error.args


def hand_on(variable: str) -> None:
    """Let Ray Train give a variable of the environment to its own processes."""
    from ray.train.v2._internal import constants

    _own(constants, "ENV_VARS_TO_PROPAGATE").add(variable)


def _rows() -> Any:
    """The table of the studies' user attributes."""
    from optuna.storages._rdb import models

    return _own(models, "StudyUserAttributeModel")


def _own(owner: Any, name: str) -> Any:
    """What a module or an object has under a name."""
    try:
        return getattr(owner, name)
    except AttributeError:
        kind = type(owner)
        place = owner.__name__ if inspect.ismodule(owner) else f"{kind.__module__}.{kind.__name__}"
        package = place.partition(".")[0]
        raise UserError(
            f"{package} {version(package)}: has no {place}.{name}, which a search leans on; install the version that "
            "pyproject.toml asks for."
        ) from None
