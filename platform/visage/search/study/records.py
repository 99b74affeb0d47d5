"""A study in its database: opened, checked, counted, read back."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from visage.config import Experiment, shareable
from visage.config.experiment import Search
from visage.config.read import without_passwords
from visage.errors import UserError
from visage.search.private import id_of_trial, storage_of
from visage.search.study.database import SQLITE, open_database
from visage.search.study.endings import CUT_OFF

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

# What may change between the parts of a study: its length, and where and with how much it runs.
MAY_CHANGE = re.compile(
    r"search\.(trials|stop\..*|notify|keep_checkpoints|concurrency|storage|warm_start|final)|registry\..*"
    r"|train\.(workers|storage|.*_per_worker)|data\.source"
)
STOPPED = "stopped"  # user attribute of a study: which budget ended it, in words; empty or absent: none
WHOLE = ("search.space", "search.objectives", "search.constraints", "search.final", "search.stop.goal")


def study_folder(experiment: Experiment) -> Path:
    """Where the trials of a study keep their files: beside an SQLite database, else under `runs/`. Absolute."""
    storage, name = experiment.search.storage, experiment.search.name
    root = Path(storage.removeprefix(SQLITE)).parent if storage.startswith(SQLITE) else Path("runs")
    safe = re.sub(r"[^\w.-]+", "-", name).strip(".-")
    if safe != name:  # two names must not share a folder
        safe = f"{safe}-{sha256(name.encode()).hexdigest()[:8]}"
    return (root / "studies" / safe).absolute()


def open_study(experiment: Experiment, *, resume: bool) -> "Study":
    """The study of the experiment's name, new or, with `resume`, as it was left.

    Raises UserError as `find_study`.
    """
    import optuna

    study = find_study(experiment, resume=resume)
    if study:
        if study.get_trials(deepcopy=False):
            return study
        # Begun and left before its first trial, so perhaps with other objectives.
        optuna.delete_study(study_name=study.study_name, storage=storage_of(study))
    return _create(experiment, open_database(experiment.search.storage))


def find_study(experiment: Experiment, *, resume: bool) -> "Study | None":
    """The study of the experiment's name as it was left; None where there is none. Changes nothing.

    Raises UserError when it exists and is not resumed, when there is nothing to resume, when the experiment is not
    the one it was begun with, and when the database cannot be used.
    """
    import optuna

    search = experiment.search
    storage, place = open_database(search.storage), without_passwords(search.storage)
    try:
        study = optuna.load_study(study_name=search.name, storage=storage)
    except KeyError:
        study = None
    begun = len(study.get_trials(deepcopy=False)) if study else 0
    if not resume and begun:
        raise UserError(
            f"search.name = {search.name}: the study has {begun} trials in {place} already; go on with --resume, or "
            "give search.name another value."
        )
    if resume and not begun:
        raise UserError(f"search.name = {search.name}: there is no such study in {place}; leave --resume out.")
    if study and begun:
        _require_same(study, experiment)
    return study


def _create(experiment: Experiment, storage: "BaseStorage") -> "Study":
    import optuna

    search = experiment.search
    study = optuna.create_study(
        study_name=search.name,
        storage=storage,
        directions=["maximize" if mode == "max" else "minimize" for mode in search.objectives.values()],
    )
    study.set_metric_names(list(search.objectives))
    study.set_user_attr("experiment", json.dumps(shareable(experiment)))  # anybody may read it in a database
    return study


def is_begun(search: Search) -> bool:
    """Whether the study has trials, so that it can be resumed."""
    try:
        return bool(load_study(search.name, search.storage).get_trials(deepcopy=False))
    except UserError:
        return False


def load_study(name: str, storage: str) -> "Study":
    """A study to read. Raises UserError when the database does not hold it."""
    import optuna

    backend = _opened(storage)
    known: list[str] = []
    if backend:
        try:
            return optuna.load_study(study_name=name, storage=backend)
        except KeyError:
            known = optuna.get_all_study_names(backend)
    missing = f"{name}: there is no such study in {without_passwords(storage)}"
    said = f"{missing} (known: {', '.join(known)}); name one of those" if known else f"{missing}; give another database"
    raise UserError(f"{said}, or wait until `visage tune` has its faces and judges, where that has just begun.")


def names_in(storage: str) -> list[str]:
    """The studies of a database, by name. Raises UserError when it cannot be opened."""
    import optuna

    backend = _opened(storage)
    return sorted(optuna.get_all_study_names(backend)) if backend else []


def _opened(storage: str) -> "BaseStorage | None":
    """A database to read; None for an SQLite one that is not there, as a look makes none."""
    there = not storage.startswith(SQLITE) or Path(storage.removeprefix(SQLITE)).is_file()
    return open_database(storage) if there else None


def _require_same(study: "Study", experiment: Experiment) -> None:
    kept = json.loads(study.user_attrs["experiment"])
    with suppress(ValidationError):  # it has a setting that is no more, and is named below
        kept = shareable(Experiment.model_validate(kept))  # a setting that came since then is at its default
    begun = flat(kept)
    now = flat(shareable(experiment))
    if now["data.address"]:  # where this machine has its copy is another matter on each
        begun["data.dir"] = now["data.dir"]
    for key in sorted(begun.keys() | now.keys()):
        if begun.get(key) != now.get(key) and not MAY_CHANGE.fullmatch(key):
            raise UserError(
                f"{key} = {now.get(key)}: the study {study.study_name} was begun with {begun.get(key)}; "
                "put that back, or give search.name another value and begin from this study's best trials with "
                f"search.warm_start={study.study_name}."
            )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted paths. The space is one value: its keys hold dots themselves."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        whole = not isinstance(value, Mapping) or path in WHOLE
        leaves |= {path: value} if whole else flat(value, f"{path}.")
    return leaves


def unfinished(study: "Study") -> list["FrozenTrial"]:
    """The trials that were begun and have no ending: those that run, or that were cut off and will go on."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def note_cut_off(study: "Study") -> None:
    """Mark the trials that nobody runs any more: Optuna has no state for them but RUNNING."""
    for trial in unfinished(study):
        storage_of(study).set_trial_user_attr(id_of_trial(trial), "state", CUT_OFF)


def counted(study: "Study") -> list["FrozenTrial"]:
    """The trials that ended, in order."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def require_same_faces(study: "Study", experiment: Experiment) -> None:
    """Raises UserError when the faces or their judges are not those that the study's scores were reached with."""
    from visage.judging.networks.train import fingerprints

    now = fingerprints(experiment.data.dir)
    begun = study.user_attrs.get("faces")
    if begun is None:
        study.set_user_attr("faces", now)
    elif changed := [name for name in sorted(begun) if now.get(name) != begun[name]]:
        raise UserError(
            f"data.dir = {experiment.data.dir}: the {changed[0]} changed since the study {study.study_name} was begun, "
            "and scores from before and after cannot be compared; put them back, or give search.name another value."
        )


def feasible(trial: "FrozenTrial") -> bool:
    """Whether a complete trial meets all constraints of its study."""
    return all(violation <= 0 for violation in trial.constraints.values())


def table(study: "Study") -> list[dict[str, Any]]:
    """Every trial that ended as a flat row: number, state, reason, the searched values, what it reached."""
    rows = []
    for trial in counted(study):
        attributes = dict(trial.user_attrs)
        first = {"number": trial.number, "state": attributes.pop("state"), "reason": attributes.pop("reason")}
        rows.append(first | trial.params | attributes)
    return rows
