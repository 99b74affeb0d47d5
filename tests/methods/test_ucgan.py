import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from visage.config.method import Triplet
from visage.methods.by_expression.batches import Batch
from visage.methods.losses import without_discriminator
from visage.methods.ucgan import losses as ucgan
from visage.methods.ucgan.config import FeatureMatching, Loss, Networks, Pairing
from visage.methods.ucgan.losses import UCGAN
from visage.models.identity import CompactEncoder, CrossedEncoder, load_embedding

FORMS = ("log", "hinge", "least_squares")


def faces(seed: int, count: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def batch() -> Batch:
    return Batch(*(faces(seed) for seed in range(5)), condition=torch.eye(3)[:2], half=torch.tensor([0, 1]))


def method(loss: Loss | None = None) -> UCGAN:
    torch.manual_seed(0)
    embedding = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8)).requires_grad_(False)
    return UCGAN(Networks(width=8, discriminator_width=8), loss or Loss(), 32, 3, embedding)


def test_the_log_form_is_the_paper_s() -> None:
    logits = torch.tensor([-2.0, 0.5, 3.0])
    probability = torch.sigmoid(logits)
    torch.testing.assert_close(ucgan.adversarial_real(logits, "log"), -probability.log().mean())
    torch.testing.assert_close(ucgan.adversarial_fake(logits, "log"), -(1 - probability).log().mean())
    torch.testing.assert_close(ucgan.adversarial_generator(logits, "log"), -probability.log().mean())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_pulls_the_logits_apart(form: str) -> None:
    low, high = torch.full((4,), 0.25), torch.full((4,), 0.75)
    assert ucgan.adversarial_real(high, form) < ucgan.adversarial_real(low, form)
    assert ucgan.adversarial_fake(low, form) < ucgan.adversarial_fake(high, form)
    assert ucgan.adversarial_generator(high, form) < ucgan.adversarial_generator(low, form)


@given(st.floats(0, 10))
def test_the_discriminator_pays_for_three_kinds_of_pairs(weight: float) -> None:
    real, fake, other = (torch.tensor([value]) for value in (1.0, -1.0, 0.3))
    total, parts = ucgan.discriminator_loss(
        {"real": real, "fake": fake, "pairing": other}, Loss(pairing=Pairing(weight=weight))
    )
    expected = math.log1p(math.exp(-1)) * 2 + weight * math.log1p(math.exp(0.3))
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert set(parts) == {"d_real", "d_fake", "d_pairing"}


@given(st.floats(0.01, 2.0))
def test_the_triplet_loss_is_idle_once_the_margin_is_kept(margin: float) -> None:
    generated = torch.tensor([[1.0, 0.0]])
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])  # squared distances 0 and 2
    assert ucgan.triplet_loss(generated, near, far, margin).item() == pytest.approx(max(0.0, margin - 2))
    assert ucgan.triplet_loss(generated, far, near, margin).item() == pytest.approx(2 + margin)


def test_the_pixel_loss_is_l1_and_its_extension_weighs_what_changes() -> None:
    face, target = faces(1), faces(2)
    assert ucgan.pixel_loss(target, target, face, 8).item() == 0
    torch.testing.assert_close(ucgan.pixel_loss(face, target, face, 0), (face - target).abs().mean())
    changed = face.clone()
    changed[:, :, :8] = -face[:, :, :8]
    half = face.clone()
    half[:, :, :4] = changed[:, :, :4]
    # What is left lies in the changed part, so weighing that part makes it dearer.
    assert ucgan.pixel_loss(half, changed, face, 8) > ucgan.pixel_loss(half, changed, face, 0)


def test_feature_matching_is_zero_for_the_real_face() -> None:
    real = [torch.ones(1, 2, 4, 4), torch.zeros(1, 4, 2, 2)]
    assert ucgan.feature_distance(real, real).item() == 0
    assert ucgan.feature_distance([a + 1 for a in real], real).item() == 1


def test_the_total_is_the_weighted_sum_of_its_parts(batch: Batch) -> None:
    loss = Loss.model_validate({"feature_matching": {"weight": 3}, "pixel": {"weight": 7}, "triplet": {"weight": 2}})
    made = method(loss)
    total, parts = made.for_generator(batch, made.generator(batch.face, batch.condition))
    assert set(parts) == {"adversarial", "pixel", "triplet", "feature_matching"}
    expected = sum(getattr(loss, name).weight * part for name, part in parts.items())
    torch.testing.assert_close(total, expected)


