"""Trials that were cut off, as the next part of their study takes them up: Optuna's real database, no Ray needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.search.fakes import GOAL, experiment, trials
from visage.config import Experiment
from visage.search.mlflow_callback import MLflowCallback
from visage.search.optuna_recorder import OptunaRecorder
from visage.search.optuna_search import StudySearch
from visage.search.study.endings import CUT_OFF, FAILED, HALTED, State
from visage.search.study.records import counted, load_study, note_cut_off, open_study, result_of, unfinished
from visage.search.trials.trial import mark

RESULT = {"images": GOAL, "score": 0.5, "identity_similarity": 0.4, "expression_probability": 0.6}


def part_of(asked: Experiment, *, resume: bool) -> StudySearch:
    study = open_study(asked, resume=resume)
    if not resume:
        study.set_user_attr("run_id", "run of the study")
    return StudySearch(OptunaRecorder(study, asked.search, GOAL), unfinished(study))


def test_a_trial_that_was_cut_off_goes_on_as_itself(tmp_path: Path) -> None:
    asked = experiment(tmp_path, "")
    first = part_of(asked, resume=False)
    begun = [first.suggest(name) for name in "abc"]
    assert all(one and one["study"] == "run of the study" for one in begun)
    first.recorder.note("b", "run_id", "run of b")
    first.on_trial_complete("a", RESULT)
    note_cut_off(first.recorder.study)
    assert [trial.user_attrs["state"] for trial in unfinished(first.recorder.study)] == [CUT_OFF, CUT_OFF]

    second = part_of(asked, resume=True)
    assert [second.suggest("d"), second.suggest("e")] == begun[1:]
    assert (second.recorder.noted("d", "run_id"), second.recorder.noted("e", "run_id")) == ("run of b", None)
    new = second.suggest("f")
    assert new is not None
    assert new["number"] == 3
    for name in "def":
        second.on_trial_complete(name, RESULT)
    trials = load_study("test", asked.search.storage).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert [trial.user_attrs["state"] for trial in trials] == ["complete"] * 4
    assert len({str(trial.params) for trial in trials}) == 4
    assert len(counted(second.recorder.study)) == 4


def test_a_halted_trial_has_no_ending_and_a_failed_one_has(tmp_path: Path) -> None:
    search = part_of(experiment(tmp_path, ""), resume=False)
    for name in "ab":
        search.suggest(name)
    search.on_trial_complete("a", RESULT | {"images": 300, HALTED: "the disk is full"})
    search.on_trial_complete("b", RESULT | {"images": 300, FAILED: "ValueError: no luck"})
    halted, failed = load_study("test", experiment(tmp_path, "").search.storage).trials
    assert halted.state is TrialState.RUNNING
    assert failed.state is TrialState.FAIL
    assert failed.user_attrs["state"] == str(State.FAILED)
    assert failed.user_attrs["reason"] == "ValueError: no luck"
    assert (failed.user_attrs["images"], failed.user_attrs["score"]) == (300, 0.5)


def test_the_curve_of_a_trial_goes_on_in_its_run(tmp_path: Path) -> None:
    """What Tune calls, in its order: a process that dies and is started again, then a driver that is cut off."""
    from mlflow import MlflowClient

    from visage.registry.tracking import Tracking

    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    tracking = Tracking(asked.registry.tracking_uri, asked.registry.experiment)
    study = open_study(asked, resume=False)
    study.set_user_attr("run_id", tracking.start_run("test").run_id)

    def part(name: str) -> tuple[StudySearch, MLflowCallback, Any]:
        search = StudySearch(OptunaRecorder(study, asked.search, GOAL), unfinished(study))
        log = MLflowCallback(asked, search.recorder, tracking, result_of(study), None, {})
        trial = SimpleNamespace(trial_id=name, config=search.suggest(name), num_failures=1, last_result=RESULT)
        return search, log, trial

    def reported(log: MLflowCallback, trial: Any, images: int) -> None:
        log.on_trial_result(0, [], trial, RESULT | {"images": images, "losses": {"pixel": 1 / images}})

    _, log, trial = part("first")
    log.on_trial_start(0, [], trial)
    reported(log, trial, 100)
    log.on_trial_recover(0, [], trial)
    log.on_trial_start(0, [], trial)
    reported(log, trial, 200)
    log.cut_off()
    note_cut_off(study)
    (halted,) = unfinished(study)
    client = MlflowClient(asked.registry.tracking_uri)
    assert client.get_run(halted.user_attrs["run_id"]).data.tags["visage.state"] == "killed"

    search, log, trial = part("second")
    log.on_trial_start(0, [], trial)
    reported(log, trial, GOAL)
    search.on_trial_complete(trial.trial_id, RESULT)
    log.on_trial_complete(0, [], trial)
    assert log.recorder.fault is None
    (ended,) = counted(study)
    assert ended.user_attrs["run_id"] == halted.user_attrs["run_id"]
    run = client.get_run(ended.user_attrs["run_id"])
    assert (run.data.tags["visage.state"], run.data.tags["visage.restarts"]) == ("complete", "1")
    assert [step for step, _ in tracking.history(run.info.run_id, "score")] == [100, 200, GOAL]


def test_what_a_trial_raises_is_told_and_its_folder_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import tune

    from visage.errors import NotWritten

    told: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", told.append)
    faults: list[Exception] = [ValueError("no\nluck"), NotWritten("the disk is full.")]

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        if images == 300 and faults:
            raise faults.pop()
        return images / GOAL

    mark(tmp_path, "one")  # as the driver does
    trial = trials(behaviour)(experiment(tmp_path, ""), tmp_path)
    config = {"number": 0, "values": {}, "study": "one"}
    trial(config)
    assert [(point["images"], point.get("halted")) for point in told] == [
        (100, None),
        (200, None),
        (200, "the disk is full."),
    ]
    told.clear()
    trial(config)
    assert [(point["images"], point.get("failed")) for point in told] == [
        (100, None),
        (200, None),
        (200, "ValueError: no"),
    ]
    told.clear()
    trial(config)  # what nobody may have kept is told once more
    assert [point["images"] for point in told] == list(range(100, GOAL + 1, 100))
