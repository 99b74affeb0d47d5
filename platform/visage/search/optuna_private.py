"""Names that Optuna calls its own and Visage cannot do without, each behind one function.

Written for Optuna 5.0; tests/search/test_private_names.py says which of them a later version has no more.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial
    from sqlalchemy import Engine, Select, Update


def storage_of(study: "Study") -> "BaseStorage":
    """Where a study is kept."""
    return study._storage


def engine_of(study: "Study") -> "Engine | None":
    """The engine through which a study reads and writes its database; None of one in memory."""
    storage = storage_of(study)
    engine: Engine | None = getattr(getattr(storage, "_backend", storage), "engine", None)
    return engine


def begun_trial(study: "Study", trial: "FrozenTrial") -> "Trial":
    """A trial that was begun, to go on with."""
    from optuna.trial import Trial

    return Trial(study, trial._trial_id)


def note_of_trial(study: "Study", trial: "FrozenTrial", name: str, value: Any) -> None:
    """Set a user attribute of a trial that was begun."""
    storage_of(study).set_trial_user_attr(trial._trial_id, name, value)


def attribute(study: "Study", name: str) -> "Select[str]":
    """The query of a study's user attribute, as JSON; its row is the same until the study is deleted."""
    from optuna.storages._rdb.models import StudyUserAttributeModel as Row
    from sqlalchemy import select

    return select(Row.value_json).where(Row.study_id == study._study_id, Row.key == name)


def attribute_changed(study: "Study", name: str, before: str, after: str) -> "Update":
    """The statement that changes a study's user attribute, as JSON, where it is still what it was."""
    from optuna.storages._rdb.models import StudyUserAttributeModel as Row
    from sqlalchemy import update

    same = (Row.study_id == study._study_id, Row.key == name, Row.value_json == before)
    return update(Row).where(*same).values(value_json=after)


def is_not_found(error: KeyError) -> bool:
    """Whether an error says that the database holds no such study or trial."""
    from optuna.storages._rdb.models import NOT_FOUND_MSG

    return NOT_FOUND_MSG in error.args
