"""The validation people, as a run looks at them: the same pairs at every evaluation."""

from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.picture import write_png
from visage.judging.evaluate import Generator, Judges, quick
from visage.judging.frechet import Realism
from visage.judging.pairs import pairs
from visage.judging.report import faces_picture
from visage.judging.train import FaceNetworks
from visage.models.precision import Precision, autocast


class Validation:
    """Judges a generator on `limit` pairs of the validation people, and draws some of them.

    frechet: measures that too, which takes a look at all real training faces first. Raises UserError where they are
    too few for it.
    """

    def __init__(
        self,
        faces: FaceSet,
        networks: FaceNetworks,
        limit: int,
        device: torch.device,
        precision: Precision,
        *,
        frechet: bool = False,
    ) -> None:
        self.faces, self.device, self.precision = faces, device, precision
        self.judges = Judges(networks, faces, "validation", device)
        self.pairs = pairs(faces, "validation", limit)
        self.realism = Realism.of(*self.judges.training_features()) if frechet else None
        if frechet and self.realism is None:
            raise UserError(
                f"{faces.dir}: has too few real training faces of some expression for frechet; leave it out of "
                "search.objectives and search.constraints, or prepare more faces."
            )

    def metrics(self, generator: nn.Module) -> dict[str, float]:
        """Metrics by their names, without intervals."""
        return quick(self.judges, self._in_precision(generator), self.pairs, self.realism)

    def picture(self, generator: nn.Module, path: Path) -> None:
        """Write rows of validation people: input, every expression, the true face."""
        with suppress(OSError):  # writing says why
            path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, faces_picture(self._in_precision(generator), self.faces, "validation"))

    def _in_precision(self, generator: nn.Module) -> Generator:
        def generate(faces: Tensor, condition: Tensor) -> Tensor:
            with autocast(self.device, self.precision):
                return generator(faces.to(self.device), condition.to(self.device))

        return generate
