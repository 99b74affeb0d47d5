"""The check of whether a mouth is whole: it passes what a generator makes and falls when that is damaged.

The generator here draws its faces: blurred a little, as a network's are, of people in three parts. The check learns
pieces from beside the mouth, smears and pulls; rows that were torn apart, a mirrored half and a twirl it never sees.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.judging.harms import HARMS
from visage.faces.synthetic.people import picture_of
from visage.judging.networks.natural import Fitted, damaged, fit_natural
from visage.models.judges import NaturalCheck
from visage.models.pixels import as_input, as_pixels

SHOWN = ("neutral", "happy", "surprise", "disgust")
SIDE = 64


def people(first: int, count: int) -> Tensor:
    """Procedural faces, uint8 N,3,S,S."""
    asked = [(person, shown) for person in range(first, first + count) for shown in SHOWN]
    faces = np.stack([picture_of(person, shown, 0, SIDE, seed=5)[1] for person, shown in asked])
    return torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous()


def generated(faces: Tensor) -> Tensor:
    """uint8 N,3,S,S, as soft as a generator leaves them."""
    x = F.pad(as_input(faces), (1, 1, 1, 1), mode="reflect")
    return as_pixels(0.5 * as_input(faces) + 0.5 * F.avg_pool2d(x, 3, 1))


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    learnt = people(0, 40)
    return fit_natural(generated(learnt), learnt, generated(people(40, 16)), images=9_000, seed=0)


@pytest.fixture(scope="module")
def check(fitted: Fitted) -> NaturalCheck:
    return fitted.check


@pytest.fixture(scope="module")
def good() -> Tensor:
    """What the generator makes of people that neither learning nor calibration saw."""
    return as_input(generated(people(56, 16)))


@pytest.mark.slow
def test_what_a_generator_makes_of_others_passes(check: NaturalCheck, good: Tensor) -> None:
    found = check(good)
    assert (found > 0.5).float().mean() >= 0.85
    assert found.median() > 0.7
    assert (check(as_input(people(56, 16))) > 0.5).float().mean() >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_the_check_falls_for_a_damaged_mouth(check: NaturalCheck, good: Tensor, harm: str) -> None:
    before, after = check(good), check(HARMS[harm](good))
    fallen = (after < 0.5) | (after < before / 2)
    assert fallen.float().mean() >= 0.85
    assert after.median() < before.median() / 2


@pytest.mark.slow
def test_a_check_that_saw_enough_is_kept_and_one_that_did_not_is_known_by_its_own_figure(fitted: Fitted) -> None:
    assert fitted.tells
    few = people(0, 8)
    poor = fit_natural(generated(few), few, generated(people(40, 16)), images=320, seed=0)
    assert not poor.tells
    assert poor.caught < 0.5 < fitted.caught


def test_where_nothing_can_be_seen_to_be_damaged_nothing_is_told() -> None:
    grey = torch.full((8, 3, SIDE, SIDE), 128, dtype=torch.uint8)
    assert fit_natural(grey, grey, grey, images=64, seed=0).caught == 0


def test_one_place_at_the_mouth_is_damaged_and_nothing_else() -> None:
    faces = torch.rand(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    changed = (damaged(faces, torch.Generator().manual_seed(1)) - faces).abs().amax(1) > 0.02
    assert changed.any(2).any(1).all()
    assert not changed[:, : SIDE // 4].any()
    assert torch.equal((damaged(faces, torch.Generator().manual_seed(1)) - faces).abs().amax(1) > 0.02, changed)


def test_the_same_seed_makes_the_same_check() -> None:
    faces = people(0, 4)
    one, again = (fit_natural(faces, faces, faces, images=128, seed=3) for _ in range(2))
    weights = again.check.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.check.state_dict().items())
    assert one.caught == again.caught
