import torch
from hypothesis import given
from hypothesis import strategies as st

from visage.models.condition import conditions
from visage.models.unet import UNet

NAMES = ("neutral", "happy", "sad")


@given(st.sampled_from([NAMES, NAMES[1:]]), st.floats(0, 1.5))
def test_a_row_is_the_place_on_the_line(names: tuple[str, ...], intensity: float) -> None:
    row = conditions(names, torch.tensor([1]), intensity)[0]
    assert torch.isclose(row.sum(), torch.tensor(1.0))
    start = conditions(names, torch.tensor([1]), 0.0)[0]
    assert torch.allclose(row, start + intensity * (torch.eye(len(names))[1] - start), atol=1e-6)


def test_the_ends_are_exact() -> None:
    target = torch.tensor([0, 1, 2])
    assert torch.equal(conditions(NAMES, target), torch.eye(3))
    assert torch.equal(conditions(NAMES, target, 0.0), torch.eye(3)[[0, 0, 0]])


def test_each_face_has_its_own_intensity() -> None:
    made = conditions(NAMES, torch.tensor([1, 2]), torch.tensor([0.25, 1.5]))
    assert made.tolist() == [[0.75, 0.25, 0.0], [-0.5, 0.0, 1.5]]


def test_without_a_neutral_expression_the_line_starts_in_the_middle() -> None:
    assert conditions(("happy", "sad"), torch.tensor([1]), 0.0).tolist() == [[0.5, 0.5]]


def test_the_embedding_is_linear_in_the_intensity() -> None:
    embed = UNet(32, 8, 3).condition
    low, middle, high = embed(conditions(NAMES, torch.tensor([1, 1, 1]), torch.tensor([0.0, 0.6, 1.0])))
    assert torch.allclose(middle, torch.lerp(low, high, 0.6), atol=1e-5)
