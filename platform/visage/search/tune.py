"""A study: Ray Tune runs trials that Optuna suggests, and what they reached is kept whatever happens."""

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config import Experiment, replaced
from visage.config.aims import PREFERENCE
from visage.errors import NotWritten, Overtaken, StoreRefused, UserError
from visage.infra import traces
from visage.infra.patience import patiently
from visage.infra.ray_session import local_ray
from visage.search.study.budget import STOP, Budget, Spent, announced, told_as_stopped
from visage.search.study.database import database_faults
from visage.search.study.kept import KEEP
from visage.search.study.lock import Claim, claimed, lock_folder, locked
from visage.search.study.progress import Watch
from visage.search.study.records import (
    STOPPED,
    counted,
    find_study,
    flat,
    load_study,
    note_cut_off,
    open_study,
    require_same_faces,
    study_folder,
    unfinished,
)
from visage.search.study.summary import Summary, summarise
from visage.search.study.warm_start import check_warm_start, warm_start
from visage.search.trials.trial import RESTARTS, Trainable, mark, resources, training
from visage.training.resources import concurrency, require_seen, room, this_machine

if TYPE_CHECKING:
    from optuna import Study

    from visage.registry.tracking import RunLog, State

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow holds the curves
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a diverged trial reports no metrics
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the study holds the reasons
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # the database is the state
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables whatever its verbosity
}
NO_TAGS: Mapping[str, str] = {}


def tune(
    experiment: Experiment,
    *,
    resume: bool = False,
    progress: Watch | None = None,
    say: Callable[[str], object] = lambda sentence: None,
    trials: Callable[[Experiment, Path], Trainable] = training,
    tags: Mapping[str, str] = NO_TAGS,
) -> Summary:
    """Run the experiment's study to `search.trials` trials, or to one of its budgets, and return what came out.

    resume: go on with a study that was cut off, or make a finished one longer. say: told, before the first trial, what
    of an earlier study's values was left out and which budgets there are, and at the end which checkpoints could not be
    removed. trials: makes the function that Tune runs for a trial, given the experiment and the study's folder. tags:
    for the study's run in MLflow and each trial's.
    Raises UserError for what the user can mend, all trials failed among them, and KeyboardInterrupt, whose message
    says how far it came, after Ctrl-C; what the trials reached is kept in both cases.
    """
    _require_sound(experiment)
    experiment = _absolute(experiment)
    folder = study_folder(experiment)
    search = experiment.search
    ray_session = local_ray(dashboard=experiment.train.workers > 1)
    with _quiet(), lock_folder(folder, search), ray_session, database_faults(search.storage), locked(search) as lock:
        at_once = room(experiment.train, experiment.search.concurrency)
        good = [] if resume else check_warm_start(experiment.search)
        study = open_study(experiment, resume=resume)
        if not experiment.train.storage:
            require_seen(folder)
        with claimed(study, lock, shared=bool(experiment.train.storage)) as claim:
            trainable = trials(experiment, folder)
            require_same_faces(study, experiment)
            for sentence in warm_start(study, experiment.search, good):
                say(f"{sentence}, and was left out")
            if ends := announced(search, Spent.of(study)):
                say(ends)
            study = _run(experiment, study, claim, trainable, folder, at_once, progress, say, tags)
        result = summarise(study, weights={})
    if result.trials < experiment.search.trials and not result.stopped:
        raise KeyboardInterrupt(
            f"the study {result.name} was cut off after {result.trials} of {experiment.search.trials} trials, "
            "which are kept"
        )
    if result.trials and result.failed == result.trials:
        first = counted(study)[0].user_attrs["reason"]
        raise UserError(f"search.name = {result.name}: all {result.trials} trials failed, the first because {first}.")
    if result.nearest:
        raise UserError(f"search.constraints: {result.nearest}; loosen them in a new study, or go on with more trials.")
    return result


def require_possible(experiment: Experiment, resume: bool) -> None:
    """Raises UserError for what `tune` would refuse, as far as that is known before there are faces and judges."""
    _require_sound(experiment)
    if not os.environ.get("RAY_ADDRESS"):
        concurrency(this_machine(), experiment.train)
    find_study(_absolute(experiment), resume=resume)
    if not resume:
        check_warm_start(experiment.search)


def _require_sound(experiment: Experiment) -> None:
    if not experiment.search.space:
        raise UserError("search.space: is empty; give it a path and a range, such as loss.pixel.weight.")
    if PREFERENCE in experiment.search.objectives and not experiment.search.final:
        raise UserError(
            "search.objectives.preference: needs search.final, such as {train.images: 50000}, as people may choose a "
            "trial whose checkpoint is kept no more."
        )
    if experiment.train.min_workers:
        raise UserError(
            f"train.min_workers = {experiment.train.min_workers}: is for a training of its own; the trials of a study "
            "have train.workers each. Leave it out."
        )
    hours = experiment.search.stop.gpu_hours
    if hours and not experiment.train.gpus_per_worker:
        raise UserError(
            f"search.stop.gpu_hours = {hours:g}: is never reached, as the trials use no GPU (train.gpus_per_worker = "
            "0); bound search.stop.hours, or give each worker a GPU."
        )