def test_gradients_go_where_they_belong(batch: Batch) -> None:
    made = method(Loss(triplet=Triplet(weight=1, margin=2)))
    generated = made.generator(batch.face, batch.condition)
    total, _ = made.for_discriminator(made.discriminator, batch, generated)
    total.backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in made.generator.parameters())
    assert all(parameter.grad is not None for parameter in made.discriminator.parameters())
    made.for_generator(batch, generated)[0].backward()
    assert all(parameter.grad is not None for parameter in made.generator.parameters())
    assert all(parameter.grad is None for parameter in made.embedding.parameters())


def test_other_identities_reach_the_discriminator_only_through_their_pairs(batch: Batch) -> None:
    made = method()
    generated = made.generator(batch.face, batch.condition)
    with torch.no_grad():
        _, parts = made.for_discriminator(made.discriminator, batch, generated)
        other = replace(batch, other=faces(9))
        _, changed = made.for_discriminator(made.discriminator, other, generated)
    assert parts["d_pairing"] != changed["d_pairing"]
    torch.testing.assert_close(parts["d_real"], changed["d_real"])
    torch.testing.assert_close(parts["d_fake"], changed["d_fake"])


ALL = {name: {"weight": 0.5} for name in ("wrong_input", "classification", "perceptual", "feature_matching")}


def measuring(loss: Loss) -> UCGAN:
    torch.manual_seed(0)
    return UCGAN(Networks(width=8, discriminator_width=8), loss, 32, 3, load_embedding("compact", CompactEncoder()))


def test_every_extension_is_a_part_with_its_own_name(batch: Batch) -> None:
    loss = Loss.model_validate(ALL)
    made = measuring(loss)
    generated = made.generator(batch.face, batch.condition)
    d_total, d_parts = made.for_discriminator(made.discriminator, batch, generated)
    assert set(d_parts) == {"d_real", "d_fake", "d_pairing", "d_wrong_input", "d_classification"}
    weights = {"d_pairing": loss.pairing.weight, "d_wrong_input": 0.5, "d_classification": 0.5}
    torch.testing.assert_close(d_total, sum(weights.get(name, 1) * part for name, part in d_parts.items()))
    _, parts = made.for_generator(batch, generated)
    assert set(parts) == {"adversarial", "pixel", "triplet", "feature_matching", "perceptual", "classification"}


def test_extensions_that_are_off_leave_the_plain_method(batch: Batch) -> None:
    plain, with_all = measuring(Loss()), measuring(Loss.model_validate(ALL))
    with_all.generator.load_state_dict(plain.generator.state_dict())
    with_all.discriminator.load_state_dict(plain.discriminator.state_dict(), strict=False)
    generated = plain.generator(batch.face, batch.condition)
    for name in ("for_discriminator", "for_generator"):
        arguments = (plain.discriminator, batch, generated) if name == "for_discriminator" else (batch, generated)
        _, few = getattr(plain, name)(*arguments)
        if name == "for_discriminator":
            arguments = (with_all.discriminator, batch, generated)
        _, many = getattr(with_all, name)(*arguments)
        for part, value in few.items():
            torch.testing.assert_close(value, many[part])


def test_what_a_face_costs_does_not_depend_on_its_batch() -> None:
    made = measuring(Loss.model_validate(ALL | {"pixel": {"change": 8}}))
    whole = Batch(*(faces(seed, 3) for seed in range(5)), condition=torch.eye(3), half=torch.tensor([0, 1, 0]))
    singles = [Batch(**{name: field[i : i + 1] for name, field in vars(whole).items()}) for i in range(3)]

    def cost(batch: Batch) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            generated = made.generator(batch.face, batch.condition)
            return (
                made.for_discriminator(made.discriminator, batch, generated)[1]
                | made.for_generator(batch, generated)[1]
            )

    alone = [cost(batch) for batch in singles]
    for name, value in cost(whole).items():
        mean = torch.stack([each[name] for each in alone]).mean()
        torch.testing.assert_close(value, mean, atol=1e-5, rtol=1e-4)


