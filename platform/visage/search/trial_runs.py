"""The runs of a study's trials in MLflow, told by the threads of an outbox.

What Tune's loop knows is written on a letter; what an earlier driver could not tell any more is read from the trial's
journal.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from visage.config.data import Data
from visage.infra.remote_store import content
from visage.registry.datasets import dataset_of, log_dataset
from visage.registry.tracking import NOTE, PAGE, Point, RunLog, State, Tracking
from visage.search.study.endings import metrics_of
from visage.search.study.page import leading_to, page_of
from visage.search.trials.trial import results
from visage.training.run_folder import RunFolder

TRIAL = "visage.trial"  # the tag with a trial's number
REASON = "visage.reason"


@dataclass
class Evaluation:
    """A point of a trial's curve, with the losses since the one before. faces: places of pictures."""

    images: int
    points: list[Point]
    faces: list[str]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "Evaluation":
        """What a trial's result says, without values that are not finite."""
        images = result.get("images", 0)
        history = result.get("history", [(images, result.get("losses", {}))])
        points: list[Point] = [(at, _finite(losses, "loss/")) for at, losses in history]
        points.append((images, _finite(metrics_of(result))))
        return cls(images, points, list(result.get("faces", ())))


@dataclass
class Letter:
    """What a trial's run does not hold yet.

    key: the trial's own in the study's database. begun: its run, where an earlier driver began one. folder: whose
    journal is read first, as that one may have lacked the time to tell what it holds. state: the ending.
    """

    key: int = -1
    begun: str = ""
    folder: RunFolder | None = None
    params: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    state: State | None = None
    reason: str = ""

    def extend(self, later: "Letter") -> None:
        """Add what came later."""
        if later.key >= 0:
            self.key, self.begun, self.folder = later.key, later.begun, later.folder
        self.params |= later.params
        self.tags |= later.tags
        self.evaluations += later.evaluations
        self.state, self.reason = later.state or self.state, later.reason or self.reason


class TrialRuns:
    """name, parent: of the study, its name and its run. look: the command that shows it. tags: of every trial's run.
    note: keeps in the study, by a trial's key, which run is the trial's. data: the faces that each of them sees."""

    def __init__(
        self, tracking: Tracking, name: str, parent: str, look: str, tags: Mapping[str, str],
        note: Callable[[int, str], None], data: Data,
    ) -> None:  # fmt: skip
        self.tracking, self.name, self.parent, self.tags, self.note = tracking, name, parent, tags, note
        self.look = look
        self.faces = dataset_of(data)
        self.runs: dict[int, RunLog] = {}  # whose ending is not told
        self.reached: dict[int, int] = {}  # images up to which a trial's curve is told
        self.tried: set[int] = set()

    def send(self, number: int, letter: Letter) -> None:
        """Tell MLflow what the letter holds, and take it out.

        Raises UserError where MLflow, a bucket or the study's database refuses; what is left can be sent again.
        """
        run = self._run(number, letter)
        if letter.folder:
            letter.evaluations = [*self._lacking(number, run, letter.folder), *letter.evaluations]
            letter.folder = None
        if letter.state is None or any(evaluation.faces for evaluation in letter.evaluations):
            self._tell(number, run, letter)
        if letter.state is not None:
            said = f"Trial {number}, {letter.state}{f': {letter.reason}' if letter.reason else ''}."
            again = f"Repeat it: `visage train --from-run {run.run_id}`"
            tags = letter.tags | {NOTE: f"{said}\n\n{again}\n\n{self._link(number)}"}
            tags |= {REASON: letter.reason} if letter.reason else {}
            run.finish(letter.state, tags, self._points(number, letter), letter.params)
            self.runs.pop(number)

    def _run(self, number: int, letter: Letter) -> RunLog:
        """The run of a trial, begun or gone on with where this process has not yet."""
        if number in self.runs:
            return self.runs[number]
        if letter.begun:
            run = self.tracking.continue_run(letter.begun)
            curve = self.tracking.history(letter.begun, "score")
            self.reached[number] = curve[-1][0] if curve else 0
        else:
            once = {TRIAL: str(number)} if number in self.tried else {}  # a start without an answer may have left a run
            self.tried.add(number)
            page = {PAGE: page_of(self.name, number), NOTE: self._link(number)}
            tags = {**self.tags, **page, TRIAL: str(number)}
            run = self.tracking.start_run(f"{self.name}-{number:04d}", self.parent, tags, once=once)
            log_dataset(run, self.faces)
            self.reached[number] = 0
        self.note(letter.key, run.run_id)
        self.runs[number] = run
        return run

    def _link(self, number: int) -> str:
        return leading_to(self.name, self.look, number)

    def _tell(self, number: int, run: RunLog, letter: Letter) -> None:
        points = self._points(number, letter)
        run.record(points, letter.params, letter.tags)
        letter.params, letter.tags = {}, {}
        self.reached[number] = max([self.reached[number], *(at for at, _ in points)])
        places = [place for evaluation in letter.evaluations for place in evaluation.faces]
        if places:
            run.add_faces({_name(place): content(place) for place in places})
        letter.evaluations = []

    def _points(self, number: int, letter: Letter) -> list[Point]:
        """A letter's part of the curve, without what was told before: a trial says again what nobody may have heard."""
        told, found = self.reached[number], list[Point]()
        for evaluation in letter.evaluations:
            if evaluation.images > told:
                told = evaluation.images
                found += evaluation.points
        return found

    def _lacking(self, number: int, run: RunLog, folder: RunFolder) -> list[Evaluation]:
        """What the journal holds and the run does not."""
        there, found = run.faces(), list[Evaluation]()
        for result in results(folder, folder.points_kept()):
            evaluation = Evaluation.of(result)
            evaluation.faces = [place for place in evaluation.faces if _name(place) not in there]
            if evaluation.faces or evaluation.images > self.reached[number]:
                found.append(evaluation)
        return found


def _name(place: str) -> str:
    return place.rpartition("/")[2]


def _finite(values: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in values.items() if math.isfinite(value)}
