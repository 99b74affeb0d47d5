"""EFT: what each part of the loss says, and which networks it reaches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from visage.methods.eft import losses as eft
from visage.methods.eft.batches import SwapBatch
from visage.methods.eft.config import Loss, Networks
from visage.methods.eft.losses import EFT, Swap
from visage.methods.losses import weight

UNITS = 4


def faces(seed: int, count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def batch() -> SwapBatch:
    aus = torch.tensor([[0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]])
    return SwapBatch(faces(0), faces(1), aus, aus.flip(1), faces(2), faces(3))


def method(**loss: object) -> EFT:
    torch.manual_seed(0)
    embedding = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8)).requires_grad_(False)
    settings = {"adversarial": {"form": "least_squares"}, "triplet": {"weight": 0}} | loss
    networks = Networks(width=8, discriminator_width=8, related=8)
    return EFT(networks, Loss.model_validate(settings), 32, UNITS, embedding)


def test_action_units_that_are_not_known_do_not_count() -> None:
    logits, aus = torch.zeros(1, 3), torch.tensor([[1.0, 0.5, float("nan")]])
    assert eft.action_unit_loss(logits, aus).item() == pytest.approx(math.log(2))
    sure = torch.tensor([[10.0, 0.0, 30.0]])
    assert eft.action_unit_loss(sure, aus) < eft.action_unit_loss(logits, aus)
    assert eft.action_unit_loss(logits, torch.full((1, 3), float("nan"))).item() == 0


@given(st.lists(st.floats(0, 1), min_size=UNITS, max_size=UNITS))
def test_classes_are_shares_and_rest_is_one_of_them(intensities: list[float]) -> None:
    classes = eft.unit_classes(torch.tensor([intensities]))
    assert classes.sum().item() == pytest.approx(1, abs=1e-5)
    assert (classes >= 0).all()
    assert eft.unit_classes(torch.zeros(1, UNITS))[0].tolist() == [0] * UNITS + [1]
    alone = torch.eye(UNITS)[:1]
    assert eft.unit_classes(alone)[0].tolist() == [1, 0, 0, 0, 0]


def test_the_encoder_is_content_where_the_feature_tells_nothing() -> None:
    even = torch.full((2, 5), 0.2)
    assert eft.feature_adversarial_loss(even).item() == pytest.approx(0, abs=1e-6)
    aus = torch.eye(UNITS)[:2]
    told = eft.unit_classes(aus)
    assert eft.feature_discriminator_loss(told, aus).item() == 0
    assert eft.feature_adversarial_loss(told) > eft.feature_adversarial_loss(even)


def test_reconstructed_faces_play_real_for_swapped_ones() -> None:
    high, low = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    loss = Loss.model_validate({"adversarial": {"form": "least_squares"}})
    assert eft.critic_loss([high, low], [high, low], loss)[0].item() == 0
    total, parts = eft.critic_loss([high, low], [low, high], loss)
    assert total.item() == 2
    assert parts["d_own"] == parts["d_swapped"] == 1
    without = loss.model_copy(update={"swap": loss.swap.model_copy(update={"weight": 0})})
    assert set(eft.critic_loss([high, low], [low, high], without)[1]) == {"d_real", "d_fake"}


def test_the_total_is_the_weighted_sum_of_its_parts_and_each_can_be_left_out(batch: SwapBatch) -> None:
    further: dict[str, object] = {"triplet": {"weight": 2}, "paired": {"weight": 3}}
    made = method(**further)
    total, parts = made.for_generator(batch, made.generate(made.trained, batch))
    names = {"action_units", "reconstruction", "cross_cycle", "feature_adversarial", "swap", "adversarial", *further}
    assert set(parts) == names
    torch.testing.assert_close(total, sum(weight(name, made.loss) * part for name, part in parts.items()))
    for name in names - {"reconstruction"}:
        fewer = method(**(further | {name: {"weight": 0}}))
        generated = fewer.generate(fewer.trained, batch)
        assert set(fewer.for_generator(batch, generated)[1]) == names - {name}
        assert (generated.cycled is None) == (name == "cross_cycle")


def test_gradients_go_where_they_belong(batch: SwapBatch) -> None:
    made = method()
    generated = made.generate(made.trained, batch)
    made.for_discriminator(made.discriminator, batch, generated)[0].backward()
    assert all(parameter.grad is None for parameter in made.generator.parameters())
    assert all(parameter.grad is not None for parameter in made.discriminator.parameters())
    made.for_generator(batch, generated)[0].backward()
    assert all(parameter.grad is not None for parameter in made.generator.parameters())


def test_reading_a_swapped_face_teaches_the_decoder_and_not_the_reader(batch: SwapBatch) -> None:
    made = method()
    others = torch.cat([batch.driver_aus, batch.aus])
    read = made.generate(made.trained, batch).read_swapped
    eft.action_unit_loss(read, others).backward()
    reader = [*made.generator.reader.parameters()]
    assert all(parameter.grad is None for parameter in reader)
    assert all(parameter.grad is not None for parameter in made.generator.decoder.parameters())


def test_the_first_person_takes_the_second_s_related_feature(batch: SwapBatch) -> None:
    made = method()
    with torch.no_grad():
        generated = made.generate(made.trained, batch)
        face, driver = generated.swapped.chunk(2)
        torch.testing.assert_close(face, made.generator(batch.face, batch.driver))
        torch.testing.assert_close(driver, made.generator(batch.driver, batch.face))
        own = made.generator(batch.face, batch.face)
    torch.testing.assert_close(generated.reconstructed.chunk(2)[0], own)


def test_the_triplet_loss_holds_each_face_to_its_own_person(batch: SwapBatch) -> None:
    made = method(triplet={"weight": 1})
    generated = made.generate(made.trained, batch)
    as_positives = generated._replace(swapped=torch.cat([batch.positive, batch.driver_positive]))
    as_others = generated._replace(swapped=torch.cat([batch.driver_positive, batch.positive]))
    near, far = (made.for_generator(batch, one)[1]["triplet"] for one in (as_positives, as_others))
    assert near < far


def test_only_as_much_of_the_faces_gradient_as_is_wanted_teaches_the_related_encoder(batch: SwapBatch) -> None:
    found = []
    for taught in (1.0, 0.5, 0.0):
        made = method()
        made.trained.taught = taught  # type: ignore[assignment]
        generated = made.generate(made.trained, batch)
        (generated.painted - torch.cat([batch.face, batch.driver])).abs().mean().backward()
        gradient = made.generator.related.out.weight.grad
        found.append(0.0 if gradient is None else gradient.norm().item())
        assert made.generator.free.last.weight.grad is not None
    assert found[0] > 0
    assert found == pytest.approx([found[0], found[0] / 2, 0])


def test_a_mask_reconstructs_nothing_by_itself(batch: SwapBatch) -> None:
    network = eft.Disentangler(32, 8, 8, UNITS, mask=True).eval()
    out = torch.zeros(2, 4, 32, 32)
    out[:, 3] = -20  # the mask lets the whole input through
    torch.testing.assert_close(network.shown(out, batch.face), batch.face, rtol=0, atol=1e-5)
    centre = (..., slice(14, 22), slice(14, 18))
    assert network.painted(out, batch.face)[centre].abs().max() < 1e-3


@pytest.mark.parametrize("mask", [False, True])
def test_no_face_of_a_batch_depends_on_the_others(mask: bool) -> None:
    torch.manual_seed(0)
    network = eft.Disentangler(32, 8, 8, UNITS, mask, mask).eval()
    with torch.no_grad():
        together = network(faces(1, 4), faces(2, 4))
        alone = torch.cat([network(faces(1, 4)[k : k + 1], faces(2, 4)[k : k + 1]) for k in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (4, 3, 32, 32)
    assert together.abs().max() <= 1


def test_without_the_cycle_nothing_is_swapped_twice(batch: SwapBatch) -> None:
    network = method().generator
    assert Swap(network, cycle=False)(batch.face, batch.driver).cycled is None
