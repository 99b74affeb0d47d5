"""What an evaluation found, as data that goes to JSON and back."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from visage.judging.metrics import Estimate, Verification

RELIABLE = 0.9  # on real faces; a judge below it puts a mark on every figure that rests on it
RULED = {
    "identity": frozenset({"identity", "identity_similarity", "score"}),
    "expression": frozenset({"expression", "expression_probability", "expression_change", "score"}),
    "action_units": frozenset({"au_agreement", "au_correlation", "au_correlation_fine", "au_f1", "score"}),
}
# The rows that need no network. Which of them a model must beat in score is its method's to say.
FLOORS = ("copy", "mean_face", "mean_change", "rest", "constant", "regression")
FEW = 5  # people of a group below which its figures are shown with a caution


@dataclass(frozen=True)
class FaceResult:
    """What one face reached. input: path of the input in the face set. verified, correct: the two judges' verdicts.

    Of a transfer, target is the driver's path, and probability the pair's au_agreement, at most 1.
    """

    identity: str
    input: str
    target: str
    similarity: float
    probability: float
    verified: bool
    correct: bool


@dataclass(frozen=True)
class Row:
    """A row of the table: its metrics by name, over `people` and `pairs`, and the single results behind it.

    confusion: K,K counts of pairs, by target expression and by the expression that the judge read.
    """

    metrics: dict[str, Estimate]
    people: int
    pairs: int
    confusion: list[list[int]]
    results: list[FaceResult] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """The test people of one group: their number, and the metrics of the model's and the real faces' row for them."""

    people: int
    pairs: int
    rows: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Intensity:
    """What more intensity gives, over `pairs` of `people`: one figure for each of `levels`.

    expression_probability: of the target. identity_similarity: to the person. rising: the share of the pairs for
    which the probability never falls on the way from 0 to 1, and ends above where it began.
    """

    levels: list[float]
    expression_probability: list[Estimate]
    identity_similarity: list[Estimate]
    rising: Estimate
    people: int
    pairs: int


@dataclass(frozen=True)
class Agreement:
    """Of one action unit: Pearson's correlation of what the driver shows and what the result does, and the F1 of its
    presence. NaN where no driver shows it."""

    correlation: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Alone:
    """What happens when one action unit alone is told to go from 0 to 1: by how much that unit moves, as the judge
    reads it, and by how much the others do, whichever way, on average. drawn: by how much it moves where the same
    people are drawn with that unit alone, in a set of people who can be drawn with any; None in others."""

    own: Estimate
    others: Estimate
    drawn: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The table of an evaluation. rows: `real`, `copy`, `mean_face`, `mean_change`, `wrong_person` and, for a
    generator, `model`; of transfers `model`, `copy` of the source, `rest` (its neutral picture), `constant` (a
    reading without a picture), `regression`, `driver` (a copy of it) and perhaps `drawn`, the true answer,
    `units`, the model told the driver's action units, and `named`, another told its expression.

    judges: accuracy of both on the real faces of these people. verification: threshold, rates and pairs behind
    `identity`. networks: sha256 of the judges. report: what they reach on the validation people. groups: by name,
    where the face set knows any. warnings: sentences that belong beside every figure of the metrics in `doubtful`.
    Of transfers, action_units: by row and unit; alone: by unit, where the model can be told units; probes: what the
    features tell that should not; labels: where those of action units are from, a key of `action_units.SOURCES`.
    judged_by: by "identity" and "expression", whose network judges that.
    """

    part: str
    expressions: list[str]
    faces_sha256: str
    networks: str
    people: int
    pairs: int
    judges: dict[str, float]
    verification: Verification
    report: dict[str, float]
    warnings: list[str]
    rows: dict[str, Row]
    groups: dict[str, Group] = field(default_factory=dict)
    intensity: Intensity | None = None
    action_units: dict[str, dict[str, Agreement]] | None = None
    probes: dict[str, Estimate] | None = None
    labels: str = ""
    alone: dict[str, Alone] | None = None
    judged_by: dict[str, str] = field(default_factory=lambda: {"identity": "fitted", "expression": "fitted"})

    @property
    def results(self) -> list[FaceResult]:
        """The model's single results; those of the other rows are in `rows[name].results`."""
        return self.rows["model"].results

    @property
    def doubtful(self) -> frozenset[str]:
        """The metrics that rest on a judge which is below RELIABLE on real faces."""
        poor = [RULED[name] for name, value in self.judges.items() if not value >= RELIABLE]  # NaN is as poor
        return frozenset().union(*poor)

    def without_results(self) -> "Evaluation":
        """The same without the single results."""
        return replace(self, rows={name: replace(row, results=[]) for name, row in self.rows.items()})

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "Evaluation":
        """The inverse of `to_dict`; raises pydantic's ValidationError, a ValueError, for anything else."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(tree)
