"""Trials that were cut off, as the next part of their study takes them up: Optuna's real database, no Ray needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.trial import TrialState

from tests.search.fakes import GOAL, experiment, trials
from visage.config import Experiment
from visage.search.mlflow_callback import MLflowCallback, StudyStopper
from visage.search.optuna_recorder import OptunaRecorder, StudySearch
from visage.search.study.endings import CUT_OFF, FAILED, HALTED, State
from visage.search.study.records import counted, load_study, note_cut_off, open_study, unfinished
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


@pytest.mark.slow
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
        log = MLflowCallback(asked, search.recorder, tracking, None, {})
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
    log.close()
    note_cut_off(study)
    (halted,) = unfinished(study)
    client = MlflowClient(asked.registry.tracking_uri)
    assert client.get_run(halted.user_attrs["run_id"]).data.tags["visage.state"] == "killed"

    search, log, trial = part("second")
    log.on_trial_start(0, [], trial)
    reported(log, trial, GOAL)
    search.on_trial_complete(trial.trial_id, RESULT)
    log.on_trial_complete(0, [], trial)
    log.close()
    assert log.recorder.fault is None
    (ended,) = counted(study)
    assert ended.user_attrs["run_id"] == halted.user_attrs["run_id"]
    run = client.get_run(ended.user_attrs["run_id"])
    assert (run.data.tags["visage.state"], run.data.tags["visage.restarts"]) == ("complete", "1")
    assert [step for step, _ in tracking.history(run.info.run_id, "score")] == [100, 200, GOAL]


@pytest.mark.slow
def test_what_a_killed_driver_had_not_told_is_told_by_the_next(tmp_path: Path) -> None:
    """Of a trial that ended and one that ran nothing reached MLflow; of a third the run was made, and no more."""
    from mlflow import MlflowClient

    from visage.registry.record import read_record
    from visage.registry.tracking import Tracking
    from visage.search.study.records import study_folder
    from visage.search.trials.trial import folder_of, mark
    from visage.training.progress import Progress

    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    tracking = Tracking(asked.registry.tracking_uri, asked.registry.experiment)
    study, folder = open_study(asked, resume=False), study_folder(asked)
    run = tracking.start_run("test", tags={"visage.kind": "study"}, experiment=asked)
    study.set_user_attr("run_id", run.run_id)
    folder.mkdir(parents=True)

    def part() -> tuple[StudySearch, MLflowCallback]:
        search = StudySearch(OptunaRecorder(study, asked.search, GOAL), unfinished(study))
        return search, MLflowCallback(asked, search.recorder, tracking, None, {})

    def begin(search: StudySearch, log: MLflowCallback, name: str) -> Any:
        trial = SimpleNamespace(trial_id=name, config=search.suggest(name), num_failures=1, last_result=RESULT)
        log.on_trial_start(0, [], trial)
        return trial

    search, log = part()
    log.outbox.stop()  # what is written from now on is lost with the driver
    for name, reached in (("ended", GOAL), ("runs", 300), ("made", 300)):
        trial = begin(search, log, name)
        place = folder_of(asked, folder, trial.config)
        place.path.mkdir()
        mark(place.path, run.run_id)
        for images in range(100, reached + 1, 100):
            place.append(Progress(images, {"pixel": 1 / images}, {"score": images / GOAL}))
    search.on_trial_complete("ended", RESULT | {"checkpoint_path": "nowhere"})
    tracking.start_run("test-0002", run.run_id, tags={"visage.kind": "trial", "visage.trial": "2"})

    search, log = part()
    log.catch_up()
    for name in ("again runs", "again made"):
        trial = begin(search, log, name)
        for images in (200, 300, 400, GOAL):  # the last two that it knows once more
            log.on_trial_result(0, [], trial, RESULT | {"images": images, "losses": {"pixel": 1 / images}})
        search.on_trial_complete(name, RESULT)
        log.on_trial_complete(0, [], trial)
    log.close()
    assert log.recorder.fault is None

    client = MlflowClient(asked.registry.tracking_uri)
    kept = load_study("test", asked.search.storage).trials
    found = client.search_runs([tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
    assert {one.info.run_id for one in found} == {trial.user_attrs["run_id"] for trial in kept}
    assert {one.data.tags["visage.trial"]: one.info.status for one in found} == dict.fromkeys("012", "FINISHED")
    curves = [[step for step, _ in tracking.history(trial.user_attrs["run_id"], "score")] for trial in kept]
    assert curves == [list(range(100, GOAL + 1, 100)), [100, 200, 300, 400, GOAL], [100, 200, 300, 400, GOAL]]
    for trial in kept:
        record = read_record(asked.registry.tracking_uri, trial.user_attrs["run_id"])
        assert record.experiment.loss.pixel.weight == trial.params["loss.pixel.weight"]
        assert record.experiment.train == asked.train


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_of_one_process_is_not_asked_for_more_at_its_goal(tmp_path: Path, workers: int) -> None:
    from visage.config import replaced

    recorder: Any = SimpleNamespace(goal=GOAL)
    asked = replaced(experiment(tmp_path, ""), {"train.workers": workers})
    log, nobody = cast(Any, SimpleNamespace(recorder=recorder, experiment=asked)), cast(Any, None)
    stopper = StudyStopper(log, nobody, nobody)
    assert not stopper("one", RESULT | {"images": GOAL - 100})
    assert stopper("one", RESULT) == (workers == 1)


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
    config = {"number": 0, "values": {}, "study": "one", "place": ""}
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
