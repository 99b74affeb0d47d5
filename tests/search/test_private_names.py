"""Private names of Ray and Optuna: there in the versions that pyproject.toml asks for, and one sentence where not."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.samplers._tpe import sampler as tpe
from optuna.storages._rdb import models
from optuna.study import _constrained_optimization as constraints
from ray.train.v2._internal import constants

from tests.search.fakes import experiment
from visage.errors import UserError
from visage.search import private
from visage.search.study.records import open_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    return open_study(experiment(tmp_path_factory.mktemp("study"), ""), resume=False)


def trial(study: optuna.Study) -> Any:
    study.ask()
    return study.get_trials()[-1]


# The owner of a name, the name, and the function that it stands behind, given a study and the owner.
Row = tuple[Callable[[optuna.Study], Any], str, Callable[[optuna.Study, Any], object]]
NAMES: list[Row] = [
    (lambda study: study, "_storage", lambda study, owner: private.storage_of(owner)),
    (private.storage_of, "_backend", lambda study, owner: private.engine_of(study)),
    (lambda study: study, "_study_id", lambda study, owner: private.attribute(owner, "x")),
    (lambda study: study, "_study_id", lambda study, owner: private.attribute_changed(owner, "x", "1", "2")),
    (trial, "_trial_id", lambda study, owner: private.begun_trial(study, owner)),
    (lambda study: models, "StudyUserAttributeModel", lambda study, owner: private.attribute(study, "x")),
    (lambda study: models, "NOT_FOUND_MSG", lambda study, owner: private.is_not_found(KeyError("x"))),
    (lambda study: models, "TrialValueModel", lambda study, owner: private.tables()),
    (lambda study: constraints, "_CONSTRAINTS_KEY", lambda study, owner: private.constraint_key("x")),
    (lambda study: tpe, "_split_trials", lambda study, owner: private.good_trials(study, [], 0)),
    (lambda study: constants, "ENV_VARS_TO_PROPAGATE", lambda study, owner: private.hand_on("RAY_ADDRESS")),
]


@pytest.mark.parametrize(("owner_of", "name", "use"), NAMES, ids=[name for _, name, _ in NAMES])
def test_a_private_name_is_there_or_missed_in_one_sentence(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch, owner_of: Any, name: str, use: Any
) -> None:
    owner = owner_of(study)
    use(study, owner)  # what fails here says which name went
    monkeypatch.delattr(owner, name)
    with pytest.raises(UserError, match=rf"^(ray|optuna) [\d.]+: has no \S+\.{name}, which a search leans on; ins"):
        use(study, owner)
