"""What an evaluation found, as data that goes to JSON and back."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from visage.judging.metrics import Estimate, Verification


@dataclass(frozen=True)
class FaceResult:
    """What one face reached. input: path of the input in the face set. verified, correct: the two judges' verdicts."""

    identity: str
    input: str
    target: str
    similarity: float
    probability: float
    verified: bool
    correct: bool


@dataclass(frozen=True)
class Row:
    """A row of the table: its metrics by name, over `people` and `pairs`, and the single results behind it."""

    metrics: dict[str, Estimate]
    people: int
    pairs: int
    results: list[FaceResult] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """The table of an evaluation. rows: `real`, `copy`, `mean_face` and, where a generator was given, `model`.

    judges: accuracy of both on the real faces of these people. verification: threshold, rates and pairs behind
    `identity`. networks: sha256 of the judges. warnings: sentences that belong beside every figure.
    """

    part: str
    expressions: tuple[str, ...]
    faces_sha256: str
    networks: str
    people: int
    pairs: int
    judges: dict[str, float]
    verification: Verification
    warnings: list[str]
    rows: dict[str, Row]

    @property
    def results(self) -> list[FaceResult]:
        """The model's single results; those of the other rows are in `rows[name].results`."""
        return self.rows["model"].results

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(replace(self, expressions=list(self.expressions)))  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "Evaluation":
        """The inverse of `to_dict`."""
        rows = {
            name: Row(
                metrics={metric: Estimate(**figure) for metric, figure in row["metrics"].items()},
                people=row["people"],
                pairs=row["pairs"],
                results=[FaceResult(**result) for result in row["results"]],
            )
            for name, row in tree["rows"].items()
        }
        return cls(
            **{
                **tree,
                "expressions": tuple(tree["expressions"]),
                "verification": Verification(**tree["verification"]),
                "rows": rows,
            }
        )
