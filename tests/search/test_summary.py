"""What people are told of a study: the order of its trials, why the first one leads, and how to repeat it."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console

from tests.search.fakes import GOAL, experiment
from visage.errors import UserError
from visage.registry.tracking import TAG_LENGTH
from visage.search.report.markdown import note
from visage.search.report.terminal import follow, view
from visage.search.study.lock import CLAIM
from visage.search.study.records import load_study
from visage.search.study.summary import summarise

RANGES = {"loss.pixel.weight": FloatDistribution(1, 200, log=True), "loss.triplet.margin": FloatDistribution(0.05, 1.0)}


def made(folder: Path, scores: list[float], **search: Any) -> optuna.Study:
    """A study of complete trials with these scores, one failed and one pruned trial after them."""
    folder.mkdir(exist_ok=True)
    asked = experiment(folder, "sqlite:///runs/mlflow.db", trials=len(scores) + 2, **search)
    study = optuna.create_study(
        study_name="test", storage=asked.search.storage, directions=["maximize"] * len(asked.search.objectives)
    )
    study.set_user_attr("experiment", asked.model_dump_json())
    study.set_user_attr("run_id", "the study's run")
    for index, score in enumerate(scores):
        reached = {"score": score, "identity_similarity": score, "expression_probability": 1 - score}
        study.add_trial(
            create_trial(
                params={"loss.pixel.weight": 10.0 + index, "loss.triplet.margin": 0.5 - index / 100},
                distributions=RANGES,
                values=[reached[name] for name in asked.search.objectives],
                user_attrs={"state": "complete", "reason": "", "run_id": f"run-{index}", "images": GOAL, **reached},
            )
        )
    for state, kept in (
        (TrialState.FAIL, {"state": "failed", "reason": "RuntimeError: the disk [is] full"}),
        (TrialState.PRUNED, {"state": "pruned", "reason": "stopped at 300 of 900 images", "score": 0.99}),
    ):
        study.add_trial(create_trial(state=state, user_attrs=kept))
    return study


def printed(summary: Any, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(view(summary))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_best_complete_trial_leads_and_says_by_how_much(tmp_path: Path) -> None:
    summary = summarise(made(tmp_path, [0.2, 0.625, 0.5]))
    assert [line.number for line in summary.lines] == [1, 2, 0, 4, 3]  # a pruned trial's score is no rank above
    assert summary.best is summary.lines[0]
    assert summary.counts == {
        "complete": 3, "pruned": 1, "diverged": 0, "failed": 1, "running": 0, "cut off": 0
    }  # fmt: skip
    why = " ".join(summary.why)
    assert "Trial 1 has the highest score of the 3 complete trials: 0.6250." in why
    assert "0.1250 above the second, trial 2" in why
    assert set(summary.front) == {0, 1, 2}
    assert sum(summary.importances.values()) == pytest.approx(1)
    assert str(summary) == ("study test: 5 of 5 trials (3 complete, 1 pruned, 1 failed); best trial 1 with score 0.625")


def test_a_winner_at_the_edge_of_its_range_is_told(tmp_path: Path) -> None:
    study = made(tmp_path, [0.2])
    kept = {"state": "complete", "reason": "", "score": 0.9}
    params = {"loss.pixel.weight": 1.05, "loss.triplet.margin": 0.5}
    study.add_trial(create_trial(params=params, distributions=RANGES, values=[0.9, 0.9], user_attrs=kept))
    assert "At the edge of its range: loss.pixel.weight;" in " ".join(summarise(study).why)
    assert "edge" not in " ".join(summarise(made(tmp_path / "inner", [0.2])).why)


def test_the_description_names_winner_margin_and_command(tmp_path: Path) -> None:
    study = made(tmp_path, [0.2, 0.625, 0.5])
    written = note(summarise(study))
    assert written.startswith("## Trial 1 won")
    assert "`visage train --from-run run-1`" in written
    assert "`visage tune experiment.yaml --set search.name=ANOTHER`" in written  # this name has its trials
    look = f"visage study test --storage sqlite:///{tmp_path}/optuna.db"
    page = "[The study's page](http://127.0.0.1:5050/?study=test)"
    assert f"`{look}`. With curves and faces side by side: {page}, while `{look} --web` runs." in written
    assert "| loss.pixel.weight | 1 to 200, log scale | 11 |" in written
    study.set_user_attr(
        "outcome",
        {"trial": 1, "model": "visage-ucgan/3", "run_id": "final", "alias": "champion", "decision": "promote",
         "reasons": ["score is higher"]},
    )  # fmt: skip
    assert "became visage-ucgan/3, judged on the test people; the gate's verdict: promote" in note(summarise(study))
    assert "trial 1 became visage-ucgan/3; gate: promote; now champion" in printed(summarise(study))
    study.set_user_attr("outcome", summarise(study).outcome | {"alias": None, "decision": "reject"})
    assert "the gate's verdict: reject.\n" in note(summarise(study))
    assert "gate: reject\n" in printed(summarise(study))


def test_many_trials_fit_in_a_description(tmp_path: Path) -> None:
    written = note(summarise(made(tmp_path, [index / 100 for index in range(30)]), weights={}))
    assert len(written) < TAG_LENGTH
    assert "and 22 more, in study/trials.csv" in written


def test_a_study_without_a_complete_trial(tmp_path: Path) -> None:
    summary = summarise(made(tmp_path, []))
    assert summary.best is None
    assert note(summary).startswith("## No winner yet\n\nNo trial is complete yet.")
    shown = printed(summary, width=200)
    assert "RuntimeError: the disk [is] full" in shown
    assert "repeat" not in shown


def test_a_front_of_one_is_one_trial(tmp_path: Path) -> None:
    alone = replace(summarise(made(tmp_path, [0.2, 0.6])), front=(1,))
    assert "Pareto front: trial 1." in note(alone)
    assert "Pareto front: trial 1\n" in printed(alone, width=200)
    assert "Pareto front: trials 0, 1" in printed(replace(alone, front=(0, 1)), width=200)


def test_a_finished_study_is_shown_once(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    made(tmp_path, [0.2, 0.6])
    console = Console(file=io.StringIO(), width=100)
    follow("test", storage, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("trials by rank") == 1
    assert "Trial 1 has the highest score" in shown
    assert "next: visage study test --storage" in shown
    with pytest.raises(UserError, match=r"other: there is no such study .*known: test.*wait until `visage tune`"):
        follow("other", storage, console)


def test_a_study_whose_process_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    import socket

    storage = f"sqlite:///{tmp_path}/optuna.db"
    study = made(tmp_path, [0.2])
    study.set_user_attr(CLAIM, f"{socket.gethostname()}:{2**22 + 1}:0")  # above the largest process id
    study.ask(dict(RANGES))
    console = Console(file=io.StringIO(), width=100)
    follow("test", storage, console)
    assert "no process works at it" in console.file.getvalue()  # type: ignore[attr-defined]
    assert load_study("test", storage).user_attrs["run_id"] == "the study's run"
