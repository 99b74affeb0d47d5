"""Names that Optuna calls its own, each behind one function. Written for Optuna 5.0."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from visage.search.private import private

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial
    from sqlalchemy import Engine, Select, Update


def storage_of(study: "Study") -> "BaseStorage":
    """Where a study is kept."""
    storage: BaseStorage = private(study, "_storage")
    return storage


def engine_of(study: "Study") -> "Engine":
    """The engine through which a study reads and writes its database."""
    engine: Engine = private(private(storage_of(study), "_backend"), "engine")  # behind a cache
    return engine


def id_of_study(study: "Study") -> int:
    """A study's key in its database."""
    found: int = private(study, "_study_id")
    return found


def id_of_trial(trial: "FrozenTrial | Trial") -> int:
    """A trial's key in its database."""
    found: int = private(trial, "_trial_id")
    return found


def tables() -> SimpleNamespace:
    """What the database's schema calls a trial, its params, values, user attributes and system attributes."""
    from optuna.storages._rdb import models

    names = {"trial": "", "param": "Param", "value": "Value", "user": "UserAttribute", "system": "SystemAttribute"}
    return SimpleNamespace(**{name: private(models, f"Trial{part}Model") for name, part in names.items()})


def constraint_key(name: str) -> str:
    """The system attribute that holds a constraint of a trial."""
    from optuna.study import _constrained_optimization

    return f"{private(_constrained_optimization, '_CONSTRAINTS_KEY')}:{name}"


def good_trials(study: "Study", trials: "Sequence[FrozenTrial]", count: int) -> "list[FrozenTrial]":
    """The best of a study's trials, as TPE ranks them."""
    from optuna.samplers._tpe import sampler

    found: list[FrozenTrial] = private(sampler, "_split_trials")(study, trials, count)[0]
    return found


def begun_trial(study: "Study", trial: "FrozenTrial") -> "Trial":
    """A trial that was begun, to go on with."""
    from optuna.trial import Trial

    return Trial(study, id_of_trial(trial))


def note_of_trial(study: "Study", trial: "FrozenTrial", name: str, value: Any) -> None:
    """Set a user attribute of a trial that was begun."""
    storage_of(study).set_trial_user_attr(id_of_trial(trial), name, value)


def attribute(study: "Study", name: str) -> "Select[str]":
    """The query of a study's user attribute, as JSON."""
    from sqlalchemy import select

    row, of_study = _rows(), id_of_study(study)
    query: Select[str] = select(row.value_json).where(row.study_id == of_study, row.key == name)
    return query


def attribute_changed(study: "Study", name: str, before: str, after: str) -> "Update":
    """The statement that changes a study's user attribute, as JSON, where it is still what it was."""
    from sqlalchemy import update

    row, of_study = _rows(), id_of_study(study)
    same = (row.study_id == of_study, row.key == name, row.value_json == before)
    return update(row).where(*same).values(value_json=after)


def is_not_found(error: KeyError) -> bool:
    """Whether an error says that the database holds no such study or trial."""
    from optuna.storages._rdb import models

    return private(models, "NOT_FOUND_MSG") in error.args


def _rows() -> Any:
    """The table of the studies' user attributes."""
    from optuna.storages._rdb import models

    return private(models, "StudyUserAttributeModel")
