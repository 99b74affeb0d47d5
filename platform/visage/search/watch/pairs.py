"""Pairs of faces for people to choose from: of two trials of a study, or of two versions."""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from visage.errors import UserError
from visage.judging.cells import Sheeted, differing
from visage.judging.choices import Choice, Strengths
from visage.registry.eyes import keep
from visage.registry.reading import Reader
from visage.search.watch.looks import Look

MOST = 50  # trials that are held against one another: the first by rank
SHEETS = 64  # that are kept in memory
TRIES = 20  # pairs that are looked at for one whose faces differ


@dataclass(frozen=True)
class Shown:
    """Two faces that were made of `person` for the same expression, by models of these names. driver: whose expression
    was asked for, where a face said so."""

    first: str
    second: str
    asked: str
    person: Image.Image
    faces: tuple[Image.Image, Image.Image]
    driver: Image.Image | None


class Pairs(ABC):
    """Whom to show next, and where choices are kept. Methods may be called by several threads, and raise UserError."""

    def __init__(self) -> None:
        self.random = np.random.default_rng()

    @abstractmethod
    def next(self) -> Shown:
        """Two faces. Raises UserError where there are no two to choose from."""

    @abstractmethod
    def keep(self, choice: Choice) -> None:
        """Keep a choice."""

    @abstractmethod
    def count(self) -> int:
        """How many were kept."""

    def _shown(self, first: str, second: str, sheets: tuple[Sheeted, Sheeted]) -> Shown | None:
        """Any of the faces in which two sheets differ; None where they are the same."""
        found = list(differing(*sheets))
        if not found:
            return None
        mine, theirs = found[self.random.integers(len(found))]
        one, other = sheets
        driver = one.cut(mine.driver) if mine.driver else None
        return Shown(
            first, second, mine.asked, one.cut(mine.person), (one.cut(mine.box), other.cut(theirs.box)), driver
        )


class TrialPairs(Pairs):
    """Of the complete trials of a study, those first whose order is not clear yet. Choices go to its database."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.look = look
        # By its run, too, as a study of this name may be begun anew.
        self._sheet = lru_cache(SHEETS)(lambda trial, images, run: Sheeted(look.face(trial, images), f"trial {trial}"))

    def next(self) -> Shown:
        lines = {str(line.number): line for line in self.look.known().lines if line.feasible and line.run_id}
        names, study = list(lines)[:MOST], f"study {self.look.name}"
        if len(names) < 2:
            raise UserError(f"{study}: has {len(names)} complete trials to choose from yet; two are needed.")
        strengths = Strengths(self.look.choices(), names)
        for _ in range(TRIES):
            pair = strengths.next_pair(self.random)
            chosen = (lines[each] for each in pair)
            first, second = (self._sheet(line.number, line.images, line.run_id) for line in chosen)
            if shown := self._shown(*pair, (first, second)):
                return shown
        raise UserError(f"{study}: its trials made the same faces, so that there is nothing to choose.")

    def keep(self, choice: Choice) -> None:
        self.look.keep(choice)

    def count(self) -> int:
        return len(self.look.choices())


class VersionPairs(Pairs):
    """Of two versions, by the sheets of their runs. models: the two runs, by name of the version. sheet: its name among
    a run's files. sitting: of the file of the choices, which nobody else writes."""

    def __init__(self, reader: Reader, models: dict[str, str], sheet: str, sitting: str) -> None:
        super().__init__()
        self.reader, self.models, self.sitting = reader, models, sitting
        self.choices: list[Choice] = []
        self._lock = threading.Lock()
        self._sheet = lru_cache(lambda name: Sheeted(reader.picture(models[name], sheet), name))

    def next(self) -> Shown:
        names = list(self.models)
        if self.random.random() < 0.5:
            names.reverse()
        shown = self._shown(names[0], names[1], (self._sheet(names[0]), self._sheet(names[1])))
        if shown is None:
            raise UserError(f"{' and '.join(names)}: made the same faces of the same people, or were shown others.")
        return shown

    def keep(self, choice: Choice) -> None:
        with self._lock:
            more = [*self.choices, choice]
            keep(self.reader.client, self.reader.uri, next(iter(self.models.values())), self.sitting, more)
            self.choices = more

    def count(self) -> int:
        return len(self.choices)
