"""The validation people, asked for one another's expressions."""

from pathlib import Path

from torch import nn

from visage.judging.pairs import pairings
from visage.methods.eft.judging.judges import TransferJudges, quick_transfer
from visage.methods.eft.judging.sheets import transfer_sheet
from visage.models.precision import Precision, in_precision


class TransferValidation:
    """Judges a generator on `limit` pairs of validation people, a source and a driver each, and draws some of them."""

    def __init__(self, judges: TransferJudges, limit: int, precision: Precision) -> None:
        self.judges, self.precision = judges, precision
        self.pairs = pairings(judges.faces, judges.part, limit)

    def metrics(self, generator: nn.Module) -> dict[str, float]:
        return quick_transfer(self.judges, in_precision(generator, self.judges.device, self.precision), self.pairs)

    def picture(self, generator: nn.Module, path: Path) -> None:
        """Write validation people down, and drivers across."""
        transfer = in_precision(generator, self.judges.device, self.precision)
        transfer_sheet(transfer, self.judges.faces, self.judges.part).write(path)
