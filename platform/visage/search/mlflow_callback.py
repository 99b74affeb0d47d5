"""Writes a study to MLflow while it runs, from the driver alone: a run for the study, a child run for each trial."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper

from visage.config import Experiment, replaced, written
from visage.errors import UserError
from visage.infra.patience import patiently
from visage.infra.remote_store import content
from visage.registry.record import THREADS
from visage.registry.tracking import EXPERIMENT, NOTE, RunLog, Tracking
from visage.search.optuna_recorder import OptunaRecorder, guarded
from visage.search.report.mlflow_run import describe
from visage.search.study.endings import (
    CUT_OFF,
    DIVERGED,
    FAILED,
    HALTED,
    RUNNING,
    Ending,
    State,
    divergence,
    metrics_of,
    reason_of,
)
from visage.search.study.lock import Claim
from visage.search.study.progress import StudyProgress, Watch
from visage.search.study.records import StudyResult, counted, flat
from visage.search.study.summary import summarise
from visage.training.resources import worker_threads

DESCRIBE_SECONDS = 60  # between two descriptions of a study that runs


class MLflowCallback(Callback):
    """Follows Tune's trials. before: the study as it stood. watch: told after every start and ending.

    tags: of every trial's run.
    """

    def __init__(
        self,
        experiment: Experiment,
        recorder: OptunaRecorder,
        tracking: Tracking,
        before: StudyResult,
        watch: Watch | None,
        tags: Mapping[str, str],
    ) -> None:
        self.experiment, self.recorder, self.tracking, self.watch = experiment, recorder, tracking, watch
        self.before = before
        self.tags = {"visage.kind": "trial", "visage.study": experiment.search.name, **tags}
        self.tags[THREADS] = str(worker_threads(experiment.train))
        self.counts = {State.COMPLETE: before.complete, State.PRUNED: before.pruned, State.FAILED: before.failed}
        self.best = before.best.score if before.best else None
        self.runs: dict[int, RunLog] = {}
        self.reached: dict[int, int] = {}  # images up to which a trial's curve is kept
        self.described = time.monotonic()
        settings = flat(experiment.model_dump(mode="json"))
        self.settings = {name: value for name, value in settings.items() if name.split(".")[0] != "search"}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the Tuner pickles its settings for a restore that is never made

    @guarded
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, values = trial.config["number"], trial.config["values"]
        if number in self.runs:  # it goes on: its process died
            return
        begun = self.recorder.noted(trial.trial_id, "run_id")
        if begun:  # cut off with an earlier part of the study
            self.recorder.note(trial.trial_id, "state", RUNNING)
            run = patiently(lambda: self.tracking.continue_run(begun))
            patiently(lambda: run.tag("visage.reason", ""))
            curve = patiently(lambda: self.tracking.history(begun, "score"))
            self.reached[number] = curve[-1][0] if curve else 0
        else:
            run = patiently(
                lambda: self.tracking.start_run(
                    f"{self.experiment.search.name}-{number:04d}",
                    parent=self.before.run_id,
                    tags=self.tags,
                    params=self.settings | values,
                    once={"visage.trial": str(number)},
                )
            )
            self.recorder.note(trial.trial_id, "run_id", run.run_id)
        self.runs[number] = run
        # By itself, and once more of a trial that goes on: the store of files may be away while the runs' is there.
        chosen = written(replaced(self.experiment, values)).encode()
        patiently(lambda: run.picture(chosen, EXPERIMENT))
        self._tell()

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        number, images = trial.config["number"], result.get("images", 0)
        if HALTED in result:
            raise UserError(result[HALTED])
        if FAILED in result or DIVERGED in result:  # the rest of it was reported before
            return
        run = self.runs[number]
        for place in result.get("faces", ()):
            _copy_picture(place, run)
        if images <= self.reached.get(number, 0):  # told once more, as nobody may have heard it
            return
        history = result.get("history", [(images, result.get("losses", {}))])
        points = [(at, {f"loss/{name}": value for name, value in losses.items()}) for at, losses in history]
        points.append((images, metrics_of(result)))
        if "warning" in result:
            patiently(lambda: run.tag("visage.warning", result["warning"]))
        patiently(lambda: run.points([(at, _finite(values)) for at, values in points]))  # last, as `reached` goes by it
        self.reached[number] = images

    @guarded
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        ending = self.recorder.endings[number]
        if ending.state is State.COMPLETE:
            score = float(trial.last_result["score"])
            self.best = score if self.best is None else max(self.best, score)
        self._end(number, ending, trial.last_result)

    @guarded
    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.config["number"] in self.runs:  # its process may have died before it could start
            run = self.runs[trial.config["number"]]
            patiently(lambda: run.tag("visage.restarts", str(trial.num_failures)))

    @guarded
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        if number not in self.runs:  # it failed before it could start
            self.on_trial_start(iteration, trials, trial)
        started = f", the last of {trial.num_failures} starts" if trial.num_failures > 1 else ""
        ending = Ending(State.FAILED, f"{reason_of(_error_of(trial))}{started}")
        self.recorder.end(trial.trial_id, ending, trial.last_result)
        self._end(number, ending, trial.last_result)

    def catch_up(self) -> None:
        """End the runs of trials that had ended when the study was cut off, before their runs were told."""
        states = patiently(lambda: self.tracking.states(self.before.run_id))
        for trial in counted(self.recorder.study):
            ending = Ending(State(trial.user_attrs["state"]), trial.user_attrs["reason"])
            run = self.tracking.run(trial.user_attrs["run_id"])
            if states.get(run.run_id, ending.state) != ending.state:
                run.finish(ending.state.value, self._told(trial.number, ending, trial.user_attrs, run))

    def cut_off(self, why: str = CUT_OFF) -> None:
        """End the runs of the trials that still ran when the study stopped, if the store can still be written."""
        try:
            for number in list(self.runs):
                self.runs.pop(number).finish("killed", {"visage.reason": why})
        except UserError as error:
            self.recorder.fault = self.recorder.fault or error

    def _end(self, number: int, ending: Ending, result: Mapping[str, Any]) -> None:
        self.counts[State.FAILED if ending.state is State.DIVERGED else ending.state] += 1
        run = self.runs[number]
        patiently(lambda: run.finish(ending.state.value, self._told(number, ending, result, run)))
        del self.runs[number]
        self._tell()
        if time.monotonic() > self.described + DESCRIBE_SECONDS:
            study = self.tracking.run(self.before.run_id)
            summary = self.recorder.ask(lambda: summarise(self.recorder.study, weights={}))
            patiently(lambda: describe(study, summary))
            self.described = time.monotonic()

    def _told(self, number: int, ending: Ending, result: Mapping[str, Any], run: RunLog) -> dict[str, str]:
        """The tags of a trial that ended: its description, and the reason where it is not complete."""
        reason = {"visage.reason": ending.reason} if ending.reason else {}
        said = f"Trial {number}, {ending.state.value}{f': {ending.reason}' if ending.reason else ''}."
        return reason | {NOTE: f"{said}\n\nRepeat it: `visage train --from-run {run.run_id}`"}

    def _tell(self) -> None:
        if self.watch:
            complete, pruned, failed = self.counts.values()
            self.watch(
                StudyProgress(self.experiment.search.trials, complete, pruned, failed, len(self.runs), self.best)
            )


def _copy_picture(place: str, run: RunLog) -> None:
    """Keep a picture of a trial in its run. place: its path or address."""
    picture = patiently(lambda: content(place))
    patiently(lambda: run.picture(picture, f"faces/{place.rpartition('/')[2]}"))


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _error_of(trial: Any) -> BaseException | None:
    """What a trial died of, from the driver's own file: Tune's getter reads a copy that is made later."""
    from ray import cloudpickle

    path = trial.pickled_error_file
    return cloudpickle.loads(Path(path).read_bytes()) if path and Path(path).is_file() else None


class StudyStopper(Stopper):
    """Ends a trial that says so, and the study when a store is away, the disk is full, or the claim on it is gone."""

    def __init__(self, recorder: OptunaRecorder, claim: Claim) -> None:
        self.recorder, self.claim = recorder, claim

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the Tuner pickles its settings for a restore that is never made

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(divergence(result)) or FAILED in result or HALTED in result

    def stop_all(self) -> bool:
        if self.claim.fault:
            self.recorder.fault = self.claim.fault
        return self.recorder.fault is not None
