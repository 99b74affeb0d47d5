"""What a server of pages has read of its studies: looks at Optuna's database and MLflow that are cheap to repeat.

Nothing here is a state of its own: thrown away, it is read again.
"""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from visage.errors import UserError
from visage.judging.choices import Choice
from visage.registry.reading import Reader
from visage.search.study.choices import choices_of, keep
from visage.search.study.database import database_faults
from visage.search.study.endings import CUT_OFF, RUNNING
from visage.search.study.records import load_study, names_in
from visage.search.study.summary import Line, Summary, importances_of, summarise
from visage.search.watch.document import document
from visage.search.watch.lineage import lineage
from visage.search.watch.schema import Curves, Lineage, Names, Pictures, Seeds
from visage.search.watch.seeds import seeds

if TYPE_CHECKING:
    from optuna import Study

FRESH_SECONDS = 1.0  # that a look is given again, whoever asks
READ_SECONDS = 0.5  # of one look at curves; what it did not come to is read at the next
SETTLED_SECONDS = 60.0  # after the ending of a trial its curve is read no more
REST = 20  # importances are measured again after so many times as long as that took


class Studies:
    """The studies of a database. Raises UserError where the database is away, and for a study that is not there."""

    def __init__(self, storage: str) -> None:
        self.storage = storage
        self._looks: dict[str, Look] = {}

    def names(self) -> Names:
        with database_faults(self.storage):
            return Names(names=names_in(self.storage))

    def look(self, name: str) -> "Look":
        if name not in self._looks:
            found = Look(name, self.storage)
            found.content()  # refuses a name that is none
            self._looks.setdefault(name, found)
        return self._looks[name]


class Look:
    """One study, looked at. Its methods may be called by several threads, and raise UserError where the database, or
    MLflow for what is asked of it, is away."""

    def __init__(self, name: str, storage: str) -> None:
        self.name, self.storage = name, storage
        self._lock = threading.Lock()
        self._study: Study | None = None  # it keeps the trials that ended, so that only the others are read again
        self._made = 0.0
        self._content, self._tag = b"", ""
        self._importances: dict[str, float] = {}
        self._measured, self._measure_at = -1, 0.0
        self._curves = CurvesOf()
        self._reader: Reader | None = None
        self.summary: Summary | None = None
        self.experiment: dict[str, Any] = {}  # as the study was begun

    def content(self) -> tuple[bytes, str]:
        """The document as JSON, and a tag that changes when it does."""
        with self._lock:
            if time.monotonic() < self._made + FRESH_SECONDS:
                return self._content, self._tag
            with self._opened() as study:
                found = self._summary(study)
                self.experiment = json.loads(study.user_attrs["experiment"])
                self._content = document(study, found, self.experiment).model_dump_json().encode()
            self.summary, self._tag = found, f'"{sha256(self._content).hexdigest()[:16]}"'
            self._made = time.monotonic()
            return self._content, self._tag

    def known(self) -> Summary:
        """The study's summary, a second old at most."""
        self.content()
        assert self.summary
        return self.summary

    def choices(self) -> list[Choice]:
        """What people chose, read now."""
        with self._lock, self._opened() as study:
            return choices_of(study.user_attrs)

    def keep(self, choice: Choice) -> None:
        with self._lock, self._opened() as study:
            keep(study, choice)
            self._made = 0.0  # so that the page tells it at once

    def curves(self, since: int) -> Curves:
        """What changed after a revision; 0 gives all curves that are read."""
        with self._reading() as (summary, reader):
            return self._curves.since(since, summary, reader)

    def pictures(self, trials: Sequence[str]) -> Pictures:
        """Of trials that are there and told to MLflow, by their numbers; of the others nothing."""
        with self._reading() as (summary, reader):
            runs = {str(line.number): line.run_id for line in summary.lines if line.run_id}
            return Pictures(pictures={int(each): reader.evaluations(runs[each]) for each in trials if each in runs})

    def face(self, trial: int, images: int) -> bytes:
        """The picture of a trial, a PNG."""
        run = next((line.run_id for line in self.known().lines if line.number == trial), "")
        if not run:
            raise UserError(f"trial {trial}: has no run in MLflow; choose another.")
        with self._reading() as (_, reader):
            return reader.face(run, images)

    def seeds(self) -> Seeds:
        with self._reading() as (summary, reader):
            return seeds(summary, reader, self.experiment["train"]["images"], self.experiment["train"]["seed"])

    def lineage(self) -> Lineage:
        with self._reading() as (summary, reader):
            return lineage(summary, reader, self.experiment["method"]["name"])

    @contextmanager
    def _reading(self) -> Iterator[tuple[Summary, Reader]]:
        """The summary, and a reader of the study's store, kept as long as that answers: a new one asks whether it is
        there."""
        summary = self.known()
        try:
            reader = self._reader = self._reader or Reader(summary.registry)
            yield summary, reader
        except UserError:
            self._reader = None
            raise

    @contextmanager
    def _opened(self) -> "Iterator[Study]":
        """The study, for whoever holds the lock."""
        try:
            with database_faults(self.storage):
                self._study = self._study or load_study(self.name, self.storage)
                yield self._study
        except UserError:
            self._study = None  # opened anew when it is back
            raise

    def _summary(self, study: "Study") -> Summary:
        bare = summarise(study, weights=self._importances)
        complete = bare.counts["complete"]
        if complete == self._measured or time.monotonic() < self._measure_at:
            return bare
        began = time.monotonic()
        self._importances, self._measured = importances_of(study), complete
        self._measure_at = time.monotonic() + REST * (time.monotonic() - began)
        return replace(bare, importances=self._importances)


