"""The validation people, asked for expressions by name."""

from pathlib import Path

from torch import nn

from visage.errors import UserError
from visage.judging.evaluate import quick
from visage.judging.frechet import Realism
from visage.judging.judges import Generator, Judges
from visage.judging.pairs import pairs
from visage.judging.sheet import faces_sheet
from visage.models.precision import Precision, in_precision


class NamedValidation:
    """Judges a generator on `limit` pairs of the validation people, and draws some of them.

    judges: of that part. frechet: measures that too, which takes a look at all real training faces first. Raises
    UserError where they are too few for it.
    """

    def __init__(self, judges: Judges, limit: int, precision: Precision, *, frechet: bool = False) -> None:
        self.judges, self.precision = judges, precision
        self.faces, self.device = judges.faces, judges.device
        self.pairs = pairs(self.faces, judges.part, limit)
        self.realism = Realism.of(*self.judges.training_features()) if frechet else None
        if frechet and self.realism is None:
            raise UserError(
                f"{self.faces.dir}: has too few real training faces of some expression for frechet; leave it out of "
                "search.objectives and search.constraints, or prepare more faces."
            )

    def metrics(self, generator: nn.Module) -> dict[str, float]:
        """Metrics by their names, without intervals."""
        return quick(self.judges, self._in_precision(generator), self.pairs, self.realism)

    def picture(self, generator: nn.Module, path: Path) -> None:
        """Write rows of validation people: input, every expression, the true face."""
        faces_sheet(self._in_precision(generator), self.faces, self.judges.part).write(path)

    def _in_precision(self, generator: nn.Module) -> Generator:
        return in_precision(generator, self.device, self.precision)
