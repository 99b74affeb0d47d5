import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.judging.comparison import at_equal_expression, compared
from visage.judging.metrics import Estimate, score
from visage.judging.results import FaceResult, Intensity


def run(similarity: float, probability: float, people: int = 30, noise: float = 0.1, seed: int = 0) -> list[FaceResult]:
    """Four faces of each person around these means."""
    random = np.random.default_rng(seed)
    return [
        FaceResult(
            identity=f"p{person}",
            input=f"p{person}-{face}.png",
            target="happy",
            similarity=similarity + noise * random.normal(),
            probability=float(np.clip(probability + noise * random.normal(), 0, 1)),
            verified=bool(random.uniform() < similarity),
            correct=bool(random.uniform() < probability),
        )
        for person in range(people)
        for face in range(4)
    ]


def test_figures_are_the_means_over_runs_and_faces() -> None:
    runs = [run(0.6, 0.5, seed=1), run(0.7, 0.4, seed=2)]
    found = compared({"base": runs, "other": runs})["other"]
    assert found.metrics["identity_similarity"].value == pytest.approx(
        np.mean([result.similarity for results in runs for result in results])
    )
    assert found.by_run["score"] == pytest.approx(
        [score(np.mean([r.similarity for r in results]), np.mean([r.probability for r in results])) for results in runs]
    )
    assert found.metrics["score"].value == pytest.approx(np.mean(found.by_run["score"]))


def test_a_real_difference_is_seen_and_none_is_invented() -> None:
    seeds = range(3)
    table = compared(
        {
            "base": [run(0.6, 0.5, seed=s) for s in seeds],
            "better": [run(0.75, 0.5, seed=10 + s) for s in seeds],
            "same": [run(0.6, 0.5, seed=20 + s) for s in seeds],
        }
    )
    assert table["better"].difference["identity_similarity"].low > 0
    assert (
        table["same"].difference["identity_similarity"].low < 0 < table["same"].difference["identity_similarity"].high
    )


def test_the_spread_of_the_runs_widens_the_interval() -> None:
    near = compared({"base": [run(0.6, 0.5, seed=s) for s in range(3)]})["base"].metrics["identity_similarity"]
    far = compared({"base": [run(m, 0.5, seed=s) for s, m in enumerate((0.4, 0.6, 0.8))]})["base"]
    reach = far.metrics["identity_similarity"]
    assert reach.high - reach.low > 2 * (near.high - near.low)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000))
def test_the_first_variant_differs_from_itself_by_nothing(seed: int) -> None:
    table = compared({"base": [run(0.5, 0.5, seed=seed)]}, resamplings=100)
    assert all(d.value == d.low == d.high == 0 for d in table["base"].difference.values())


def test_runs_of_other_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="other faces"):
        compared({"base": [run(0.5, 0.5)], "other": [run(0.5, 0.5, people=29)]})


def curve(probability: list[float], similarity: list[float]) -> Intensity:
    levels = [0.0, 0.5, 1.0, 1.5]
    points = [[Estimate(value, value, value) for value in axis] for axis in (probability, similarity)]
    return Intensity(levels, *points, Estimate(1, 1, 1), 8, 8)


def test_at_equal_expression_the_stronger_is_turned_down() -> None:
    first = curve([0.0, 0.2, 0.4, 0.3], [0.9, 0.8, 0.7, 0.5])
    less = at_equal_expression(curve([0.0, 0.1, 0.3, 0.35], [0.95, 0.9, 0.8, 0.7]), first)
    assert (less.expression_probability, less.identity_similarity) == (0.3, 0.8)
    assert less.first == pytest.approx(0.75)
    more = at_equal_expression(curve([0.0, 0.3, 0.5, 0.6], [0.9, 0.8, 0.7, 0.6]), first)
    assert (more.expression_probability, more.first) == (0.4, 0.7)
    assert more.identity_similarity == pytest.approx(0.75)
    merely_less = at_equal_expression(curve([0.0, 0.1, 0.2, 0.3], [0.9, 0.85, 0.8, 0.75]), first)
    assert merely_less.identity_similarity == pytest.approx(merely_less.first)
