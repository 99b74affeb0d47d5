"""Samplers, schedulers and databases, without Ray's processes."""

import math
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import FIFOScheduler

from tests.search.fakes import GOAL, experiment
from visage.config import Experiment
from visage.errors import UserError
from visage.search.optuna_recorder import OptunaRecorder, StudySearch
from visage.search.strategy import sampler, scheduler
from visage.search.study.endings import Ending, State
from visage.search.study.records import feasible, load_study, open_study
from visage.search.study.summary import summarise
from visage.search.suggestions import suggest

OBJECTIVES = {"identity_similarity": "max", "frechet": "min"}


def suggested(asked: Experiment, constrained: bool = False) -> list[dict[str, Any]]:
    """The values of a study's trials, one at a time; a larger pixel weight is better in both objectives."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.sampler = sampler(study, asked.search)
    for _ in range(asked.search.trials):
        trial = study.ask()
        suggest(trial, asked.search.space)
        weight, margin = trial.params["loss.pixel.weight"], trial.params["loss.triplet.margin"]
        if constrained:
            trial.set_constraint("margin <= 0.3", margin - 0.3)
        study.tell(trial, [weight, -weight])
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", ["tpe", "nsga2", "random", "qmc"])
def test_a_seed_gives_the_same_suggestions(tmp_path: Path, name: str) -> None:
    def asked(seed: int) -> Experiment:
        return experiment(tmp_path, "", trials=24, sampler=name, seed=seed, objectives=OBJECTIVES)

    first = suggested(asked(3))
    assert suggested(asked(3)) == first
    assert suggested(asked(4)) != first
    assert len({str(values) for values in first}) == 24


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_samplers_that_learn_turn_to_what_is_better_and_allowed(tmp_path: Path, name: str) -> None:
    asked = experiment(tmp_path, "", trials=120, sampler=name, seed=1, objectives=OBJECTIVES)
    values = suggested(asked, constrained=True)
    early, late = values[:30], values[-30:]
    assert sum(one["loss.pixel.weight"] > 50 for one in late) > sum(one["loss.pixel.weight"] > 50 for one in early)
    assert sum(one["loss.triplet.margin"] <= 0.3 for one in late) > sum(
        one["loss.triplet.margin"] <= 0.3 for one in early
    )


def test_asha_stops_the_worse_of_two_at_each_rung(tmp_path: Path) -> None:
    made = scheduler(experiment(tmp_path, "", scheduler="asha", grace_images=100, reduction=3))
    good, poor = (SimpleNamespace(trial_id=name, config={}) for name in ("good", "poor"))
    for trial in (good, poor):
        made.on_trial_add(None, trial)
    assert made.on_trial_result(None, good, {"images": 100, "score": 0.9}) == "CONTINUE"
    assert made.on_trial_result(None, poor, {"images": 100, "score": 0.1}) == "STOP"


def test_without_a_scheduler_or_with_all_the_grace_nothing_is_stopped(tmp_path: Path) -> None:
    for search in ({"scheduler": "none"}, {"scheduler": "asha", "grace_images": 900}):
        assert isinstance(scheduler(experiment(tmp_path, "", **search)), FIFOScheduler)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_database_holds_each_ending(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db" if database == "sqlite" else request.getfixturevalue("postgres")
    limits = {"identity": ">= 0.6", "frechet": "<= 3"}
    asked = experiment(tmp_path, "", storage=storage, name="endings", objectives=OBJECTIVES, constraints=limits)
    study = open_study(asked, resume=False)
    recorder = OptunaRecorder(study, asked.search, GOAL)
    search = StudySearch(recorder)
    reached = {"identity_similarity": 0.5, "identity": 0.7, "frechet": 4.0, "score": 0.4, "images": GOAL}
    numbers = [search.suggest(f"tune {place}")["number"] for place in range(5)]
    search.on_trial_complete("tune 0", reached)
    search.on_trial_complete("tune 1", reached | {"images": 300})
    search.on_trial_complete("tune 2", reached | {"identity": math.nan})
    search.on_trial_complete("tune 3", error=True)
    recorder.end("tune 3", Ending(State.FAILED, "MemoryError: no message"), {})
    search.on_trial_complete("tune 4", {name: value for name, value in reached.items() if name != "identity"})

    trials = load_study("endings", storage).trials
    assert [trial.number for trial in trials] == numbers
    assert [(trial.state.name, trial.user_attrs["state"], trial.user_attrs["reason"]) for trial in trials] == [
        ("COMPLETE", "complete", ""),
        ("PRUNED", "pruned", "stopped at 300 of 900 images"),
        ("FAIL", "diverged", "identity is nan at 900 images"),
        ("FAIL", "failed", "MemoryError: no message"),
        ("FAIL", "failed", "ended without reporting identity"),
    ]
    assert [trial.values for trial in trials] == [[0.5, 4.0], None, None, None, None]
    assert trials[0].constraints == pytest.approx({"identity >= 0.6": -0.1, "frechet <= 3": 1})
    assert not feasible(trials[0])
    kept = {name: trials[1].user_attrs[name] for name in reached}
    assert kept == reached | {"images": 300}
    assert "identity" not in trials[2].user_attrs


def test_a_study_on_postgresql_is_found_by_its_plain_address(tmp_path: Path, postgres: str) -> None:
    asked = experiment(tmp_path, "", storage=postgres, name="plain address")
    open_study(asked, resume=False).ask()
    assert len(load_study("plain address", postgres).trials) == 1
    with pytest.raises(UserError, match=r"1 trials in postgresql://visage@127\.0\.0\.1"):
        open_study(asked, resume=False)


def test_a_database_of_another_version_is_named(tmp_path: Path) -> None:
    asked = experiment(tmp_path, "")
    open_study(asked, resume=False)
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        database.execute("UPDATE version_info SET schema_version = 99, library_version = '9.0.0'")
        database.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    with pytest.raises(UserError, match=r"search\.storage = sqlite:.*cannot be opened .*9\.0\.0"):
        open_study(asked, resume=True)


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened") as fault:
        open_study(experiment(tmp_path, "", storage="postgresql://me:secret@127.0.0.1:1/optuna"), resume=False)
    assert "secret" not in str(fault.value)


def test_the_database_keeps_no_password(tmp_path: Path, postgres: str) -> None:
    """Whoever opens a study in Optuna's own pages reads its attributes."""
    storage = postgres.replace("visage@", "visage:hu/sh@")
    study = open_study(experiment(tmp_path, "https://me:hush@host", storage=storage, name="closed"), resume=False)
    assert "hush" not in str(study.user_attrs)
    assert "hu/sh" not in str(study.user_attrs)
    summary = summarise(study)
    assert (summary.registry, summary.storage) == ("https://me:***@host", postgres.replace("visage@", "visage:***@"))
