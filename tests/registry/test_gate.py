from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.registry.gate import PEOPLE, judge_promotion, trivial_answers
from visage.registry.results import Results

figures = st.floats(0.05, 0.95)


def results(seed: int, similarity: float, probability: float, verified: float, people: int = 30, spread: float = 0.05):
    """A row over `people` with one to four faces each."""
    shape = np.random.default_rng(people)
    identity = np.repeat([f"p{k}" for k in range(people)], shape.integers(1, 5, size=people))
    rng = np.random.default_rng(seed)
    n = len(identity)
    return Results(
        identity=identity,
        face=tuple((name, f"{index}.png", "happy") for index, name in enumerate(identity)),
        similarity=np.clip(similarity + rng.normal(0, spread, n), -1, 1),
        probability=np.clip(probability + rng.normal(0, spread, n), 0, 1),
        verified=(rng.random(n) < verified).astype(float),
        correct=np.ones(n),
    )


def test_a_clear_winner_is_promoted():
    verdict = judge_promotion(results(0, 0.8, 0.9, 1.0), results(1, 0.7, 0.6, 1.0))
    assert verdict.decision == "promote"
    assert verdict.intervals["score"].low > 0


def test_a_better_score_does_not_pay_for_lost_identity():
    verdict = judge_promotion(results(0, 0.8, 0.95, 0.7), results(1, 0.75, 0.6, 1.0))
    assert verdict.intervals["score"].low > 0
    assert verdict.decision == "reject"
    assert "identity" in verdict.reasons[1]
    assert "not above -0.02" in verdict.reasons[1]


def test_a_loss_of_identity_within_the_margin_is_allowed():
    champion = results(1, 0.7, 0.6, 1.0, people=120)
    verified = champion.verified.copy()
    verified[7] = 0  # one of about three hundred faces
    candidate = replace(results(0, 0.8, 0.9, 1.0, people=120), verified=verified)
    verdict = judge_promotion(candidate, champion)
    assert verdict.intervals["identity"].value < 0
    assert verdict.decision == "promote"


@pytest.mark.parametrize(("people", "decided"), [(PEOPLE - 1, False), (PEOPLE, True)])
def test_few_people_leave_it_undecided(people: int, decided: bool):
    verdict = judge_promotion(results(0, 0.9, 0.9, 1.0, people), results(1, 0.5, 0.5, 1.0, people))
    assert (verdict.decision == "promote") is decided
    assert (verdict.decision == "undecided") is not decided


def test_other_faces_leave_it_undecided():
    champion = results(1, 0.5, 0.5, 1.0)
    other = replace(champion, face=(("p0", "another.png", "happy"), *champion.face[1:]))
    assert judge_promotion(results(0, 0.9, 0.9, 1.0), other).decision == "undecided"


@settings(max_examples=12, deadline=None)
@given(figures, figures, figures)
def test_equal_models_are_never_promoted(similarity: float, probability: float, verified: float):
    row = results(0, similarity, probability, verified)
    verdict = judge_promotion(row, row)
    assert verdict.decision == "reject"
    assert verdict.intervals["score"].value == 0


@settings(max_examples=12, deadline=None)
@given(*[figures] * 6)
def test_exchanging_the_two_flips_the_differences(a: float, b: float, c: float, d: float, e: float, f: float):
    here, there = results(0, a, b, c), results(1, d, e, f)
    forth, back = judge_promotion(here, there), judge_promotion(there, here)
    for name, interval in forth.intervals.items():
        mirrored = back.intervals[name]
        assert interval.value == pytest.approx(-mirrored.value, abs=1e-9)
        assert interval.low == pytest.approx(-mirrored.high, abs=1e-9)
    assert not forth.decision == back.decision == "promote"


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_faces_does_not_matter(random):
    here, there = results(0, 0.8, 0.7, 0.9), results(1, 0.7, 0.6, 0.9)
    order = list(range(len(there.face)))
    random.shuffle(order)
    shuffled = Results(
        identity=there.identity[order],
        face=tuple(there.face[k] for k in order),
        **{name: getattr(there, name)[order] for name in ("similarity", "probability", "verified", "correct")},
    )
    assert judge_promotion(here, shuffled) == judge_promotion(here, there)


def test_pairing_finds_a_small_but_steady_gain():
    # Faces differ far more than the gain; only the same people on both sides show it.
    champion = results(1, 0.6, 0.5, 1.0, spread=0.2)
    candidate = replace(champion, probability=np.clip(champion.probability + 0.02, 0, 1))
    assert judge_promotion(candidate, champion).decision == "promote"


