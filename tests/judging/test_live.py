"""The live difference of two models: what its interval covers, and when nothing is said."""

import numpy as np
import pytest

from visage.judging.live import REQUESTS, paired, unpaired


def test_a_paired_interval_is_narrower_where_requests_differ_more_than_models() -> None:
    random = np.random.default_rng(0)
    champion = random.normal(0.7, 0.1, 200)
    challenger = champion + random.normal(0.01, 0.01, 200)
    together, apart = paired(champion, challenger), unpaired(champion, challenger)
    assert together.difference is not None
    assert apart.difference is not None
    assert together.difference.value == pytest.approx(apart.difference.value)
    assert together.verdict == "higher"
    assert apart.verdict == "no difference shown"
    assert paired(challenger, champion).verdict == "lower"


@pytest.mark.parametrize("kind", [paired, unpaired])
def test_intervals_cover_the_truth_about_as_often_as_they_say(kind) -> None:
    random, covered = np.random.default_rng(1), 0
    for _ in range(200):
        champion, challenger = random.normal(0.7, 0.1, 80), random.normal(0.72, 0.2, 80)
        found = kind(champion, challenger).difference
        covered += found.low <= 0.02 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("kind", [paired, unpaired])
def test_few_requests_are_no_evidence(kind) -> None:
    few = np.full(REQUESTS - 1, 0.5)
    assert kind(few, few + 0.5).verdict == "too few requests"
    assert kind(few, few + 0.5).difference is None
    assert kind(np.array([]), np.array([])).champion is None
    enough = np.full(REQUESTS, 0.5)
    assert kind(enough, enough + 0.5).verdict == "higher"
    assert kind(enough, enough).verdict == "no difference shown"
