"""What a trial costs its study's database, and what its draw is shown of a long study. No Ray needed."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from tests.search.fakes import GOAL, experiment
from visage.judging.choices import Choice
from visage.search.optuna_recorder import OptunaRecorder, StudySearch
from visage.search.private import engine_of
from visage.search.study.choices import PREFIX
from visage.search.study.records import load_study, open_study
from visage.search.suggestions import BEST, SHOWN, Suggestions

RESULT = {"images": GOAL, "score": 0.5, "identity_similarity": 0.4, "expression_probability": 0.6, "time_total_s": 1.0}


@contextmanager
def counted(engine: Engine) -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    listeners = {
        "commit": lambda *_: found.update(["commits"]),
        "before_cursor_execute": lambda *_: found.update(["statements"]),
    }
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    yield found
    for name, listener in listeners.items():
        event.remove(engine, name, listener)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trial_costs_two_commits_however_many_there_were(tmp_path: Path, sampler: str) -> None:
    limits = {"score": ">= 0.1"}
    study = open_study(experiment(tmp_path, "", sampler=sampler, constraints=limits), resume=False)
    search = StudySearch(OptunaRecorder(study, experiment(tmp_path, "", constraints=limits).search, GOAL))
    for place in range(20):
        with counted(engine_of(study)) as found:
            assert search.suggest(f"{place}")
            search.on_trial_complete(f"{place}", RESULT)
        assert found["commits"] == 2
        assert found["statements"] <= 12
    trials = load_study("test", f"sqlite:///{tmp_path}/optuna.db").trials
    assert [trial.number for trial in trials] == list(range(20))
    assert len({str(trial.params) for trial in trials}) == 20


def test_a_trial_whose_beginning_was_not_answered_is_begun_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database commits, and its answer is lost; so it does at the ending."""
    from visage.infra import patience

    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    asked = experiment(tmp_path, "")
    study = open_study(asked, resume=False)
    search = StudySearch(OptunaRecorder(study, asked.search, GOAL))
    lost = [True]

    engine = engine_of(study)
    original = engine.dialect.do_commit

    def commit(connection: object) -> None:
        original(connection)
        if lost:
            lost.pop()
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(engine.dialect, "do_commit", commit)
    assert search.suggest("a")
    lost.append(True)
    search.on_trial_complete("a", RESULT)
    assert search.recorder.fault is None
    assert not lost
    [trial] = load_study("test", asked.search.storage).trials
    assert (trial.state.name, trial.user_attrs["score"]) == ("COMPLETE", 0.5)


def made(trials: int) -> optuna.Study:
    """A study in memory; a larger margin is better in one figure, and worse in the other."""
    ranges = {
        "loss.pixel.weight": FloatDistribution(1, 200, log=True),
        "loss.triplet.margin": FloatDistribution(0.05, 1),
    }
    study = optuna.create_study(directions=["maximize", "maximize"])
    for number in range(trials):
        margin = 0.05 + 0.95 * (number * 7 % 101) / 101
        params = {"loss.pixel.weight": 1.0 + number % 199, "loss.triplet.margin": margin}
        values = [margin, 1 - margin - 0.5 * (number > 20)]  # the first twenty are the best
        study.add_trial(create_trial(params=params, distributions=ranges, values=values))
    return study


def test_of_a_long_study_the_best_and_the_last_are_shown(tmp_path: Path) -> None:
    suggestions = Suggestions(made(1_200), experiment(tmp_path, "").search)
    assert suggestions.shown == SHOWN
    numbers = [trial.user_attrs["number"] for trial in suggestions.memory.trials]
    assert numbers == sorted(numbers)
    assert set(range(21)) <= set(numbers)
    assert set(range(1_200 - SHOWN + BEST, 1_200)) <= set(numbers)


def test_what_is_shown_stays_bounded_and_keeps_what_runs(tmp_path: Path) -> None:
    suggestions = Suggestions(made(2 * SHOWN - 8), experiment(tmp_path, "", sampler="random").search)
    for number in range(2 * SHOWN - 8, 2 * SHOWN + 2 * SHOWN):
        drawn = suggestions.draw()
        suggestions.begun(number)
        assert suggestions.shown <= 2 * SHOWN + len(suggestions.running)
        if number % 50:  # the fiftieth never ends
            ended = create_trial(params=drawn.params, distributions=drawn.distributions, values=[0.5, 0.5])
            ended.number = number
            suggestions.ended(ended)
    first = min(number for number in range(2 * SHOWN - 8, 4 * SHOWN) if number % 50 == 0)
    assert set(suggestions.running) == set(range(first, 4 * SHOWN, 50))


@pytest.mark.slow
def test_a_thousand_that_run_at_once_are_carried_over_rarely(tmp_path: Path) -> None:
    suggestions = Suggestions(made(0), experiment(tmp_path, "", sampler="random").search)
    copies = set()
    for number in range(4 * SHOWN):
        suggestions.draw()
        suggestions.begun(number)
        copies.add(id(suggestions.memory))
    assert len(copies) <= 4
    assert set(suggestions.running) == set(range(4 * SHOWN))


def test_what_people_choose_steers_the_suggestions_that_follow(tmp_path: Path) -> None:
    """Trials end before anybody looked at them: their preference is read anew whenever somebody chose."""
    search = experiment(tmp_path, "", objectives={"preference": "max"}, final={"train.images": GOAL}).search
    study = optuna.create_study(direction="maximize")
    study.set_metric_names(["preference"])
    for number in range(24):
        weight = float(np.geomspace(1.1, 199, 24)[number])
        study.add_trial(
            create_trial(
                params={"loss.pixel.weight": weight, "loss.triplet.margin": 0.5},
                distributions={
                    "loss.pixel.weight": FloatDistribution(1, 200, log=True),
                    "loss.triplet.margin": FloatDistribution(0.05, 1.0),
                },
                values=[0.5],
            )
        )
    suggestions = Suggestions(study, search)
    before = [suggestions.draw().params["loss.pixel.weight"] for _ in range(20)]
    for number in range(60):  # whoever chooses likes a large weight
        first, second = random.Random(number).sample(range(24), 2)
        better = "first" if first > second else "second"
        choice = Choice.model_validate(
            {"first": str(first), "second": str(second), "better": better, "person": "both", "when": f"{number:03}"}
        )
        study.set_user_attr(f"{PREFIX}{number:03}", choice.model_dump(mode="json"))
    after = [suggestions.draw().params["loss.pixel.weight"] for _ in range(20)]
    assert np.median(after) > 3 * np.median(before)