def test_a_term_without_weight_costs_no_pass(batch: Batch) -> None:
    made = measuring(Loss(pairing=Pairing(weight=0), triplet=Triplet(weight=0)))
    seen: list[int] = []
    made.discriminator.register_forward_hook(lambda module, inputs, out: seen.append(len(inputs[0])))
    generated = made.generator(batch.face, batch.condition)
    made.for_discriminator(made.discriminator, batch, generated)
    made.for_generator(batch, generated)
    assert seen == [2 * len(batch.face), len(batch.face)]


def test_the_embedding_sees_each_face_once(batch: Batch) -> None:
    made = measuring(Loss.model_validate(ALL))
    seen: list[int] = []
    made.embedding.trunk.conv1.register_forward_hook(lambda module, inputs, out: seen.append(len(inputs[0])))
    made.for_generator(batch, made.generator(batch.face, batch.condition))
    assert sorted(seen) == [len(batch.face), 3 * len(batch.face)]


def test_a_wrong_input_is_not_the_pairing_of_the_paper(batch: Batch) -> None:
    made = measuring(Loss.model_validate(ALL))
    generated = made.generator(batch.face, batch.condition)
    changed = replace(batch, target=faces(8))
    with torch.no_grad():
        _, parts = made.for_discriminator(made.discriminator, batch, generated)
        _, others = made.for_discriminator(made.discriminator, changed, generated)
    assert parts["d_wrong_input"] != others["d_wrong_input"]  # the real face is in it
    torch.testing.assert_close(parts["d_pairing"], others["d_pairing"])  # and not in this


def test_the_head_is_not_told_the_expression_that_it_reads(batch: Batch) -> None:
    made = measuring(Loss.model_validate(ALL))
    asked: list[torch.Tensor] = []
    made.discriminator.register_forward_hook(lambda module, inputs, out: asked.append(inputs[2]))
    made.for_generator(batch, made.generator(batch.face, batch.condition))
    assert asked[-1].abs().sum() == 0
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(made.discriminator.parameters(), 2e-3)
    for _ in range(30):  # two faces, two expressions: it learns which is which from the faces alone
        total, parts = made.for_discriminator(made.discriminator, batch, batch.target)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert parts["d_classification"] < 0.3


def test_without_a_weight_the_embedding_is_not_asked(batch: Batch) -> None:
    class Forbidden(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the embedding costs time and was not wanted")

    made = method(Loss(triplet=Triplet(weight=0)))
    made.embedding = Forbidden()
    _, parts = made.for_generator(batch, made.generator(batch.face, batch.condition))
    assert "triplet" not in parts


def test_before_its_start_nothing_asks_the_discriminator(batch: Batch) -> None:
    made = method(without_discriminator(Loss(feature_matching=FeatureMatching(weight=1))))
    assert not made.adversarial
    generated = made.generator(batch.face, batch.condition)
    made.discriminator.requires_grad_(False)
    total, parts = made.for_generator(batch, generated)
    assert set(parts) == {"pixel", "triplet"}
    assert total.isfinite()
    assert method(Loss()).adversarial


@pytest.mark.parametrize("perceptual", [0, 1])
def test_each_half_is_looked_at_by_its_own_encoder_alone(batch: Batch, perceptual: float) -> None:
    loss = Loss.model_validate({"perceptual": {"weight": perceptual}, "triplet": {"embedding": "crossed", "margin": 2}})
    encoders = tuple(CompactEncoder(dimensions=4).eval().requires_grad_(False) for _ in range(2))
    encoders[1].trunk.load_state_dict(encoders[0].trunk.state_dict())  # as when fitted
    made = UCGAN(Networks(width=8, discriminator_width=8), loss, 32, 3, CrossedEncoder(encoders))

    def cost(batch: Batch) -> torch.Tensor:
        return made.for_generator(batch, made.generator(batch.face, batch.condition))[1]["triplet"]

    def alone(half: int) -> Batch:
        return replace(batch, half=torch.full((2,), half))

    with torch.no_grad():
        before = [cost(alone(half)) for half in (0, 1)]
        encoders[1].head.weight.mul_(-1).add_(0.3)
        assert cost(alone(0)) == before[0]
        assert cost(alone(1)) != before[1]
        single = UCGAN(Networks(width=8, discriminator_width=8), loss, 32, 3, encoders[0])
        single.generator, single.discriminator = made.generator, made.discriminator
        wanted = single.for_generator(batch, made.generator(batch.face, batch.condition))[1]["triplet"]
        torch.testing.assert_close(before[0], wanted)
