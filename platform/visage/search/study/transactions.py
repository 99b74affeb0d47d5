"""A trial's beginning and its ending in the study's database, each in one transaction.

Optuna's own calls commit each parameter and each attribute by itself, read the trial again before each, and refuse one
that ended.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from visage.search.private import constraint_key, engine_of, id_of_study, tables

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.orm import Session


def begin(study: "Study", trial: "FrozenTrial", number: int) -> int:
    """Add a trial that runs, with the values of `trial` and its system attributes; its key in the database.

    One of this number that is there already is taken: the answer to an earlier call was lost.
    """
    from optuna.distributions import distribution_to_json
    from optuna.trial import TrialState
    from sqlalchemy import insert, select
    from sqlalchemy.orm import Session

    table, of_study = tables(), id_of_study(study)
    with Session(engine_of(study)) as session, session.begin():
        there = session.scalar(
            select(table.trial.trial_id).where(table.trial.study_id == of_study, table.trial.number == number)
        )
        if there is not None:
            return int(there)
        row = table.trial(study_id=of_study, number=number, state=TrialState.RUNNING)
        row.datetime_start = datetime.now()
        session.add(row)
        session.flush()
        params = [
            {
                "trial_id": row.trial_id,
                "param_name": name,
                "param_value": trial.distributions[name].to_internal_repr(value),
                "distribution_json": distribution_to_json(trial.distributions[name]),
            }
            for name, value in trial.params.items()
        ]
        session.execute(insert(table.param), params)
        _set(session, table.system, row.trial_id, trial.system_attrs)
        return int(row.trial_id)


def end(
    study: "Study",
    trial_id: int,
    state: "TrialState",
    values: Sequence[float],
    attributes: Mapping[str, Any],
    constraints: Mapping[str, float],
) -> None:
    """End a trial that runs, with its values (none unless it is complete) and its attributes.

    One that has this ending already is left: the answer to an earlier call was lost. Raises UpdateFinishedTrialError
    where it has another, and KeyError where it is not there.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState
    from sqlalchemy import insert
    from sqlalchemy.orm import Session

    table = tables()
    with Session(engine_of(study)) as session, session.begin():
        row = session.get_one(table.trial, trial_id, with_for_update=True)
        if row.state is state:
            return
        if row.state is not TrialState.RUNNING:
            raise UpdateFinishedTrialError(f"trial {row.number} has ended as {row.state.name}")
        _set(session, table.user, trial_id, attributes)
        _set(session, table.system, trial_id, {constraint_key(name): value for name, value in constraints.items()})
        stored = [table.value.value_to_stored_repr(value) for value in values]
        rows = [
            {"trial_id": trial_id, "objective": place, "value": value, "value_type": kind}
            for place, (value, kind) in enumerate(stored)
        ]
        if rows:
            session.execute(insert(table.value), rows)
        row.state = state
        row.datetime_complete = datetime.now()


def note(study: "Study", trial_id: int, name: str, value: Any) -> None:
    """Set a user attribute of a trial, whether it has ended or not."""
    from sqlalchemy.orm import Session

    with Session(engine_of(study)) as session, session.begin():
        _set(session, tables().user, trial_id, {name: value})


def _set(session: "Session", table: Any, trial_id: int, attributes: Mapping[str, Any]) -> None:
    from sqlalchemy import delete, insert

    if attributes:
        session.execute(delete(table).where(table.trial_id == trial_id, table.key.in_(attributes)))
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()
        ]
        session.execute(insert(table), rows)