class CurvesOf:
    """The curves of a study's trials, from MLflow: read once when a trial has ended, again and again while it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revision = time.time_ns() // 1_000_000  # above those that a server of before may have told a page
        self._found: dict[int, tuple[int, list[tuple[int, float]]]] = {}  # revision of the last change, and the curve
        self._looked: dict[int, float] = {}  # when a trial's curve was last read
        self._ended: dict[tuple[int, str, str], float] = {}  # number, run and state: when it was first seen so
        self._done: set[tuple[int, str, str]] = set()  # of those that will not change

    def since(self, revision: int, summary: Summary, reader: Reader) -> Curves:
        """What changed after a revision; 0 gives all curves that are read."""
        with self._lock:
            left = self._read(summary, reader)
            found = {number: curve for number, (changed, curve) in self._found.items() if changed > revision}
            return Curves(revision=self._revision, curves=found, left=left)

    def _read(self, summary: Summary, reader: Reader) -> int:
        """Read for READ_SECONDS what may have changed; returns how many trials were never read yet."""
        until = time.monotonic() + READ_SECONDS
        lines = [line for line in summary.lines if line.run_id and self._key(line) not in self._done]
        # By rank those that were never read; then what was not read for longest.
        lines.sort(key=lambda line: self._looked.get(line.number, 0.0))
        for at, line in enumerate(lines):
            if time.monotonic() > until:
                return sum(line.number not in self._looked for line in lines[at:])
            curve = reader.curve(line.run_id, "score")
            now = self._looked[line.number] = time.monotonic()
            if curve != self._found.get(line.number, (0, []))[1]:
                self._revision += 1
                self._found[line.number] = self._revision, curve
            if line.state in (RUNNING, CUT_OFF):
                continue
            # MLflow is told after the database; of what diverged it may never hear a score.
            whole = bool(curve) and curve[-1][0] >= line.images
            if whole or now > self._ended.setdefault(self._key(line), now) + SETTLED_SECONDS:
                self._done.add(self._key(line))
        return 0

    def _key(self, line: Line) -> tuple[int, str, str]:
        return line.number, line.run_id, line.state
