"""Tells MLflow of a study while it runs: a run for the study, a child run for each trial.

Tune's loop, in which decisions are made, only writes down what is to be told; see `outbox`.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper

from visage.config import Experiment
from visage.config.read import without_passwords
from visage.errors import Overtaken, UserError
from visage.infra import traces
from visage.infra.patience import patiently
from visage.registry.record import THREADS
from visage.registry.store import database_of
from visage.registry.tracking import Tracking, flattened
from visage.search.budget_keeper import BudgetKeeper
from visage.search.optuna_recorder import OfTheDriver, OptunaRecorder, guarded
from visage.search.outbox import Outbox
from visage.search.private import id_of_trial
from visage.search.report.mlflow_run import describe
from visage.search.study.database import database_faults
from visage.search.study.endings import (
    CUT_OFF,
    DIVERGED,
    FAILED,
    HALTED,
    RUNNING,
    Ending,
    State,
    divergence,
    reason_of,
)
from visage.search.study.lock import Claim
from visage.search.study.page import leading_to, looking
from visage.search.study.progress import StudyProgress, Watch
from visage.search.study.records import counted, flat, study_folder, unfinished
from visage.search.study.summary import summarise
from visage.search.trial_runs import REASON, TRIAL, Evaluation, Letter, TrialRuns
from visage.search.trials.trial import folder_of
from visage.training.resources import worker_threads

DESCRIBE_SECONDS = 60  # between two descriptions of a study that runs
STUDY = -1  # stands for the study among the trials' numbers
THREADS_OF_A_SERVER = 4  # SQLite has one writer at a time


class MLflowCallback(OfTheDriver, Callback):
    """Follows Tune's trials. watch: told after every start and ending. tags: of every trial's run.

    `close` must be called, or nothing may be told.
    """

    def __init__(
        self,
        experiment: Experiment,
        recorder: OptunaRecorder,
        tracking: Tracking,
        watch: Watch | None,
        tags: Mapping[str, str],
    ) -> None:
        self.experiment, self.recorder, self.tracking, self.watch = experiment, recorder, tracking, watch
        self.folder, search = study_folder(experiment), experiment.search
        before = summarise(recorder.study, weights={})
        self.run_id = before.run_id
        look = without_passwords(looking(search.name, search.storage))
        tags = {"visage.kind": "trial", "visage.study": search.name, **tags}
        tags[THREADS] = str(worker_threads(experiment.train))
        self.runs = TrialRuns(tracking, search.name, before.run_id, look, tags, recorder.note_run, experiment.data)
        self.outbox = Outbox(self._send, 1 if database_of(tracking.uri) else THREADS_OF_A_SERVER)
        self.counts = {State.COMPLETE: before.complete, State.PRUNED: before.pruned, State.FAILED: before.failed}
        self.best = before.best.score if before.best else None
        self.running: set[int] = set()
        self.traces: dict[int, str] = {}  # of trials, where traces are on
        self.cut_off = {trial.number for trial in unfinished(recorder.study)}  # with an earlier part of the study
        self.described = time.monotonic()
        if not before.trials:  # described when there is more to tell
            patiently(lambda: tracking.run(before.run_id).note(leading_to(search.name, look)))
        self.known = patiently(lambda: tracking.children(before.run_id, TRIAL))
        # What the study's run has among its own parameters, its trials' need not have.
        begun = patiently(lambda: tracking.params(before.run_id))
        settings = flat(experiment.model_dump(mode="json"))
        now = {name: value for name, value in settings.items() if name.split(".")[0] != "search"}
        self.settings = {name: now[name] for name, text in flattened(now) if name in now and begun.get(name) != text}

    @guarded
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, values = trial.config["number"], trial.config["values"]
        if number in self.running:  # it goes on: its process died
            return
        begun = self.recorder.noted(trial.trial_id, "run_id") or self.known.get(str(number), ("", ""))[0]
        if "traceparent" in trial.config:
            self.traces[number] = trial.config["traceparent"]
        key, folder, tags = self.recorder.trials[trial.trial_id].key, None, dict[str, str]()
        if number in self.cut_off:
            self.recorder.note(trial.trial_id, "state", RUNNING)
            folder, tags = folder_of(self.experiment, self.folder, trial.config), {REASON: ""}
        letter = Letter(key, begun, folder, dict(values) if begun else self.settings | values, tags)
        self.outbox.add(number, letter)
        self.running.add(number)
        self._tell()

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        if HALTED in result:
            raise UserError(result[HALTED])
        if FAILED in result or DIVERGED in result:  # the rest of it was reported before
            return
        tags = {"visage.warning": result["warning"]} if "warning" in result else {}
        self.outbox.add(trial.config["number"], Letter(tags=tags, evaluations=[Evaluation.of(result)]))

    @guarded
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        ending = self.recorder.endings[number]
        if ending.state is State.COMPLETE:
            score = float(trial.last_result["score"])
            self.best = score if self.best is None else max(self.best, score)
        self._end(number, ending)

    @guarded
    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.config["number"] in self.running:  # its process may have died before it could start
            self.outbox.add(trial.config["number"], Letter(tags={"visage.restarts": str(trial.num_failures)}))

    @guarded
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        if number not in self.running:  # it failed before it could start
            self.on_trial_start(iteration, trials, trial)
        started = f", the last of {trial.num_failures} starts" if trial.num_failures > 1 else ""
        ending = Ending(State.FAILED, f"{reason_of(_error_of(trial))}{started}")
        self.recorder.end(trial.trial_id, ending, trial.last_result)
        self._end(number, ending)

    def catch_up(self) -> None:
        """Tell of trials that had ended when the study was cut off, before their runs were told."""
        for trial in counted(self.recorder.study):
            state, reason = State(trial.user_attrs["state"]), trial.user_attrs["reason"]
            begun, told = self.known.get(str(trial.number), ("", ""))
            if told != state or "run_id" not in trial.user_attrs:
                config = {"number": trial.number, **self.recorder.identity()}
                folder = folder_of(self.experiment, self.folder, config)
                last = [Evaluation.of(trial.user_attrs)] if "images" in trial.user_attrs else []
                letter = Letter(id_of_trial(trial), begun, folder, dict(trial.params), {}, last, state.value, reason)
                self.outbox.add(trial.number, letter)

    def close(self, budget: str = "") -> None:
        """Tell what is left, and end the runs of the trials that still ran when the study stopped.

        A driver whose place was taken tells nothing more: the runs are the other's. Of a study that was cut off only
        what the stores take at once is told; its next part tells the rest. budget: the one that ended the study.
        """
        self.recorder.cut_off()
        if isinstance(self.recorder.fault, Overtaken):
            self.outbox.stop()
            return
        for number in self.running:
            why = f"{CUT_OFF}, as {budget} ended the study" if budget else CUT_OFF
            self.outbox.add(number, Letter(state="killed", reason=why))
        self.outbox.close(cut_off=bool(self.recorder.fault or (self.running and not budget)))
        self.require_told()

    def require_told(self) -> None:
        """Make a refusal of MLflow's store the study's fault."""
        fault = self.outbox.fault
        if isinstance(fault, UserError):
            self.recorder.fault = self.recorder.fault or fault
        elif fault:
            raise fault

    def _end(self, number: int, ending: Ending) -> None:
        self.counts[State.FAILED if ending.state is State.DIVERGED else ending.state] += 1
        self.outbox.add(number, Letter(state=ending.state.value, reason=ending.reason))
        self.running.remove(number)
        self._tell()
        if time.monotonic() > self.described + DESCRIBE_SECONDS:
            self.described = time.monotonic()
            self.outbox.add(STUDY, Letter())

    def _send(self, number: int, letter: Letter) -> None:
        if number != STUDY:
            with traces.within("mlflow", self.traces.get(number)):
                self.runs.send(number, letter)
            return
        with database_faults(self.recorder.storage):
            summary = summarise(self.recorder.study, weights={})
        describe(self.tracking.run(self.run_id), summary)

    def _tell(self) -> None:
        if self.watch:
            complete, pruned, failed = self.counts.values()
            self.watch(
                StudyProgress(self.experiment.search.trials, complete, pruned, failed, len(self.running), self.best)
            )


def _error_of(trial: Any) -> BaseException | None:
    """What a trial died of, from the driver's own file: Tune's getter reads a copy that is made later."""
    from ray import cloudpickle

    path = trial.pickled_error_file
    return cloudpickle.loads(Path(path).read_bytes()) if path and Path(path).is_file() else None


class StudyStopper(OfTheDriver, Stopper):
    """Ends a trial that says so or has reached its goal, which Tune would ask once more, and the study when a store is
    away, the disk is full, the claim on it is gone, or a budget is spent."""

    def __init__(self, log: MLflowCallback, claim: Claim, keeper: BudgetKeeper) -> None:
        self.log, self.recorder, self.claim, self.keeper = log, log.recorder, claim, keeper

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if divergence(result) or FAILED in result or HALTED in result:
            return True
        # What several workers have reached their own trainer still has to end.
        return self.log.experiment.train.workers == 1 and result.get("images", 0) >= self.recorder.goal

    def stop_all(self) -> bool:
        self.log.require_told()
        if self.claim.fault:
            self.recorder.fault = self.claim.fault
        return self.recorder.fault is not None or self.keeper.over()
