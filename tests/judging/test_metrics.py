"""The metrics as pure functions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from visage.judging.metrics import Estimate, estimates, genuine_and_impostors, score, verification

unit = st.floats(0, 1)
cosines = arrays.arrays(np.float64, st.integers(1, 300), elements=st.floats(-1, 1))


@given(cosines, cosines, st.sampled_from([0.001, 0.01, 0.1]))
def test_no_more_impostors_pass_than_allowed(genuine: np.ndarray, impostors: np.ndarray, rate: float) -> None:
    found = verification(genuine, impostors, rate)
    assert found.false_accept_rate <= rate
    assert found.false_accept_rate == np.mean(impostors > found.threshold)
    assert found.true_accept_rate == np.mean(genuine > found.threshold)


def test_the_threshold_is_no_stricter_than_the_rate_asks() -> None:
    found = verification(np.array([0.5]), np.linspace(0, 1, 1000), 0.01)
    assert found.false_accept_rate == pytest.approx(0.01)
    assert (found.genuine_pairs, found.impostor_pairs) == (1, 1000)


def test_verification_needs_two_people() -> None:
    with pytest.raises(ValueError, match="two people"):
        verification(np.array([1.0]), np.array([]))


def test_pairs_of_one_person_and_of_two() -> None:
    genuine, impostors = genuine_and_impostors(np.array([[1.0, 0], [0, 1], [0.6, 0.8]]), ["a", "b", "a"])
    assert genuine == pytest.approx([0.6])
    assert sorted(impostors) == pytest.approx([0.0, 0.8])


@given(st.floats(-1, 1), unit)
def test_score_is_high_only_where_both_are(similarity: float, probability: float) -> None:
    value = score(similarity, probability)
    assert 0 <= value <= 1
    assert value <= 2 * min(max(similarity, 0), probability) + 1e-12
    assert value == pytest.approx(score(probability, similarity) if similarity >= 0 else 0)


def test_score_of_copying_is_near_zero() -> None:
    assert score(0.95, 0.01) < 0.03
    assert score(-0.3, 1.0) == 0
    assert score(1.0, 1.0) == 1


@given(arrays.arrays(np.float64, 20, elements=unit), st.floats(0, 1))
def test_expression_change_is_the_share_that_was_moved(before: np.ndarray, share: float) -> None:
    assert reported_change(before + share * 0.5, before, before + 0.5) == pytest.approx(share)


def test_expression_change_does_not_break_on_a_true_face_like_the_input() -> None:
    before, truth = np.array([0.1, 0.5]), np.array([0.9, 0.5])
    assert reported_change(truth + np.array([0, 0.01]), before, truth) == pytest.approx(1.0125)
    assert reported_change(before, before, before) is None


def reported_change(generated: np.ndarray, before: np.ndarray, truth: np.ndarray) -> float | None:
    """What the table says of these probabilities of the target, one person each; None when it says nothing."""
    ones = np.ones(len(before))
    told = {"change": generated - before, "true_change": truth - before}
    values = {"identity_similarity": ones, "expression_probability": generated, **told}
    found = estimates(values, [f"p{k}" for k in range(len(ones))], 100)
    return found["expression_change"].value if "expression_change" in found else None


def columns(n: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {name: random.random(n) for name in ("identity_similarity", "expression_probability", "change", "ssim")}
    return {
        **found,
        "true_change": np.full(n, 0.9),
        "identity": (found["identity_similarity"] > 0.5).astype(float),
        "expression": (found["expression_probability"] > 0.5).astype(float),
    }


def test_intervals_hold_the_value_and_are_the_same_twice() -> None:
    people = [f"p{k // 4}" for k in range(80)]
    found = estimates(columns(80, 0), people, 500)
    for name, figure in found.items():
        assert figure.low <= figure.value <= figure.high, name
        assert figure.low < figure.high, name
    assert found == estimates(columns(80, 0), people, 500)
    given_columns = columns(80, 0)
    assert found["expression_change"].value == pytest.approx(given_columns["change"].mean() / 0.9)
    assert found["score"].value == pytest.approx(
        score(given_columns["identity_similarity"].mean(), given_columns["expression_probability"].mean())
    )


def test_more_pictures_of_the_same_people_make_no_narrower_interval() -> None:
    """People, not pictures, are what is drawn: a person's pictures are no independent evidence."""
    once = {name: np.repeat(value, 1) for name, value in columns(20, 1).items()}
    often = {name: np.repeat(value, 50) for name, value in once.items()}
    few = estimates(once, [f"p{k}" for k in range(20)], 1000)["expression"]
    many = estimates(often, [f"p{k // 50}" for k in range(1000)], 1000)["expression"]
    assert many.high - many.low == pytest.approx(few.high - few.low)


def test_pairs_without_a_true_face_count_where_none_is_needed() -> None:
    given_columns = columns(10, 2)
    given_columns["ssim"][:5] = np.nan
    found = estimates(given_columns, [f"p{k}" for k in range(10)], 200)
    assert found["ssim"].value == pytest.approx(given_columns["ssim"][5:].mean())
    given_columns["ssim"][:] = np.nan
    assert "ssim" not in estimates(given_columns, [f"p{k}" for k in range(10)], 200)


def test_what_could_not_be_measured_comes_back_from_json_as_such() -> None:
    from pydantic import TypeAdapter

    adapter = TypeAdapter(Estimate)
    nothing = adapter.validate_json(adapter.dump_json(Estimate(float("nan"), 0.25, float("nan"))))
    assert np.isnan([nothing.value, nothing.high]).all()
    assert nothing.low == 0.25
    with pytest.raises(ValueError, match="valid number"):
        adapter.validate_python({"value": "x", "low": 0, "high": 0})