def test_copying_the_input_does_not_become_the_first_champion():
    copy = results(1, 0.9, 0.05, 0.95)
    verdict = judge_promotion(copy, copy, opponent_name="the copied input")
    assert verdict.decision == "reject"


def test_without_a_champion_a_faithful_generator_passes():
    # As the real faces do: changed, and verified as often as the copied input.
    copy = results(1, 0.85, 0.05, 0.95)
    candidate = replace(results(0, 0.83, 0.8, 0.95), verified=copy.verified)
    assert judge_promotion(candidate, copy, opponent_name="the copied input").decision == "promote"


def test_negative_similarity_counts_as_none():
    nobody = results(0, -0.9, 0.9, 0.0, spread=0.0)
    verdict = judge_promotion(nobody, results(1, -0.2, 0.9, 0.0, spread=0.0))
    assert verdict.intervals["score"].value == 0


def test_the_first_candidate_must_beat_the_copy_in_score_and_the_mean_face_in_identity():
    copy, mean_face = results(1, 0.95, 0.02, 1.0), results(2, 0.1, 0.9, 0.05)
    trivial = trivial_answers(copy, mean_face)
    assert judge_promotion(results(0, 0.7, 0.8, 0.8), trivial).decision == "promote"
    assert judge_promotion(copy, trivial).decision == "reject"
    nobody = judge_promotion(results(3, 0.1, 0.9, 0.0), trivial)
    assert nobody.decision == "reject"
    assert nobody.intervals["identity"].value < 0


@pytest.mark.parametrize("floor", ["mean_change", "constant"])
def test_what_lies_below_a_floor_is_rejected_however_poor_the_champion_is(floor: str):
    champion, candidate = results(1, 0.4, 0.2, 0.9), results(0, 0.7, 0.5, 1.0)
    assert judge_promotion(candidate, champion).decision == "promote"
    floors = {"copy": results(2, 0.9, 0.05, 1.0), floor: results(3, 0.8, 0.6, 0.9)}
    verdict = judge_promotion(candidate, champion, floors=floors)
    assert verdict.decision == "reject"
    assert verdict.intervals["floor"].high < 0
    assert "without a network" in verdict.reasons[2]
    assert "not above 0" in verdict.reasons[2]
    better = judge_promotion(results(0, 0.85, 0.8, 1.0), champion, floors=floors)
    assert better.decision == "promote"
    assert better.intervals["floor"].low > 0


def test_a_floor_must_be_beaten_for_sure():
    """A little above it on average, as chance would have it, is not above it."""
    floor = results(1, 0.8, 0.6, 1.0, spread=0.2)
    candidate = replace(results(5, 0.8, 0.6, 1.0, spread=0.2), verified=floor.verified)
    low = results(2, 0.3, 0.1, 1.0)
    verdict = judge_promotion(candidate, low, floors={"copy": floor})
    assert verdict.intervals["floor"].low <= 0 < verdict.intervals["floor"].high
    assert verdict.decision == "reject"


@settings(max_examples=10, deadline=None)
@given(figures, figures, st.lists(st.tuples(figures, figures), min_size=1, max_size=3))
def test_more_floors_never_help(similarity: float, probability: float, others: list[tuple[float, float]]):
    candidate, low = results(0, similarity, probability, 1.0), results(9, 0.05, 0.05, 1.0)
    floors = {f"floor{k}": results(k + 1, *pair, 1.0) for k, pair in enumerate(others)}
    bounds = [
        judge_promotion(candidate, low, floors=dict(list(floors.items())[:count])).intervals["floor"].low
        for count in range(1, len(floors) + 1)
    ]
    assert bounds == sorted(bounds, reverse=True)


def test_floors_of_other_faces_leave_it_undecided():
    row = results(0, 0.9, 0.9, 1.0)
    other = replace(row, face=(("p0", "another.png", "happy"), *row.face[1:]))
    verdict = judge_promotion(row, results(1, 0.5, 0.5, 1.0), floors={"mean_change": other})
    assert verdict.decision == "undecided"
    assert "the candidate and mean change" in verdict.reasons[0]


@pytest.mark.parametrize("probability", [-3.0, -0.5])
def test_a_share_below_zero_counts_as_none(probability: float):
    """Of a transfer, what ends farther from the driver than a constant answer has gone less than nothing of the way."""
    lost = replace(results(0, 0.5, 0.5, 0.9), probability=np.full(len(results(0, 0.5, 0.5, 0.9).face), probability))
    verdict = judge_promotion(lost, results(1, 0.5, 0.4, 0.9))
    assert -0.6 < verdict.intervals["score"].value < 0
    assert verdict.decision == "reject"
