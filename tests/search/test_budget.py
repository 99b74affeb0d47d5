"""Budgets of a study: what ends it, what is spent and what is left, by a clock that the test sets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.search.fakes import GOAL, experiment, trials
from tests.search.test_summary import made, printed
from visage.config import Experiment
from visage.config.read import validated
from visage.errors import UserError
from visage.registry.tracking import Tracking
from visage.search.report.markdown import note
from visage.search.study.budget import Budget, Spent, announced
from visage.search.study.progress import StudyProgress
from visage.search.study.records import find_study, load_study, open_study
from visage.search.study.summary import summarise
from visage.search.tune import tune
from visage.workflows.search import print_study

HOUR = 3600


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A study whose trials start and end when the test says so."""

    def __init__(
        self, *, gpus: float = 0, at_once: int = 2, trials: int = 100, study: Any = None, **search: Any
    ) -> None:
        self.clock = Clock()
        self.search = asked(trials=trials, **search).search
        self.budget = Budget(study or optuna.create_study(), self.search, gpus, at_once, self.clock)

    def trial(self, score: float, *, seconds: float = 60, complete: bool = True) -> str:
        self.budget.started("one")
        self.clock.now += seconds
        metrics = {"score": score, "identity": score, "frechet": 10 - score}
        self.budget.ended("one", metrics, complete=complete)
        return self.budget.over()


def asked(folder: Path = Path("/nowhere"), tracking: str = "", **search: Any) -> Experiment:
    return experiment(folder, tracking, **search)


def test_hours_end_a_study_and_are_told() -> None:
    run = Run(stop={"hours": 2})
    assert run.trial(0.5, seconds=HOUR) == ""
    run.clock.now += HOUR - 1
    assert run.budget.over() == ""
    assert str(run.budget).startswith("2.0 h of 2 h spent, about 1 s to go")
    run.clock.now += 1
    assert run.budget.over() == "search.stop.hours = 2"


def test_gpu_hours_are_those_of_the_trials_that_run() -> None:
    run = Run(gpus=4, stop={"gpu_hours": 10})
    run.budget.started("one")
    run.budget.started("one")  # its process died and was started anew
    run.budget.started("two")
    run.clock.now += HOUR
    assert run.budget.tick() == Spent(HOUR, 8 * HOUR)
    run.budget.ended("one", {"score": 0.5}, complete=True)
    run.clock.now += HOUR / 2
    assert run.budget.over() == "search.stop.gpu_hours = 10"
    run.budget.ended("two", {"score": 0.5}, complete=True)
    run.clock.now += HOUR
    assert run.budget.tick() == Spent(2.5 * HOUR, 10 * HOUR)  # nothing runs


def test_a_goal_is_reached_by_a_complete_trial_that_meets_the_constraints_too() -> None:
    run = Run(stop={"goal": {"score": ">= 0.6", "frechet": "<= 9.35"}}, constraints={"identity": "<= 0.9"})
    assert run.trial(0.7, complete=False) == ""
    assert run.trial(0.95) == ""
    assert run.trial(0.62) == ""
    assert run.trial(0.7) == "search.stop.goal = score >= 0.6 and frechet <= 9.35"


def test_no_improvement_counts_from_the_best_trial_on() -> None:
    run = Run(stop={"no_improvement": 3})
    assert [run.trial(0.9, complete=False) for _ in range(5)] == [""] * 5  # before the first score there is no best
    assert [run.trial(score) for score in (0.4, 0.3, 0.3, 0.5, 0.5)] == [""] * 5
    assert run.trial(0.9, complete=False) == ""
    assert run.trial(0.1) == "search.stop.no_improvement = 3"


def test_the_last_trial_ends_a_study_and_no_budget_does() -> None:
    run = Run(trials=2, stop={"hours": 0.01, "no_improvement": 1})
    run.trial(0.4, seconds=1)
    assert run.trial(0.3) == ""


def test_what_is_left_is_estimated_by_the_trials_that_ended() -> None:
    run = Run(gpus=1, trials=10)
    assert run.budget.to_go() is None
    run.trial(0.5, seconds=60)
    assert run.budget.to_go() == Spent(9 * 30, 9 * 60)  # two side by side
    run.budget.started("two")
    run.clock.now += 20
    assert run.budget.to_go() == Spent(9 * 30 - 10, 9 * 60 - 20)
    run.clock.now += 600  # it takes longer than the others
    assert run.budget.to_go() == Spent(8 * 30, 8 * 60)
    assert str(run.budget) == "11 min and 0.189 GPU hours spent, about 4 min and 0.133 GPU hours to go"


