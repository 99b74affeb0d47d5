"""What the longer commands do: the stations of the road joined, with progress and a closing word on the terminal."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from visage.config import Experiment
from visage.config.data import Data
from visage.config.experiment import Judge
from visage.errors import NotWritten
from visage.infra.files import write_whole
from visage.methods import method_of
from visage.workflows.models import print_published
from visage.workflows.terminal import bar, console, going_on_with, judged_later, typed

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks
    from visage.registry.card import Eyes
    from visage.registry.record import RunRecord
    from visage.registry.tracking import RunLog, Tracking
    from visage.training.progress import Progress as Point
    from visage.training.run_folder import RunFolder
    from visage.workflows.publish import Published


def prepare_faces(data: Data) -> "FaceSet":
    """The face set, made if it is not there, with its report printed."""
    from visage.faces.prepare import prepare_if_absent
    from visage.faces.report import print_report

    with going_on_with(typed), bar("faces") as update:
        faces = prepare_if_absent(data, lambda done, of: update(f"faces {done}/{of}", done, of))
    print_report(faces, console)
    return faces


def judges_of(faces: "FaceSet", judge: Judge, *, paired: bool = True) -> "FaceNetworks":
    """The judges of the face set, trained if they are not there, with what they reach on the validation people.

    paired: in every part that is judged somebody must show two expressions.
    """
    from visage.judging.networks.outside import choice_notes
    from visage.judging.networks.train import face_networks
    from visage.judging.pairs import check_people

    for part in ("validation", "test"):  # before hours are spent
        check_people(faces, part, paired=paired)
    fresh = False
    with going_on_with(typed), bar("judges") as update:

        def show(name: str, done: int, of: int) -> None:
            nonlocal fresh
            fresh = True
            update(f"judges: {name}", done, of)

        networks = face_networks(faces, judge, show)
    shown = {"expression_judge_accuracy": "expression accuracy", "identity_judge_verification": "identity verification"}
    reached = ", ".join(
        f"{word} {networks.report[name]:.3f}" for name, word in shown.items() if name in networks.report
    )
    console.print(f"judges, on real faces of {networks.report['people']:.0f} validation people: {reached}")
    for note in choice_notes(networks.judged_by, networks.report):
        console.print(note)
    if fresh:
        _print_doubts(networks)
    return networks


def _print_doubts(networks: "FaceNetworks") -> None:
    """Name the people whose pictures to look at first."""
    for kind, words in (("one_name", "least alike under one name"), ("two_names", "most alike under two names")):
        found = ", ".join(f"{name} ({cosine:.2f})" for name, cosine in networks.doubts[kind])
        console.print(f"look whether the names are right: {words} are {found}")


def faces_and_judges(experiment: Experiment) -> "tuple[FaceSet, FaceNetworks]":
    """The face set of an experiment and its judges, made where they are not there.

    Raises UserError for faces that its method cannot learn from, before judges are trained.
    """
    from visage.faces.checks import check_learnable
    from visage.training.resources import cautions

    for caution in cautions(experiment.train):
        console.print(f"caution: {caution}")
    faces = prepare_faces(experiment.data)
    if experiment.method.paired:
        check_learnable(faces)
    return faces, judges_of(faces, experiment.judge, paired=experiment.method.paired)


def train_and_publish(
    experiment: Experiment, out: Path, resume: bool | None, record: "RunRecord | None" = None
) -> None:
    """Train in the folder `out`, record the run in MLflow, and register what came out.

    resume: None goes on where there is a checkpoint, and begins where there is none. record: the run to repeat.
    """
    from visage.registry.record import check_faces
    from visage.registry.store import in_store
    from visage.registry.tracking import Tracking
    from visage.training.resources import concurrency, this_machine
    from visage.training.run_folder import RunFolder

    if not os.environ.get("RAY_ADDRESS"):
        concurrency(this_machine(), experiment.train)
    folder = RunFolder.of(out, experiment.train)
    with (
        going_on_with(lambda: typed("--resume") if folder.resumable() else typed()),
        folder.lock(resume=resume) as resumed,
    ):
        tracking = Tracking(experiment.registry.tracking_uri, experiment.registry.experiment)
        tracking.show()
        faces, networks = faces_and_judges(experiment)
        tags = {"visage.kind": "train"}
        if record:
            if caution := check_faces(record, faces, networks):
                console.print(f"caution: {caution}")
            if record.threads:
                import torch

                torch.set_num_threads(record.threads)
            tags["visage.repeats"] = record.run_id
        with judged_later(folder.checkpoint):
            published = train_run(experiment, faces, networks, folder, tracking, resume=resumed, tags=tags)
    print_published(published)
    if record:
        console.print(likeness(*(tracking.history(run, "score") for run in (record.run_id, published.run_id))))
    ask = method_of(experiment.method.name).request.command(faces.expressions[-1])
    console.print(f"next: visage {ask} --model {published.bundle} --out edited.png")
    console.print(f"or:   visage promote {published.model}{in_store(experiment.registry.tracking_uri)}")


def likeness(before: list[tuple[int, float]], now: list[tuple[int, float]]) -> str:
    """How a repeated run's curve of the score, as (images, score), compares with the run's own."""
    again = dict(now)
    both = [abs(again[images] - score) for images, score in before if images in again]
    if not both:
        return "the run that was repeated has no score to compare with"
    if not max(both):
        return f"repeated: the score is the run's own at all {len(both)} evaluations that both made"
    return f"repeated: the score differs from the run's by at most {max(both):.4f}, over {len(both)} evaluations"


def train_run(
    experiment: Experiment, faces: "FaceSet", networks: "FaceNetworks", folder: "RunFolder", tracking: "Tracking",
    *, resume: bool, tags: Mapping[str, str], name: str = "", parent: str | None = None,
    eyes: "Callable[[], Eyes | None]" = lambda: None,
) -> "Published":  # fmt: skip
    """Train and register under a run in MLflow, which gets its ending. name: its name there; the folder's by default.

    parent: the run_id of its study. eyes: as of `publish`.
    """
    from visage.registry.datasets import log_faces
    from visage.registry.record import seen
    from visage.training.progress import Diverged
    from visage.training.run import run
    from visage.workflows.publish import publish

    out = folder.path
    log = _run_of(out, experiment, tracking, resume, name or out.name, {**tags, **seen(faces, networks)}, parent)
    state: Literal["complete", "diverged", "failed", "killed"] = "failed"
    try:
        log_faces(log, experiment.data)
        curve = tracking.history(log.run_id, "score")
        with bar("training") as update:
            report = _reporter(log, curve[-1][0] if curve else 0, experiment, update)
            last = run(experiment, faces, networks, folder, report, resume=resume)
        assert last.checkpoint
        published = publish(last.checkpoint, out / "bundle", experiment, faces, networks, log, eyes)
        state = "complete"
        return published
    except KeyboardInterrupt:
        state = "killed"
        raise
    except Diverged:
        state = "diverged"
        raise
    finally:
        log.finish(state)


def _run_of(
    out: Path, experiment: Experiment, tracking: "Tracking", resume: bool, name: str, tags: Mapping[str, str],
    parent: str | None,
) -> "RunLog":  # fmt: skip
    """The MLflow run of the folder `out`: the one it began with when it goes on, else a new one."""
    from visage.config import written
    from visage.registry.record import CHANGED, THREADS, changed
    from visage.registry.tracking import EXPERIMENT, PAGE
    from visage.search.study.page import link
    from visage.training.run import threads

    note, settings = out / "run_id", out / EXPERIMENT
    # Without a checkpoint, killed before its first: the same settings are the same run.
    same = settings.is_file() and settings.read_text(encoding="utf-8") == written(experiment)
    if note.is_file() and (resume or same):
        if tracking.has(begun := note.read_text()):
            log = tracking.continue_run(begun)
            if told := changed(settings, experiment):
                console.print(f"caution: the run goes on with other settings than it began with: {told}")
                log.tag(CHANGED, told)
            return log
        console.print(f"run {begun}: is not in {tracking.uri}; what follows is a new run there.")
    tags = {**tags, THREADS: str(threads(experiment.train))}
    log = tracking.start_run(name, parent, tags=tags, params=experiment.model_dump(mode="json"), experiment=experiment)
    page = f"\n\n{link(tags[PAGE], 'visage study')}" if PAGE in tags else ""
    log.note(f"Repeat it: `visage train --from-run {log.run_id}`{page}")
    try:
        write_whole(settings, written(experiment).encode())
        write_whole(note, log.run_id.encode())
    except NotWritten:  # no run is left behind that seems to be running
        log.finish("failed")
        raise
    return log


def _reporter(
    log: "RunLog", reached: int, experiment: Experiment, update: Callable[[str, int, int], None]
) -> "Callable[[Point], None]":
    """Sends each point of a run to MLflow and the terminal. reached: images of the last evaluation that MLflow has."""

    def report(point: "Point") -> None:
        nonlocal reached
        if point.metrics is not None:
            if point.images <= reached:  # told again
                return
            reached = point.images
        if point.faces:
            log.picture(point.faces, f"faces/{point.faces.name}")
        log.log(point.figures(), point.images)  # after the picture, as `reached` goes by it
        if point.metrics:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in point.metrics.items())
            console.print(f"{point.images} images: {figures}")
        if point.warning:
            log.tag("visage.warning", point.warning)
            console.print(f"warning: {point.warning}")
        update(f"training, {point.images} of {experiment.train.images} images", point.images, experiment.train.images)

    return report
