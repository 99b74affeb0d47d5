"""The validation people, as a run looks at them: the same pairs at every evaluation."""

from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from visage.config import Experiment
from visage.errors import UserError
from visage.faces.picture import write_png
from visage.judging.evaluate import Generator, Judges, quick
from visage.judging.frechet import Realism
from visage.judging.pairs import pairs
from visage.judging.report import faces_picture, transfer_picture
from visage.judging.transfer import TransferJudges, pairings, quick_transfer
from visage.models.precision import Precision, autocast


def validation_of(experiment: Experiment, judges: Judges) -> "Validation | TransferValidation":
    """The validation people as the experiment's method is judged. judges: of that part."""
    train = experiment.train
    if experiment.method.name == "eft":
        if experiment.search.needs_frechet():
            raise UserError(
                "search: frechet is not measured for method eft; leave it out of objectives and constraints."
            )
        return TransferValidation(TransferJudges(judges, experiment.judge), train.evaluate_pairs, train.precision)
    return Validation(judges, train.evaluate_pairs, train.precision, frechet=experiment.search.needs_frechet())


class Validation:
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
        with suppress(OSError):  # writing says why
            path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, faces_picture(self._in_precision(generator), self.faces, self.judges.part))

    def _in_precision(self, generator: nn.Module) -> Generator:
        return in_precision(generator, self.device, self.precision)


class TransferValidation:
    """As `Validation`, for a method that carries expressions from one face to another."""

    def __init__(self, judges: TransferJudges, limit: int, precision: Precision) -> None:
        self.judges, self.precision = judges, precision
        self.pairs = pairings(judges.faces, judges.part, limit)

    def metrics(self, generator: nn.Module) -> dict[str, float]:
        return quick_transfer(self.judges, in_precision(generator, self.judges.device, self.precision), self.pairs)

    def picture(self, generator: nn.Module, path: Path) -> None:
        """Write validation people down, and drivers across."""
        with suppress(OSError):  # writing says why
            path.parent.mkdir(parents=True, exist_ok=True)
        transfer = in_precision(generator, self.judges.device, self.precision)
        write_png(path, transfer_picture(transfer, self.judges.faces, self.judges.part))


def in_precision(generator: nn.Module, device: torch.device, precision: Precision) -> Generator:
    """The generator on its two inputs, in a number format."""

    def generate(faces: Tensor, other: Tensor) -> Tensor:
        with autocast(device, precision):
            return generator(faces.to(device), other.to(device))

    return generate
