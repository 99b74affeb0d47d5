"""What the commands of a search do: a study from its first trial to the gate, one looked at, and an ablation."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.infra.patience import patiently
from visage.infra.remote_store import local
from visage.workflows.models import print_promotion, print_published
from visage.workflows.notice import told_at_the_end
from visage.workflows.terminal import bar, console, going_on_with, judged_later, serving, study_bar, typed
from visage.workflows.training import faces_and_judges, train_run

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks
    from visage.registry.card import Eyes
    from visage.registry.models import Registry
    from visage.search.study.summary import Line, Summary
    from visage.workflows.publish import Published


def tune_and_publish(experiment: Experiment, resume: bool, restartable: bool = False) -> None:
    """Run the study, train the chosen setting to its full length, register the model, and let the gate judge it.

    restartable: resume a study that was begun, begin one that was not.
    """
    from visage.registry.models import Registry
    from visage.registry.record import seen
    from visage.search.report.mlflow_run import conclude
    from visage.search.study.records import is_begun
    from visage.search.tune import require_possible, tune

    resume = resume or (restartable and is_begun(experiment.search))
    require_possible(experiment, resume)  # before hours are spent
    registry = Registry(experiment.registry.tracking_uri)
    faces, networks = faces_and_judges(experiment)

    def again() -> str:
        return typed("--resume") if is_begun(experiment.search) else typed()

    with going_on_with(again), told_at_the_end(experiment.search) as notice:
        with study_bar() as progress:
            result = tune(experiment, resume=resume, progress=progress, say=console.print, tags=seen(faces, networks))
        notice.reached(result)
        best = result.best
        print_study(result)
        if best is None:
            mend = f"{result.stopped}; raise that" if result.stopped else "raise search.trials"
            raise UserError(f"search.name = {result.name}: no trial was completed; {mend} and use --resume.")
        model = publish_chosen(experiment, result, best, faces, networks, registry)
        if registry.is_champion(model):
            console.print(f"{model} is the champion already; next: {serving(experiment.registry.tracking_uri)}")
            return
        promotion = registry.promote(model)
        notice.judged(promotion)
        conclude(experiment, result, promotion)
    print_promotion(promotion, experiment.registry.tracking_uri)


def publish_chosen(
    experiment: Experiment, result: "Summary", best: "Line", faces: "FaceSet", networks: "FaceNetworks",
    registry: "Registry",
) -> str:  # fmt: skip
    """Register the best trial's setting, once, and return it as name/version.

    Its model is that of a new training with `search.final` over the setting, or without one the trial's own. A
    training that was cut off goes on; another best trial, or other settings, train in a folder of their own.
    """
    from visage.search.study.choices import of_trial
    from visage.search.study.database import database_faults
    from visage.search.study.records import study_folder
    from visage.training.run_folder import RunFolder

    def look() -> "Eyes | None":
        with database_faults(experiment.search.storage):
            return of_trial(result.study, best.number)

    eyes = partial(patiently, look)
    folder = Path("runs/tune") / study_folder(experiment).name
    if not experiment.search.final:
        # The first that is asked of MLflow when a study has ended: the server may be starting anew.
        if model := patiently(lambda: registry.version_of(best.run_id)):
            console.print(f"trial {best.number} is registered as {model} already")
            return model
        with judged_later(best.checkpoint):
            published = publish_best(experiment, best, folder / "bundle", faces, networks, eyes)
        print_published(published)
        return published.model

    from visage.registry.tracking import PAGE, Tracking
    from visage.search.study.page import page_of

    chosen = replaced(experiment, {**best.params, **experiment.search.final})
    name = f"{result.name}-final-{best.number:04d}"
    decides = json.dumps(chosen.decides())
    out = folder / f"final-{best.number:04d}-{sha256(decides.encode()).hexdigest()[:8]}"
    if (out / "run_id").is_file() and (model := registry.version_of((out / "run_id").read_text())):
        console.print(f"the final training of trial {best.number} is registered as {model} already")
        return model
    console.print(f"training the setting of trial {best.number} for {chosen.train.images} images, in {out}")
    tracking = Tracking(experiment.registry.tracking_uri, experiment.registry.experiment)
    page = page_of(result.name, best.number)
    tags = {"visage.kind": "final", "visage.study": result.name, "visage.trial": str(best.number), PAGE: page}
    run = RunFolder.of(out, chosen.train)
    with run.lock(resume=None) as resumed, judged_later(run.checkpoint):
        published = train_run(
            chosen, faces, networks, run, tracking, resume=resumed, name=name, tags=tags, parent=result.run_id,
            eyes=eyes,
        )  # fmt: skip
    print_published(published)
    return published.model


def publish_best(
    experiment: Experiment, best: "Line", out: Path, faces: "FaceSet", networks: "FaceNetworks",
    eyes: "Callable[[], Eyes | None]" = lambda: None,
) -> "Published":  # fmt: skip
    """Register the model of a study's best trial under that trial's run. eyes: as of `publish`."""
    from visage.registry.datasets import log_faces
    from visage.registry.tracking import Tracking
    from visage.workflows.publish import publish

    tracking = Tracking(experiment.registry.tracking_uri, experiment.registry.experiment)
    log = tracking.continue_run(best.run_id)
    try:
        log_faces(log, experiment.data)
        with tempfile.TemporaryDirectory(prefix="visage-") as copy:
            return publish(local(best.checkpoint, Path(copy)), out, experiment, faces, networks, log, eyes)
    finally:
        log.finish("complete")


def print_study(result: "Summary") -> None:
    best = result.best
    console.print(
        f"study {result.name}: {result.complete} complete, {result.pruned} pruned, {result.failed} failed; "
        f"best trial {best.number if best else 'none'}"
    )
    if result.stopped:
        console.print(
            f"{result.stopped}; to go on, with the trials that it cut off first, raise it: {typed('--resume')}"
        )
    for name, value in best.params.items() if best else ():
        console.print(f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}")


def prune_study(name: str, storage: str) -> None:
    """Remove the checkpoints of all trials of a study but the best, those of the Pareto front, and unfinished ones."""
    from visage.search.study.database import database_faults
    from visage.search.study.kept import prune
    from visage.search.study.page import looking
    from visage.search.study.records import load_study

    with database_faults(storage):
        removed, kept = prune(load_study(name, storage))
    left = f"kept are those of trials {', '.join(map(str, kept))}" if kept else "no trial is complete"
    console.print(
        f"study {name}: removed {len(removed)} checkpoints, {sum(removed.values()) / 1e9:.3g} GB; {left}, and of those "
        "that go on"
    )
    console.print(f"next: {looking(name, storage)}")


def ablate_and_record(experiment: Experiment, out: Path) -> None:
    """Train and judge every variant with every seed, print the table, and log it all to MLflow."""
    from visage.registry.store import in_store
    from visage.registry.tracking import Tracking
    from visage.search.ablation.report import record, table
    from visage.search.ablation.run import ablate, runs_of

    runs_of(experiment, out)  # refuses what cannot be run before hours are spent
    tracking = Tracking(experiment.registry.tracking_uri, experiment.registry.experiment)
    faces, networks = faces_and_judges(experiment)
    with going_on_with(typed), bar("training") as update:
        result = ablate(experiment, faces, networks, out, update)
    console.print(table(result))
    for run in result.runs:
        if reason := run.diverged():
            console.print(f"{run.name} diverged: {reason}")
    run_id = record(result, tracking, experiment.ablation.name, out)
    console.print(f"table.md and ablation.png are in {out} and in MLflow's run {run_id}")
    console.print(f"next: visage ui{in_store(experiment.registry.tracking_uri)}")