def _run(
    experiment: Experiment, study: "Study", claim: Claim, trainable: Trainable, folder: Path, at_once: int,
    watch: Watch | None, say: Callable[[str], object], tags: Mapping[str, str],
) -> "Study":  # fmt: skip
    """The trials that are still to be run, in Tune, with MLflow told. Returns the study as it is then."""
    from ray import tune

    from visage.registry.datasets import log_faces
    from visage.registry.tracking import Tracking
    from visage.search.budget_keeper import BudgetKeeper
    from visage.search.checkpoint_keeper import CheckpointKeeper
    from visage.search.mlflow_callback import MLflowCallback, StudyStopper
    from visage.search.optuna_recorder import OptunaRecorder, StudySearch
    from visage.search.report.mlflow_run import record_study
    from visage.search.strategy import scheduler

    search = experiment.search
    tracking = Tracking(experiment.registry.tracking_uri, experiment.registry.experiment)
    if "run_id" in study.user_attrs:
        run = tracking.continue_run(study.user_attrs["run_id"])
    else:
        kind = {"visage.kind": "study", "visage.study": search.name}
        params = flat(experiment.model_dump(mode="json"))
        run = tracking.start_run(search.name, tags={**kind, **tags}, params=params, experiment=experiment)
        _keep(study, run, place=f"{folder.name}/{run.run_id}")
    tracking.show(list(search.space))
    log_faces(run, experiment.data)
    mark(folder, run.run_id)
    recorder = OptunaRecorder(study, search, experiment.train.images)
    budget = Budget(study, search, experiment.train.workers * experiment.train.gpus_per_worker, at_once)
    keeper = BudgetKeeper(budget, recorder, watch)
    checkpoints = CheckpointKeeper(recorder, search, at_once)
    log = MLflowCallback(experiment, recorder, tracking, keeper.watch, tags)
    log.catch_up()
    remaining = search.trials - len(counted(study))
    study.set_user_attr("trials", search.trials)
    study.set_user_attr(STOP, search.stop.model_dump(mode="json"))
    study.set_user_attr(STOPPED, "")
    study.set_user_attr(KEEP, search.keep_checkpoints)
    try:
        if remaining > 0 and not keeper.stopped:
            tune.Tuner(
                tune.with_resources(trainable, resources(experiment.train)),
                tune_config=tune.TuneConfig(
                    search_alg=StudySearch(recorder, unfinished(study)),
                    scheduler=scheduler(experiment),
                    num_samples=remaining,
                    max_concurrent_trials=at_once,
                    # A nested trainer's process waits for its workers and cannot be handed to another trial.
                    reuse_actors=experiment.train.workers == 1,
                    trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:04d}",
                ),
                run_config=tune.RunConfig(
                    name=f"{time.time_ns()}",
                    storage_path=str(folder / "tune"),
                    callbacks=[keeper, log, checkpoints],
                    # Of a process that died: what a trial itself ends with is a result and no failure.
                    failure_config=tune.FailureConfig(max_failures=RESTARTS),
                    stop=StudyStopper(log, claim, keeper),
                    verbose=0,
                ),
            ).fit()
    finally:
        checkpoints.close()
        try:
            with database_faults(search.storage):
                note_cut_off(study)
                budget.tick().keep(study)
        except Overtaken as gone:
            recorder.fault = gone
        except UserError:
            pass
        log.close(keeper.stopped)
        traces.flush()
    if recorder.fault:
        if not isinstance(recorder.fault, Overtaken):
            with suppress(UserError):
                run.finish("killed")
        raise UserError(f"{str(recorder.fault).rstrip('.')}; then go on with --resume.")
    if keeper.stopped:
        stopped = told_as_stopped(keeper.stopped, budget)
        recorder.ask(lambda: study.set_user_attr(STOPPED, stopped))

    def record() -> "Study":
        ended = load_study(search.name, search.storage)  # what was read before may lack the trials' runs
        record_study(ended, run)
        return ended

    try:
        ended = patiently(record)
    except StoreRefused:
        with suppress(UserError):
            run.finish("killed")
        raise
    ending: State = "complete" if len(counted(ended)) >= search.trials or keeper.stopped else "killed"
    patiently(lambda: run.finish(ending))
    if ending == "complete":
        try:
            checkpoints.remove_rest()
        except NotWritten as refused:
            say(f"{str(refused).rstrip('.')}; what was to go there is removed with: visage study {search.name} --prune")
    return ended


def _keep(study: "Study", run: "RunLog", place: str) -> None:
    """Note in the study which run is its own; one that nobody would find again has failed.

    place: of its trials' files in a bucket, where another study may have this one's name.
    """
    try:
        study.set_user_attr("place", place)
        study.set_user_attr("run_id", run.run_id)
    except Exception:
        with suppress(UserError):
            run.finish("failed")
        raise


def _absolute(experiment: Experiment) -> Experiment:
    """The experiment with whole paths, as Ray's workers stand in another folder."""
    paths: dict[str, Any] = {"data.dir": experiment.data.dir.absolute()}
    embedding = experiment.loss.embedding
    if embedding and Path(embedding).exists():
        paths["loss.triplet.embedding"] = str(Path(embedding).absolute())
    return replaced(experiment, paths)


@contextmanager
def _quiet() -> Iterator[None]:
    """Tune and Optuna say nothing of their own: what matters is in the study, MLflow and the progress."""
    import optuna

    before = {name: os.environ.get(name) for name in QUIET}
    optuna_level = optuna.logging.get_verbosity()
    tune_log = logging.getLogger("ray.tune")
    tune_level = tune_log.level
    handler = signal.getsignal(signal.SIGINT)
    os.environ.update(QUIET)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tune_log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:  # Tune's own stays, and would swallow the next Ctrl-C
            signal.signal(signal.SIGINT, handler)
        tune_log.setLevel(tune_level)
        optuna.logging.set_verbosity(optuna_level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
