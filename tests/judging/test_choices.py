"""What follows from people's choices: shares, strengths, and whom to show next."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.judging.choices import Choice, Strengths, between


def chosen(first: str, second: str, better: str = "first", person: str = "both", who: str = "") -> Choice:
    return Choice.model_validate(
        {"first": first, "second": second, "better": better, "person": person, "asked": "happy", "who": who}
    )


def test_a_share_counts_ties_half_and_says_who_stays_the_same_person() -> None:
    choices = [
        chosen("a", "b", "first", "both", "Ann"),
        chosen("b", "a", "second", "second", "Bo"),  # turned round: a was better, and alone the same person
        chosen("a", "b", "same", "neither", "Ann"),
        chosen("b", "a", "first", "first", "Ann"),
        chosen("a", "c", "second"),  # of others
    ]
    found = between(choices, "a", "b")
    assert found is not None
    assert (found.choices, found.people, found.better.value) == (4, 2, 0.625)
    assert (found.first_kept, found.second_kept) == (0.5, 0.5)
    assert found.verdict == "open"
    told = found.told("version 1", "version 2")
    assert "in 62% (" in told
    assert "of 4 choices by 2 people" in told
    assert between(choices, "a", "d") is None


def test_a_share_s_interval_is_wilson_s_and_gives_a_verdict_when_it_leaves_a_half() -> None:
    found = between([chosen("a", "b")] * 8 + [chosen("a", "b", "second")] * 2, "a", "b")
    assert found is not None
    # As statsmodels' proportion_confint(8, 10, method="wilson") gives it.
    assert (found.better.low, found.better.high) == pytest.approx((0.4902, 0.9433), abs=2e-4)
    assert found.verdict == "open"
    sure = between([chosen("a", "b")] * 10, "b", "a")
    assert sure is not None
    assert (sure.better.value, sure.verdict) == (0.0, "second")
    assert 0 < sure.better.high < 0.5


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["first", "second", "same"])), min_size=1))
def test_a_share_is_the_same_from_either_side(drawn: list[tuple[str, str]]) -> None:
    choices = [chosen(first, "b" if first == "a" else "a", better) for first, better in drawn]
    here, there = between(choices, "a", "b"), between(choices, "b", "a")
    assert here is not None
    assert there is not None
    assert here.better.value == pytest.approx(1 - there.better.value)
    assert here.better.low == pytest.approx(1 - there.better.high)
    assert 0 <= here.better.low <= here.better.value <= here.better.high <= 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from(["first", "second", "same"])))
)
def test_strengths_know_no_order_of_choices_and_no_sides(drawn: list[tuple[str, str, str]]) -> None:
    drawn = [each for each in drawn if each[0] != each[1]]
    found = Strengths([chosen(*each) for each in drawn], "abcd")
    other = {"first": "second", "second": "first", "same": "same"}
    turned = Strengths([chosen(second, first, other[better]) for first, second, better in reversed(drawn)], "abcd")
    assert found.mean == pytest.approx(turned.mean, abs=1e-6)
    assert found.preferences()["d"] == pytest.approx(0.5)  # nobody was shown it
    assert all(0 < value < 1 for value in found.preferences().values())


def test_what_wins_is_stronger_and_a_winner_s_rival_gains_by_losing_narrowly() -> None:
    found = Strengths([chosen("a", "b")] * 5 + [chosen("b", "c")] * 5, "abc").preferences()
    assert found["a"] > found["b"] > found["c"]


def test_whom_to_show_next_is_whose_order_is_open_among_the_best() -> None:
    choices = [chosen("a", "d")] * 8 + [chosen("b", "d")] * 8 + [chosen("a", "c")] * 8 + [chosen("b", "c")] * 8
    strengths, random = Strengths(choices, "abcd"), np.random.default_rng(0)
    shown = [strengths.next_pair(random) for _ in range(200)]
    assert all(one != other for one, other in shown)
    assert sum(set(pair) == {"a", "b"} for pair in shown) > 120
    firsts = [pair[0] for pair in shown if set(pair) == {"a", "b"}]
    assert 0.3 < firsts.count("a") / len(firsts) < 0.7  # sides are drawn by chance
    assert set(Strengths([], "ab").next_pair(random)) == {"a", "b"}


@pytest.mark.slow
def test_sixty_choices_find_a_good_setting_through_a_chooser_s_noise() -> None:
    """A short form of benchmarks/eyes.py: ten settings, a chooser who errs as often as the settings differ."""
    better = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        names, quality = [str(number) for number in range(10)], random.normal(size=10)
        choices: list[Choice] = []
        for _ in range(60):
            first, second = Strengths(choices, names).next_pair(random)
            seen = quality[int(first)] - quality[int(second)] + random.normal()
            choices.append(chosen(first, second, "first" if seen > 0 else "second"))
        preferred = Strengths(choices, names).preferences()
        best = max(names, key=preferred.__getitem__)
        better += quality[int(best)] >= quality[random.integers(10)]
    assert better >= 32
