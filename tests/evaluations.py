"""A small evaluation, for what keeps or shows one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from visage.judging.metrics import Estimate, Verification
from visage.judging.results import Evaluation, Group, Intensity, Row

FIGURES = ("score", "identity", "identity_similarity", "expression", "expression_probability")


def sample(expressions: Sequence[str], **changes: Any) -> Evaluation:
    """24 people; the second expression is always read as the first, so it is a known failure."""
    count = len(expressions)
    metrics = {name: Estimate(0.8, 0.75, 0.85) for name in FIGURES}
    right = [[24 * (target == read) for read in range(count)] for target in range(count)]
    wrong = [right[0], right[0], *right[2:]]
    curve = [Estimate(0.1 * k, 0.0, 1.0) for k in range(7)]
    return replace(
        Evaluation(
            part="test",
            expressions=list(expressions),
            faces_sha256="0" * 64,
            networks="0" * 64,
            people=24,
            pairs=24 * count,
            judges={"identity": 0.95, "expression": 0.97},
            verification=Verification(0.6, 0.01, 0.009, 0.95, 100, 5_000),
            report={"people": 9, "identity_judge_follows_face": 0.98},
            warnings=[],
            rows={"model": Row(metrics, 24, 24 * count, wrong), "real": Row(metrics, 24, 24 * count, right)},
            groups={"few": Group(3, 6, {"model": metrics, "real": metrics})},
            intensity=Intensity([0.25 * k for k in range(7)], curve, curve, Estimate(0.9, 0.8, 1.0), 24, 24),
        ),
        **changes,
    )