@pytest.mark.parametrize(
    ("stop", "left"), [({"hours": 1}, Spent(50 * 60, 2 * 50 * 60)), ({"gpu_hours": 1}, Spent(25 * 60, 50 * 60))]
)
def test_no_more_is_left_than_a_budget_allows(stop: dict[str, float], left: Spent) -> None:
    run = Run(gpus=1, trials=1000, stop=stop)
    run.trial(0.5, seconds=600)
    found = run.budget.to_go()
    assert found is not None
    assert (found.seconds, found.gpu_seconds) == pytest.approx((left.seconds, left.gpu_seconds))


def test_what_was_spent_and_reached_is_kept_over_a_resume(tmp_path: Path) -> None:
    study = made(tmp_path, [0.2, 0.6, 0.5])  # after them one failed and one was pruned
    Spent(7 * HOUR, 21 * HOUR).keep(study)
    kept = load_study("test", f"sqlite:///{tmp_path}/optuna.db")
    assert Run(gpus=1, study=kept, stop={"gpu_hours": 20}).budget.over() == "search.stop.gpu_hours = 20"
    assert Run(gpus=1, study=kept, stop={"gpu_hours": 30}).budget.over() == ""
    assert Run(study=kept, stop={"no_improvement": 3}).budget.over() == "search.stop.no_improvement = 3"
    assert Run(study=kept, stop={"no_improvement": 4}).budget.over() == ""
    assert Run(study=kept, stop={"goal": {"score": ">= 0.6"}}).budget.over() == "search.stop.goal = score >= 0.6"
    assert Run(study=kept, stop={"goal": {"score": ">= 0.61"}}).budget.over() == ""
    longer = Run(gpus=1, study=kept, stop={"hours": 8})
    longer.clock.now += HOUR
    assert longer.budget.over() == "search.stop.hours = 8"


def test_at_the_start_every_budget_is_said() -> None:
    stop = {"hours": 8, "gpu_hours": 32.5, "goal": {"score": ">= 0.6"}, "no_improvement": 20}
    said = announced(asked(stop=stop).search, Spent(HOUR, 2 * HOUR))
    assert said == (
        "search.stop: the study ends after 4 trials, or before that at 8 hours, or 32.5 GPU hours, or a trial with "
        "score >= 0.6, or 20 trials without a better one; what is left is estimated from the first trials; 60 min and "
        "2 GPU hours spent so far"
    )
    assert announced(asked().search, Spent()) == ""


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        ({"hours": 0}, r"search\.stop\.hours = 0: input should be greater than 0"),
        ({"gpu_hours": -1}, r"search\.stop\.gpu_hours = -1: input should be greater than 0"),
        ({"hours": float("nan")}, r"search\.stop\.hours = nan"),
        ({"no_improvement": 0}, r"search\.stop\.no_improvement = 0: input should be greater than or equal to 1"),
        ({"goal": 0.8}, r"search\.stop\.goal = 0\.8: is no bound, which names its metric; write .*score: '>= 0\.6'"),
        ({"goal": {"beauty": ">= 1"}}, r"search\.stop\.goal: beauty is no metric"),
        ({"goal": {"score": ">= 1.5"}}, r"search\.stop\.goal: score: >= 1\.5 can never be met"),
        ({"hour": 8}, r"search\.stop\.hour: unknown key; did you mean hours"),
    ],
)
def test_a_budget_of_nothing_is_refused_in_one_sentence(stop: dict[str, Any], said: str) -> None:
    tree = asked().model_dump(mode="json")
    tree["search"]["stop"] = stop
    with pytest.raises(UserError, match=said) as fault:
        validated(Experiment, tree, "a.yaml")
    assert "\n" not in str(fault.value)


def test_gpu_hours_of_trials_without_a_gpu_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"search\.stop\.gpu_hours = 8: is never reached"):
        tune(asked(tmp_path, stop={"gpu_hours": 8}))


def test_another_budget_does_not_make_it_another_study(tmp_path: Path) -> None:
    open_study(asked(tmp_path, stop={"hours": 1, "goal": {"score": ">= 0.5"}}), resume=False).ask()
    assert find_study(asked(tmp_path, stop={"no_improvement": 5}), resume=True)
    assert find_study(asked(tmp_path, stop={"goal": {"identity": ">= 0.5"}}), resume=True)


