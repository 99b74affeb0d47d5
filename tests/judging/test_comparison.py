import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from visage.judging.comparison import at_equal_expression, compared, over_seeds
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


def seeds(*runs: list[FaceResult]) -> dict[int, list[FaceResult]]:
    return dict(enumerate(runs))


def test_figures_are_the_means_over_runs_and_faces() -> None:
    runs = [run(0.6, 0.5, seed=1), run(0.7, 0.4, seed=2)]
    found = compared({"base": seeds(*runs), "other": seeds(*runs)})["other"]
    assert found.metrics["identity_similarity"].value == pytest.approx(
        np.mean([result.similarity for results in runs for result in results])
    )
    assert found.by_run["score"] == pytest.approx(
        [score(np.mean([r.similarity for r in results]), np.mean([r.probability for r in results])) for results in runs]
    )
    assert found.metrics["score"].value == pytest.approx(np.mean(found.by_run["score"]))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6, unique=True))
def test_the_interval_is_scipy_s_of_one_sample(values: list[float]) -> None:
    found = over_seeds(values)
    assume(np.std(values) > 1e-6)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(np.mean(values))


def test_three_seeds_are_not_many() -> None:
    """The table's quantile for two degrees of freedom, 4.303, and not the 1.96 of many."""
    found = over_seeds([0.0, 0.1, 0.2])
    assert found.high - found.value == pytest.approx(4.3027 * 0.1 / 3**0.5, abs=1e-5)


def test_a_steady_difference_is_seen_and_none_is_invented() -> None:
    base = [run(0.6, 0.5, seed=s) for s in range(3)]
    table = compared(
        {
            "base": seeds(*base),
            "better": seeds(*[run(0.75, 0.5, seed=10 + s) for s in range(3)]),
            "same": seeds(*[run(0.6, 0.5, seed=20 + s) for s in range(3)]),
            "once": seeds(run(0.9, 0.5, seed=30), *base[1:]),
        }
    )
    assert table["better"].difference["identity_similarity"].low > 0
    for name in ("same", "once"):
        assert table[name].difference["identity_similarity"].low < 0, name
        assert table[name].difference["identity_similarity"].high > 0, name


def test_runs_are_paired_by_seed() -> None:
    """Seeds differ by far more than variants do; a run that diverged takes its partner out of the difference."""
    base = {s: run(m, 0.5, noise=0.01, seed=s) for s, m in enumerate((0.4, 0.6, 0.8))}
    better = {s: run(m + 0.05, 0.5, noise=0.01, seed=s) for s, m in enumerate((0.4, 0.6, 0.8))}
    assert compared({"base": base, "better": better})["better"].difference["identity_similarity"].low > 0.04
    del better[1]
    found = compared({"base": base, "better": better})["better"]
    assert found.difference["identity_similarity"].value == pytest.approx(0.05, abs=0.01)
    assert len(found.by_run["score"]) == 2
    alone = compared({"base": {0: base[0]}, "better": {2: better[2]}})["better"]
    assert np.isnan(alone.difference["score"].value)
    assert np.isnan(alone.metrics["score"].low)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 4))
def test_the_first_variant_differs_from_itself_by_nothing(seed: int, count: int) -> None:
    table = compared({"base": seeds(*[run(0.5, 0.5, people=5, seed=seed + k) for k in range(count)])})
    assert all(d.value == d.low == d.high == 0 for d in table["base"].difference.values())


def test_runs_of_other_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="other faces"):
        compared({"base": seeds(run(0.5, 0.5)), "other": seeds(run(0.5, 0.5, people=29))})


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
