"""What a training run tells whoever started it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from visage.errors import UserError


@dataclass(frozen=True)
class Progress:
    """A point of a run. images: training tuples seen.

    losses: means since the last point, by the parts' names; with them, of the last step alone, `gradient/PART` and
    `active/triplet` (see `Trainer.step`), and on a GPU `memory/peak_gib` since the start.
    At an evaluation `metrics` holds the validation people's metrics, `faces` a picture of them, `checkpoint` a folder
    to resume from, and `warning` a sentence when the discriminator collapsed; elsewhere these are None.
    """

    images: int
    losses: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] | None = None
    faces: Path | None = None
    checkpoint: Path | None = None
    warning: str | None = None

    def figures(self) -> dict[str, float]:
        """Losses, as loss/NAME, and metrics: the curves of a run."""
        return {f"loss/{name}": value for name, value in self.losses.items()} | (self.metrics or {})

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> "Progress":
        data = json.loads(line)
        for name in ("faces", "checkpoint"):
            data[name] = Path(data[name]) if data[name] else None
        return cls(**data)


Report = Callable[[Progress], None]


class Diverged(UserError):
    """The networks are not finite any more: more training cannot mend them."""
