"""What a study tells while it runs."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StudyProgress:
    """A point of a study. trials: how many it will have. best: highest score of a complete trial, None without one.

    spending: what is spent of which budget and what is left to do, in words.
    """

    trials: int
    complete: int
    pruned: int
    failed: int
    running: int
    best: float | None
    spending: str = ""

    @property
    def finished(self) -> int:
        return self.complete + self.pruned + self.failed

    def __str__(self) -> str:
        best = f"best score {self.best:.3f}" if self.best is not None else "no score yet"
        endings = f"{self.complete} complete, {self.pruned} pruned, {self.failed} failed, {self.running} running"
        spending = f"; {self.spending}" if self.spending else ""
        return f"{self.finished} of {self.trials} trials ({endings}), {best}{spending}"


Watch = Callable[[StudyProgress], None]
