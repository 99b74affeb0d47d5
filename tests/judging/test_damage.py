"""The endpoint's check of a face whose mouth is torn, mirrored on one side, smeared or scattered."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from visage.faces.synthetic.people import picture_of
from visage.judging.damage import damaged
from visage.judging.fit import fit_check
from visage.models.judges import ExpressionCheck, Trunk, build_judge
from visage.models.pixels import as_input

SHOWN = ("neutral", "happy", "surprise")
SIDE, LEARNERS, OTHERS = 64, 48, 12
MOUTH = (..., slice(42, 56), slice(19, 45))  # of an aligned face of 64 px


def people(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Procedural faces, uint8 N,3,S,S, and which of SHOWN each is."""
    asked = [(person, kind) for person in range(first, first + count) for kind in range(len(SHOWN))]
    faces = np.stack([picture_of(person, SHOWN[kind], 0, SIDE, seed=5)[1] for person, kind in asked])
    return torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous(), torch.tensor([kind for _, kind in asked])


def torn(faces: Tensor) -> Tensor:
    """Every other pair of rows to the left, the others to the right."""
    found = faces.clone()
    for row in range(42, 56):
        found[:, :, row, 19:45] = faces.roll(6 if row // 2 % 2 else -6, 3)[:, :, row, 19:45]
    return found


def mirrored(faces: Tensor) -> Tensor:
    """Its right half turned round, so that the corner lies in the middle."""
    found = faces.clone()
    found[..., 42:56, 32:45] = faces[..., 42:56, 32:45].flip(3)
    return found


def smeared(faces: Tensor) -> Tensor:
    found = faces.clone()
    found[MOUTH] = F.avg_pool2d(faces, (1, 17), 1, (0, 8), count_include_pad=False)[MOUTH]
    return found


def scattered(faces: Tensor) -> Tensor:
    found, part = faces.clone(), faces[MOUTH]
    order = torch.randperm(14 * 26, generator=torch.Generator().manual_seed(1))
    found[MOUTH] = part.flatten(2)[:, :, order].view_as(part)
    return found


def test_one_place_of_a_face_is_damaged_and_nothing_else() -> None:
    faces = torch.rand(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    changed = (damaged(faces, torch.Generator().manual_seed(1)) != faces).any(1)
    for one in changed:
        rows, columns = one.any(1).nonzero(), one.any(0).nonzero()
        assert len(rows)
        assert max(rows.max() - rows.min(), columns.max() - columns.min()) < 0.31 * SIDE
    again = damaged(faces, torch.Generator().manual_seed(1))
    assert torch.equal((again != faces).any(1), changed)


def test_a_check_of_an_older_visage_knows_no_damage() -> None:
    old = build_judge({"name": "expression_check", "expressions": ["neutral", "happy"]})
    face = torch.rand(2, 3, SIDE, SIDE)
    assert torch.allclose(old(face).sum(1), torch.ones(2))
    new = ExpressionCheck(SHOWN, damage=True)
    assert build_judge(new.architecture()).state_dict().keys() == new.state_dict().keys()
    assert new(face).shape == (2, 3)
    assert (new(face).sum(1) < 1).all()


@pytest.fixture(scope="module")
def check() -> ExpressionCheck:
    torch.manual_seed(0)
    network = ExpressionCheck(SHOWN, damage=True)
    network.trunk = Trunk.pretrained()
    return fit_check(network, *people(0, LEARNERS), images=6_000, seed=0)  # as many as `judge.images` makes


def read(check: ExpressionCheck, harm: Callable[[Tensor], Tensor], kinds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """How sure the check is of the true expression in real faces of people it never saw, before and after the harm."""
    pixels, shown = people(LEARNERS, OTHERS)
    chosen = torch.isin(shown, torch.tensor(kinds))
    faces, shown = as_input(pixels[chosen]), shown[chosen]
    with torch.inference_mode():
        before, after = (check(each)[torch.arange(len(shown)), shown] for each in (faces, harm(faces)))
    return before, after


@pytest.mark.soak
@pytest.mark.parametrize("harm", [torn, mirrored, scattered])
def test_the_check_falls_by_half_for_a_damaged_mouth(check: ExpressionCheck, harm: Callable[[Tensor], Tensor]) -> None:
    before, after = read(check, harm, (0, 1, 2))
    assert before.median() > 0.7
    assert (before > 0.5).float().mean() >= 0.9
    assert (after < before / 2).float().mean() >= 0.9


@pytest.mark.soak
def test_the_check_falls_for_a_smeared_open_mouth(check: ExpressionCheck) -> None:
    before, after = read(check, smeared, (1, 2))  # a closed one is a line, along which nothing is seen to run
    assert (before - after > 0.3).float().mean() >= 0.9
