"""EFT on a basis: what each part of the loss says, and which networks it reaches."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.methods.test_eft import faces
from visage.config.experiment import Experiment
from visage.methods import method_of
from visage.methods.eft.basis_losses import BasisEFT, feature_paired_loss
from visage.methods.eft.batches import SwapBatch
from visage.methods.eft.config import Loss, Networks
from visage.methods.eft.networks.critic import FeatureProbe
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import unit_map_of
from visage.methods.eft.networks.unit_reader import UnitReader, intensities
from visage.methods.losses import weight

UNITS = 4
LOSS: dict[str, object] = {
    "action_units": {"weight": 20, "carried": 0.1},
    "paired": {"weight": 60, "change": 8},
    "feature_adversarial": {"weight": 6},
    "feature_paired": {"weight": 2},
    "reconstruction": {"weight": 0},
    "cross_cycle": {"weight": 0},
    "swap": {"weight": 0},
    "adversarial": {"weight": 0},
    "triplet": {"weight": 0},
}


@pytest.fixture
def batch() -> SwapBatch:
    labels = torch.rand(8, 2 * UNITS, generator=torch.Generator().manual_seed(5))
    return SwapBatch(faces(0), faces(1), labels[:2, :UNITS], labels[2:4, :UNITS], faces(2), faces(3), labels)


def method(**loss: object) -> BasisEFT:
    torch.manual_seed(0)
    embedding = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8)).requires_grad_(False)
    settings = Networks(name="eft", width=8, discriminator_width=8, basis=True)
    return BasisEFT(settings, Loss.model_validate(LOSS | loss), 32, UNITS, embedding)


def moved(network: Disentangler) -> Disentangler:
    """The network with maps that are not zero, and a decoder that adds something."""
    torch.manual_seed(1)
    assert network.basis is not None
    nn.init.normal_(network.basis.maps, std=0.05)
    nn.init.normal_(network.decoder.out.weight, std=0.02)
    return network


def test_nothing_changes_before_anything_is_learnt_or_where_the_units_are_the_same() -> None:
    network = method().generator.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(faces(0), faces(1)), faces(0), rtol=0, atol=1e-5)
        moved(network)
        assert (network(faces(0), faces(1)) - faces(0)).abs().mean() > 1e-3
        nn.init.zeros_(network.decoder.out.weight)
        torch.testing.assert_close(network(faces(0), faces(0)), faces(0), rtol=0, atol=1e-5)


def test_each_unit_of_each_side_has_maps_of_its_own() -> None:
    network = moved(method().generator).eval()
    assert network.basis is not None
    change = torch.eye(2 * UNITS)
    with torch.no_grad():
        alone = network.basis(change)
        assert min((alone[a] - alone[b]).abs().mean() for a in range(8) for b in range(a)) > 1e-2
        torch.testing.assert_close(network.basis(change.sum(0, keepdim=True))[0], alone.sum(0), rtol=1e-4, atol=1e-5)


def test_the_feature_is_the_units_and_is_read_as_the_stronger_side() -> None:
    network = method().generator.eval()
    with torch.no_grad():
        related = network.related(faces(0))
        assert related.shape == (2, 2 * UNITS)
        assert ((related >= 0) & (related <= 1)).all()
        strongest = torch.maximum(related[:, :UNITS], related[:, UNITS:])
        torch.testing.assert_close(network.intensities(related), strongest)


def test_units_that_are_told_go_to_both_sides_and_the_others_stay() -> None:
    network = method().generator.eval()
    told = unit_map_of(network)
    assert told.out is None
    related = torch.rand(1, 2 * UNITS)
    asked = torch.tensor([[float("nan"), 0.8, float("nan"), 0.0]])
    made = told(related, network.intensities(related), asked)[0].reshape(2, UNITS)
    assert made[:, 1].tolist() == pytest.approx([0.8, 0.8])
    assert made[:, 3].tolist() == [0, 0]
    torch.testing.assert_close(made[:, [0, 2]], related[0].reshape(2, UNITS)[:, [0, 2]])


def test_a_network_with_a_basis_is_built_again_and_one_without_says_nothing_of_it() -> None:
    network = moved(method().generator)
    again = method_of("eft").generator_of(network.architecture())
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(faces(0), faces(1)), network(faces(0), faces(1)))
    older = Disentangler(32, 8, 8, UNITS).architecture()
    assert "basis" not in older
    method_of("eft").generator_of(older)
    with pytest.raises(ValueError, match="with a basis it is 8"):
        Disentangler(32, 8, 9, UNITS, basis=True)


def test_the_total_is_the_weighted_sum_of_its_parts(batch: SwapBatch) -> None:
    made = method(triplet={"weight": 2})
    generated = made.generate(made.trained, batch)
    made.for_discriminator(made.discriminator, batch, generated)
    total, parts = made.for_generator(batch, generated)
    assert set(parts) == {"action_units", "paired", "feature_adversarial", "feature_paired", "triplet"}
    torch.testing.assert_close(
        total, torch.stack([weight(name, made.loss) * part for name, part in parts.items()]).sum()
    )
    off = {"weight": 0}
    fewer = method(feature_adversarial=off, feature_paired=off, action_units={"weight": 20, "carried": 0})
    generated = fewer.generate(fewer.trained, batch)
    assert generated.read_made is None
    assert generated.free_others is None
    assert (fewer.adversarial, made.adversarial) == (False, True)
    assert set(fewer.for_generator(batch, generated)[1]) == {"action_units", "paired"}


def test_pixels_teach_the_maps_and_units_the_encoder(batch: SwapBatch) -> None:
    made = method(feature_adversarial={"weight": 0}, action_units={"weight": 20, "carried": 0})
    moved(made.generator)
    generated = made.generate(made.trained, batch)
    parts = made.for_generator(batch, generated)[1]
    parts["paired"].backward(retain_graph=True)
    assert made.generator.basis is not None
    assert made.generator.basis.maps.grad is not None
    assert all(parameter.grad is None for parameter in made.generator.related.parameters())
    parts["action_units"].backward()
    assert all(parameter.grad is not None for parameter in made.generator.related.parameters())


def test_a_driver_who_shows_the_true_units_teaches_the_encoder_by_pixels_and_nobody_else_does(batch: SwapBatch) -> None:
    made = method(feature_adversarial={"weight": 0}, action_units={"weight": 20, "carried": 0})
    moved(made.generator)
    plain = made.generate(made.trained, batch)
    others = torch.cat([faces(4), faces(5)]).requires_grad_(True)
    generated = made.generate(made.trained, replace(batch, same=others))
    changed = (generated.made - plain.made).abs().amax((1, 2, 3)) > 1e-5
    assert changed.tolist() == [True, True, False, False]  # half of the results have a driver
    made.for_generator(batch, generated)[1]["paired"].backward()
    assert others.grad is not None
    assert (others.grad.abs().amax((1, 2, 3)) > 0).tolist() == [True, True, False, False]
    assert all(parameter.grad is not None for parameter in made.generator.related.parameters())


def test_units_that_no_label_tells_are_those_that_are_read(batch: SwapBatch) -> None:
    made = method()
    moved(made.generator)
    assert batch.by_side is not None
    with torch.no_grad():
        pictures, others = torch.cat([batch.face, batch.driver]), torch.cat([batch.positive, batch.driver_positive])
        read = made.generator.related(torch.cat([pictures, others]))
        told = SwapBatch(*(getattr(batch, n) for n in ("face", "driver", "aus", "driver_aus", "positive",
                                                        "driver_positive")), read)  # fmt: skip
        unknown = SwapBatch(told.face, told.driver, told.aus, told.driver_aus, told.positive, told.driver_positive,
                            torch.full_like(read, float("nan")))  # fmt: skip
        a, b = made.generate(made.trained, told), made.generate(made.trained, unknown)
    torch.testing.assert_close(a.made, b.made)
    assert torch.isfinite(made.for_generator(unknown, b)[0])


def test_what_is_read_is_rest_below_a_fifth_and_itself_from_two_fifths_on() -> None:
    read = torch.tensor([0.01, 0.19, 0.3, 0.4, 0.7, 0.99])
    found = intensities(torch.logit(read))
    torch.testing.assert_close(found, torch.tensor([0, 0, 0.2, 0.4, 0.7, 0.99]))


def test_the_reader_sees_the_inner_face_in_grey_alone_at_any_size() -> None:
    torch.manual_seed(0)
    reader = UnitReader(16, 2 * UNITS).eval()
    face = torch.rand(2, 3, 64, 64)
    grey = face.mean(1, keepdim=True)
    lit = (0.5 * grey + 0.2).expand(-1, 3, -1, -1).clone()
    lit[:, :, :10], lit[:, :, :, :6] = 1, -1
    with torch.no_grad():
        torch.testing.assert_close(reader.logits(lit), reader.logits(face), rtol=0, atol=0.02)
        assert (reader.logits(face.flip(3)) - reader.logits(face)).abs().max() > 0.05
        assert reader(torch.rand(1, 3, 32, 32)).shape == reader(torch.rand(1, 3, 128, 128)).shape == (1, 2 * UNITS)


def test_features_of_one_person_are_held_together_and_those_of_people_are_not() -> None:
    random = torch.Generator().manual_seed(0)
    people, noise = (torch.randn(16, 4, 8, 8, generator=random) for _ in range(2))
    same, near, far = (feature_paired_loss(people, people + share * noise).item() for share in (0, 0.3, 2))
    assert same == 0
    assert 0.05 < near < 0.2 < 1 < far
    # Shrinking the feature as a whole pays nothing.
    assert feature_paired_loss(0.5 * people, 0.5 * (people + 0.3 * noise)).item() == pytest.approx(near, rel=0.02)


def test_half_of_the_sources_are_known_by_what_is_read_of_them(batch: SwapBatch) -> None:
    made = method()
    moved(made.generator)
    assert batch.by_side is not None
    wrong = 1 - batch.by_side
    wrong[:4] = batch.by_side[:4]
    other = SwapBatch(
        batch.face, batch.driver, batch.aus, batch.driver_aus, batch.positive, batch.driver_positive, wrong
    )
    with torch.no_grad():
        difference = (
            (made.generate(made.trained, batch).made - made.generate(made.trained, other).made).abs().mean((1, 2, 3))
        )
    assert (difference[0::2] > 1e-3).all()
    assert (difference[1::2] == 0).all()


def test_the_linear_reader_finds_what_a_feature_holds_and_nothing_in_noise() -> None:
    random = torch.Generator().manual_seed(0)
    for share, low, high in ((0.0, 0.0, 0.2), (1.0, 0.6, 1.2)):
        probe = FeatureProbe(8, 2, 3)

        def sample(count: int, share: float = share) -> tuple[Tensor, Tensor]:
            units = torch.rand(count, 3, generator=random)
            free = torch.rand(count, 2, 8, 8, generator=random)
            free[:, 0, :2, :6] += share * 3 * units.repeat_interleave(2, 1)[:, None]
            return free, units

        for _ in range(60):
            probe.learn(*sample(64))
        free, units = sample(256)
        told = probe.linear(free)
        assert low <= (told.square().mean(0) / probe.variances()).mean().item() <= high
        correlation = torch.corrcoef(torch.stack([told[:, 0], units[:, 0]]))[0, 1]
        assert (correlation > 0.9) == bool(share)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": {"mask": True}}, "leave mask and warp out"),
        ({"method": {"related": 8}}, "remove method.related"),
        ({"loss": {"paired": {"weight": 0}}}, "learns by loss.paired"),
        ({"loss": {"swap": {"weight": 1}}}, "set loss.swap.weight to 0"),
        ({"method": {"basis": False}}, "loss.paired.change is for method.basis"),
        ({"method": {"basis": False}, "loss": {"paired": {"weight": 60}}}, "loss.feature_paired is for method.basis"),
        (
            {"method": {"basis": False}, "loss": {"paired": {"weight": 60, "exchanged": True}}},
            "loss.paired.exchanged is for method.basis",
        ),
    ],
)
def test_what_a_basis_leaves_nothing_to_is_refused(settings: dict[str, dict[str, object]], words: str) -> None:
    whole = {"data": {"dir": "x"}, "method": {"name": "eft", "basis": True}, "loss": LOSS}
    Experiment.model_validate(whole)
    for section, values in settings.items():
        whole = whole | {section: whole[section] | values}  # type: ignore[dict-item, operator]
    with pytest.raises(ValueError, match=words):
        Experiment.model_validate(whole)
