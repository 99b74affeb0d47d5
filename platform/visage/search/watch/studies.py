"""The studies of a database, each with what the server has read of it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from visage.errors import UserError
from visage.registry.reading import Reader
from visage.search.study.database import database_faults
from visage.search.study.records import names_in
from visage.search.study.summary import Summary
from visage.search.watch.lineage import lineage
from visage.search.watch.looks import CurvesOf, Look
from visage.search.watch.schema import Curves, Lineage, Names, Pictures, Seeds
from visage.search.watch.seeds import seeds


class Studies:
    """Raises UserError where the database, or MLflow for what is asked of it, is away, and for a study not there."""

    def __init__(self, storage: str) -> None:
        self.storage = storage
        self._lock = threading.Lock()
        self._looks: dict[str, Look] = {}
        self._curves: dict[str, CurvesOf] = {}
        self._stores: dict[str, Reader] = {}

    def names(self) -> Names:
        with database_faults(self.storage):
            return Names(names=names_in(self.storage))

    def look(self, name: str) -> Look:
        with self._lock:
            found = self._looks.get(name)
        if found is None:
            found = Look(name, self.storage)
            found.content()  # refuses a name that is none
            with self._lock:
                found = self._looks.setdefault(name, found)
        return found

    def curves(self, name: str, since: int) -> Curves:
        summary = self.look(name).known()
        with self._lock:
            curves = self._curves.setdefault(name, CurvesOf())
        with self._reader(summary) as reader:
            return curves.since(since, summary, reader)

    def pictures(self, name: str, trials: Sequence[int]) -> Pictures:
        """Of trials that are there and told to MLflow; of the others nothing."""
        summary = self.look(name).known()
        runs = {line.number: line.run_id for line in summary.lines if line.run_id}
        with self._reader(summary) as reader:
            return Pictures(pictures={each: reader.evaluations(runs[each]) for each in trials if each in runs})

    def face(self, name: str, trial: int, images: int) -> bytes:
        """The picture of a trial, a PNG."""
        summary = self.look(name).known()
        run = next((line.run_id for line in summary.lines if line.number == trial), "")
        if not run:
            raise UserError(f"trial {trial}: has no run in MLflow; choose another.")
        with self._reader(summary) as reader:
            return reader.face(run, images)

    def seeds(self, name: str) -> Seeds:
        look = self.look(name)
        summary, experiment = look.known(), look.experiment
        with self._reader(summary) as reader:
            return seeds(summary, reader, experiment["train"]["images"], experiment["train"]["seed"])

    def lineage(self, name: str) -> Lineage:
        look = self.look(name)
        summary = look.known()
        with self._reader(summary) as reader:
            return lineage(summary, reader, look.experiment["method"]["name"])

    @contextmanager
    def _reader(self, summary: Summary) -> Iterator[Reader]:
        """Of the study's store, kept as long as it answers: whether one is there again is asked of it first."""
        uri = summary.registry
        with self._lock:
            found = self._stores.get(uri)
        if found is None:
            found = Reader(uri)
            with self._lock:
                self._stores[uri] = found
        try:
            yield found
        except UserError:
            with self._lock:
                self._stores.pop(uri, None)
            raise
