"""Writes a study to MLflow while it runs, from the driver alone: a run for the study, a child run for each trial."""

import math
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper

from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.registry.record import THREADS
from visage.registry.tracking import NOTE, RunLog, Tracking
from visage.search.endings import (
    CUT_OFF,
    DIVERGED,
    FAILED,
    HALTED,
    RETRIED,
    Ending,
    State,
    divergence,
    metrics_of,
    reason_of,
)
from visage.search.optuna_search import Record
from visage.search.progress import StudyProgress, Watch
from visage.search.record import describe
from visage.search.study import StudyResult, flat
from visage.search.summary import summarise
from visage.training.resources import worker_threads

DESCRIBE_SECONDS = 60  # between two descriptions of a study that runs

RUNNING = "running"


def guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Keep a store's refusal as the log's `fault`, which stops the study: Tune would print a traceback of it."""

    @wraps(method)
    def call(self: "StudyLog", *arguments: Any, **named: Any) -> None:
        if self.fault:
            return
        try:
            method(self, *arguments, **named)
        except UserError as error:
            self.fault = error

    return call


class StudyLog(Callback):
    """Follows Tune's trials. before: the study as it stood. watch: told after every start and ending.

    tags: of every trial's run.
    """

    fault: UserError | None = None

    def __init__(
        self,
        experiment: Experiment,
        search: Record,
        tracking: Tracking,
        before: StudyResult,
        watch: Watch | None,
        tags: Mapping[str, str],
    ) -> None:
        self.experiment, self.search, self.tracking, self.watch = experiment, search, tracking, watch
        self.before = before
        self.tags = {"visage.kind": "trial", "visage.study": experiment.search.name, **tags}
        self.tags[THREADS] = str(worker_threads(experiment.train))
        self.counts = {State.COMPLETE: before.complete, State.PRUNED: before.pruned, State.FAILED: before.failed}
        self.best = before.best.score if before.best else None
        self.runs: dict[int, RunLog] = {}
        self.described = time.monotonic()
        settings = flat(experiment.model_dump(mode="json"))
        self.settings = {name: value for name, value in settings.items() if name.split(".")[0] != "search"}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the Tuner pickles its settings for a restore that is never made

    @guarded
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, values = trial.config["number"], trial.config["values"]
        if number in self.runs:  # it goes on: its process died, or it had made room for another of a population
            return
        begun = self.search.noted(trial.trial_id, "run_id")
        if begun:  # cut off with an earlier part of the study
            self.search.note(trial.trial_id, "state", RUNNING)
            self.runs[number] = self.tracking.continue_run(begun)
            self.runs[number].tag("visage.reason", "")
            self._tell()
            return
        self.runs[number] = self.tracking.start_run(
            f"{self.experiment.search.name}-{number:04d}",
            parent=self.before.run_id,
            tags=self.tags | {"visage.trial": str(number)},
            params=self.settings | values,
            experiment=replaced(self.experiment, values),
        )
        self.search.note(trial.trial_id, "run_id", self.runs[number].run_id)
        self._tell()

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        run = self.runs[trial.config["number"]]
        if HALTED in result:
            raise UserError(result[HALTED])
        if FAILED in result or DIVERGED in result:  # the rest of it was reported before
            return
        history = result.get("history", [(result.get("images", 0), result.get("losses", {}))])
        points = [(images, {f"loss/{name}": value for name, value in losses.items()}) for images, losses in history]
        points.append((result.get("images", 0), metrics_of(result)))
        if self.experiment.search.scheduler == "pbt":
            chosen = {name: value for name, value in trial.config["values"].items() if isinstance(value, (int, float))}
            points.append((result.get("images", 0), {f"setting/{name}": value for name, value in chosen.items()}))
        run.points((images, _finite(values)) for images, values in points)
        if "warning" in result:
            run.tag("visage.warning", result["warning"])
        if RETRIED in result:
            run.tag("visage.retried", result[RETRIED])
        if "faces" in result:
            run.picture(Path(result["faces"]), f"faces/{result['images']:08d}.png")

    @guarded
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        ending = self.search.endings[number]
        if ending.state is State.COMPLETE:
            score = float(trial.last_result["score"])
            self.best = score if self.best is None else max(self.best, score)
        self._end(number, ending)

    @guarded
    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.config["number"] in self.runs:  # its process may have died before it could start
            self.runs[trial.config["number"]].tag("visage.restarts", str(trial.num_failures))

    @guarded
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        if number not in self.runs:  # it failed before it could start
            self.on_trial_start(iteration, trials, trial)
        started = f", the last of {trial.num_failures} starts" if trial.num_failures > 1 else ""
        ending = Ending(State.FAILED, f"{reason_of(_error_of(trial))}{started}")
        self.search.end(trial.trial_id, ending, trial.last_result)
        self._end(number, ending)

    def cut_off(self) -> None:
        """End the runs of the trials that still ran when the study stopped, if the store can still be written."""
        try:
            for number in list(self.runs):
                self.runs.pop(number).finish("killed", {"visage.reason": CUT_OFF})
        except UserError as error:
            self.fault = self.fault or error

    def _end(self, number: int, ending: Ending) -> None:
        self.counts[State.FAILED if ending.state is State.DIVERGED else ending.state] += 1
        run = self.runs.pop(number)
        run.finish(ending.state.value, {NOTE: _note(number, ending, run)} | _reason(ending))
        self._tell()
        if time.monotonic() > self.described + DESCRIBE_SECONDS:
            describe(self.tracking.run(self.before.run_id), summarise(self.search.study, weights={}))
            self.described = time.monotonic()

    def _tell(self) -> None:
        if self.watch:
            complete, pruned, failed = self.counts.values()
            self.watch(
                StudyProgress(self.experiment.search.trials, complete, pruned, failed, len(self.runs), self.best)
            )


def _reason(ending: Ending) -> dict[str, str]:
    return {"visage.reason": ending.reason} if ending.reason else {}


def _note(number: int, ending: Ending, run: RunLog) -> str:
    because = f": {ending.reason}" if ending.reason else ""
    return f"Trial {number}, {ending.state.value}{because}.\n\nRepeat it: `visage train --from-run {run.run_id}`"


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _error_of(trial: Any) -> BaseException | None:
    """What a trial died of, from the driver's own file: Tune's getter reads a copy that is made later."""
    from ray import cloudpickle

    path = trial.pickled_error_file
    return cloudpickle.loads(Path(path).read_bytes()) if path and Path(path).is_file() else None


class StudyStopper(Stopper):
    """Ends a trial that says so, and the study when its log cannot be written or the disk is full."""

    def __init__(self, log: StudyLog) -> None:
        self.log = log

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(divergence(result)) or FAILED in result or HALTED in result

    def stop_all(self) -> bool:
        return self.log.fault is not None
