"""The studies of a database, each with what the server has read of it."""

import threading

from visage.errors import UserError
from visage.registry.reading import Reader
from visage.search.study.database import database_faults
from visage.search.study.records import names_in
from visage.search.watch.looks import CurvesOf, Look
from visage.search.watch.schema import Curves, Names


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
        store = self._store(summary.registry)
        try:
            return curves.since(since, summary, store)
        except UserError:
            self._forget(summary.registry)
            raise

    def _store(self, uri: str) -> Reader:
        with self._lock:
            found = self._stores.get(uri)
        if found is None:
            found = Reader(uri)
            with self._lock:
                self._stores[uri] = found
        return found

    def _forget(self, uri: str) -> None:
        """Ask at the next look first whether the store is there: that is answered sooner."""
        with self._lock:
            self._stores.pop(uri, None)