def test_a_look_at_the_study_shows_what_is_spent(tmp_path: Path) -> None:
    study = made(tmp_path, [0.2])
    assert "spent" not in printed(summarise(study))
    Spent(3 * HOUR, 6 * HOUR).keep(study)
    study.set_user_attr("stop", {"hours": 8.0})
    assert "3.0 h of 8 h and 6 GPU hours spent" in printed(summarise(study))
    study.set_user_attr("stopped", "search.stop.hours = 8 ended it after 3 of 4 trials, 8.0 h of 8 h spent")
    for shown in (printed(summarise(study), width=200), note(summarise(study))):
        assert "earch.stop.hours = 8 ended it after 3 of 4 trials, 8.0 h of 8 h spent; a larger one and" in shown


def test_the_end_says_which_budget_it_was_and_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    over = "search.stop.hours = 8 ended it after 3 of 4 trials, 8.0 h of 8 h spent"
    print_study(replace(summarise(made(tmp_path, [0.2])), stopped=over, lines=()))
    said = capsys.readouterr().out
    assert f"{over}; to go on, with the trials that it cut off first, raise it: visage " in said
    assert said.rstrip().endswith(" --resume")


def test_progress_says_what_is_spent() -> None:
    said = str(StudyProgress(8, 3, 1, 1, 2, 0.4321, "12 min of 8 h spent, about 20 min to go"))
    assert said.endswith("best score 0.432; 12 min of 8 h spent, about 20 min to go")


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_study_that_its_goal_ends_is_complete_and_goes_on_with_a_higher_one(tmp_path: Path) -> None:
    """What still ran is cut off: it has its reason, and goes on before anything new is tried."""
    import time

    from mlflow import MlflowClient

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        if number == 1 and images >= 400 and not (tmp_path / "ended").exists():
            time.sleep(30)  # longer than the other one takes
        return images / GOAL * (0.5 if number == 0 else 0.8)

    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    points: list[StudyProgress] = []
    said: list[str] = []
    reached = asked(tmp_path, tracking, concurrency=2, stop={"goal": {"score": ">= 0.5"}})
    result = tune(reached, trials=trials(behaviour), progress=points.append, say=said.append)
    (tmp_path / "ended").touch()
    assert result.trials < 4
    assert result.stopped.startswith(f"search.stop.goal = score >= 0.5 ended it after {result.trials} of 4 trials, ")
    assert "or before that at a trial with score >= 0.5" in said[0]
    assert any("spent, about" in point.spending for point in points)
    states = {trial.number: trial.user_attrs["state"] for trial in load_study("test", reached.search.storage).trials}
    assert states[0] == "complete"
    assert states[1] == "cut off"
    client, store = MlflowClient(tracking), Tracking(tracking, "visage")
    assert client.get_run(result.run_id).data.tags["visage.state"] == "complete"
    assert "earch.stop.goal = score >= 0.5 ended it" in client.get_run(result.run_id).data.tags["mlflow.note.content"]
    killed = [run for run, state in store.children(result.run_id, "visage.trial").values() if state == "killed"]
    assert killed
    why = {client.get_run(run).data.tags["visage.reason"] for run in killed}
    pages = {client.get_run(run).data.tags["visage.page"] for run in killed}
    assert pages == {"http://127.0.0.1:5050/?study=test&trials=1"}
    assert why == {"cut off, as search.stop.goal = score >= 0.5 ended the study"}

    spent = Spent.of(load_study("test", reached.search.storage)).seconds
    assert spent > 0
    again = tune(reached, trials=trials(behaviour), resume=True)  # nothing runs: it has its goal
    assert (again.trials, again.stopped.partition(",")[0]) == (result.trials, result.stopped.partition(",")[0])
    longer = tune(asked(tmp_path, tracking, stop={"hours": 1}), trials=trials(behaviour), resume=True)
    assert (longer.trials, longer.complete, longer.stopped) == (4, 4, "")
    study = load_study("test", reached.search.storage)
    assert Spent.of(study).seconds > spent
    assert study.trials[1].user_attrs["images"] == GOAL
    assert {state for _, state in store.children(result.run_id, "visage.trial").values()} == {"complete"}
