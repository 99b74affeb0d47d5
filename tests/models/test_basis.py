import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from visage.methods import method_of
from visage.methods.ucgan.config import Loss, Networks
from visage.models.basis import FLOW_GAIN, MAP_GAIN, Basis, BasisGenerator, fine_flow, wide_window
from visage.models.unet import FLOW, face_window

KINDS = 3


def faces(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def generator(size: int = 32, seed: int = 0, learned: float = 0.0) -> BasisGenerator:
    """learned: how far its maps and its last layer are from the zeros of the start."""
    torch.manual_seed(seed)
    made = BasisGenerator(size, 8, KINDS).eval()
    if learned:
        torch.nn.init.normal_(made.basis.maps, std=learned)
        torch.nn.init.normal_(made.out.weight, std=learned)
    return made


@pytest.mark.parametrize("size", [32, 64, 128])
def test_it_starts_as_the_input(size: int) -> None:
    x = faces(2, size)
    with torch.no_grad():
        torch.testing.assert_close(generator(size)(x, torch.eye(KINDS)[:2]), x, atol=1e-5, rtol=0)


@given(st.floats(-2, 2), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_basis_is_linear_in_its_weights(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    basis = Basis(KINDS, 32)
    torch.nn.init.normal_(basis.maps)
    a, b = torch.randn(2, 1, KINDS)
    with torch.no_grad():
        torch.testing.assert_close(basis(a + share * b), basis(a) + share * basis(b), atol=1e-4, rtol=1e-4)


def test_what_the_face_shows_already_is_not_laid_on_twice() -> None:
    """Asked for what it reads, the basis adds nothing; asked for another expression, the change between the two."""
    made = generator(learned=0.3)
    torch.nn.init.zeros_(made.out.weight)
    torch.nn.init.zeros_(made.out.bias)
    with torch.no_grad():
        x = faces(1)
        torch.testing.assert_close(made(x, made.reader(x)), x, atol=1e-5, rtol=0)
        assert (made(x, torch.eye(KINDS)[1:2]) - x).abs().mean() > 1e-3


def test_nothing_changes_outside_the_window() -> None:
    made, x = generator(learned=0.5), faces(2, seed=1)
    with torch.no_grad():
        changed = (made(x, torch.eye(KINDS)[:2]) - x).abs()
    outside = wide_window(32).expand_as(x) == 0
    assert outside.any()
    assert changed[outside].max() < 1e-5
    assert changed[~outside].mean() > 1e-2


def test_the_window_leaves_room_for_a_jaw_that_drops() -> None:
    assert (wide_window(64) >= face_window(64) - 1e-6).all()
    assert wide_window(64)[0, 62, 32] > face_window(64)[0, 62, 32]


def test_a_face_does_not_depend_on_its_batch() -> None:
    made, x = generator(learned=0.2), faces(3)
    condition = torch.eye(KINDS)
    with torch.no_grad():
        together = made(x, condition)
        alone = torch.cat([made(x[k : k + 1], condition[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_it_runs_in_bfloat16() -> None:
    made, x = generator(64, learned=0.2), faces(2, 64)
    with torch.no_grad():
        exact = made(x, torch.eye(KINDS)[:2])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = made(x, torch.eye(KINDS)[:2])
    assert rounded.dtype == torch.float32
    assert (exact - rounded).abs().mean() < 0.03


def test_the_reader_is_not_trained() -> None:
    made = generator(learned=0.2).train()
    made(faces(2), torch.eye(KINDS)[:2]).square().mean().backward()
    assert all(weight.grad is None for weight in made.reader.parameters())
    assert made.basis.maps.grad is not None
    assert {name for name, weight in made.named_parameters() if weight.requires_grad and weight.grad is None} == set()


def test_it_is_built_again_from_its_description() -> None:
    made = generator(learned=0.2)
    again = method_of("ucgan").generator_of(made.architecture())
    again.load_state_dict(made.state_dict())
    with torch.no_grad():
        x, condition = faces(2), torch.eye(KINDS)[:2]
        assert torch.equal(again.eval()(x, condition), made(x, condition))


@given(st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_a_flow_goes_no_farther_than_it_may(value: float) -> None:
    flow = fine_flow(torch.full((1, 2, 64, 64), value), torch.zeros(1, 2, 128, 128))
    assert flow.shape == (1, 2, 128, 128)
    assert flow.abs().max() <= 0.2 + 1e-6


def test_a_mask_beside_it_is_refused() -> None:
    with pytest.raises(ValidationError, match="leave mask and warp out"):
        Networks(basis=True, mask=True)


def test_exaggeration_carries_on_the_way_of_the_change_and_is_not_trained() -> None:
    plain, twice = generator(learned=0.002), generator(learned=0.002)
    twice.exaggeration = 2.0
    x, condition = faces(2) / 2, torch.eye(KINDS)[:2]
    with torch.no_grad():
        colours = [made(x, condition) - x for made in (plain, twice)]
        assert (colours[1].abs().mean() / colours[0].abs().mean()).item() == pytest.approx(2, rel=0.15)
        torch.testing.assert_close(twice.train()(x, condition), plain.train()(x, condition))
    assert method_of("ucgan").generator_of(twice.architecture()).exaggeration == 2
    before = {name: value for name, value in plain.architecture().items() if name != "exaggeration"}
    assert method_of("ucgan").generator_of(before).exaggeration == 1  # a bundle of the time before


def test_exaggeration_needs_the_basis() -> None:
    with pytest.raises(ValidationError, match="exaggeration"):
        Networks(exaggeration=1.5)


def test_roughness_is_of_the_flow_alone_and_in_pixels() -> None:
    basis = Basis(1, 32)
    with torch.no_grad():
        basis.maps[:, :3].normal_()
        assert basis.roughness() == 0
        # One column a pixel farther to the right than the rest: two borders among 16 x 15 neighbours of 2 channels.
        basis.maps[:, 3, :, 8] = 1 / (32 * FLOW * FLOW_GAIN * MAP_GAIN)
        assert basis.roughness().item() == pytest.approx(2 * 16 / (2 * 16 * 15))


def test_smoothness_needs_the_basis() -> None:
    with pytest.raises(ValueError, match=r"loss\.smoothness"):
        Loss(smoothness={"weight": 1}).check(Networks())
