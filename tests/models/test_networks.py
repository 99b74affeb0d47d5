from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.errors import UserError
from visage.methods import method_of
from visage.models.condition import conditions
from visage.models.discriminator import PatchDiscriminator
from visage.models.identity import CompactEncoder, FaceNet, load_embedding
from visage.models.layers import ConditionedNorm, Norm, NormWithGradient
from visage.models.unet import UNet, upsampled_conv

NETWORKS = {
    "unet": lambda: UNet(32, 8, 3),
    "masked unet": lambda: UNet(32, 8, 3, mask=True),
    "encoder": lambda: CompactEncoder(dimensions=8),
}


def faces(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def ask(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return network(x, torch.eye(3)[torch.arange(len(x)) % 3]) if isinstance(network, UNet) else network(x)


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
@pytest.mark.parametrize("mask", [False, True])
def test_unet_keeps_size_and_range(size: int, mask: bool) -> None:
    out = ask(UNet(size, 8, 3, mask=mask), faces(1, size))
    assert out.shape == (1, 3, size, size)
    assert out.abs().max() <= 1


@pytest.mark.parametrize(("mask", "warp"), [(False, False), (True, False), (True, True)])
def test_in_bfloat16_the_faces_are_nearly_the_same(mask: bool, warp: bool) -> None:
    network = UNet(32, 8, 3, mask=mask, warp=warp)
    x, condition = faces(2), torch.eye(3)[:2]
    with torch.no_grad():
        exact = network(x, condition)
        near = network.to(torch.bfloat16)(x.to(torch.bfloat16), condition.to(torch.bfloat16))
    assert near.dtype == torch.float32
    assert (near - exact).abs().mean() < 2 / 127.5


def test_under_cudas_autocast_pictures_stay_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of CUDA's number formats FakeTensorMode knows as much as CUDA does."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode()
    with fake, torch.device("cuda"):
        picture, embedding = torch.empty(2, 16, 8, 8, dtype=torch.bfloat16), torch.empty(2, 4)
        norms = [ConditionedNorm(16, 4), Norm(16)]
    for name in ("is_available", "is_bf16_supported"):  # or autocast does nothing on this machine
        monkeypatch.setattr(torch.cuda, name, lambda *args, **kwargs: True)
    with fake, torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.nn.functional.group_norm(picture, 2).dtype == torch.float32
        assert norms[0](picture, embedding).dtype == torch.bfloat16
        assert norms[1](picture).dtype == torch.bfloat16


@pytest.mark.parametrize("size", [0, 16, 48, 1024])
def test_unet_refuses_other_sizes(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        UNet(size, 8, 3)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_another_condition_gives_another_picture(size: int) -> None:
    torch.manual_seed(0)
    network = UNet(size, 8, 3)
    with torch.no_grad():
        made = network(faces(1, size).repeat(3, 1, 1, 1), torch.eye(3))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        # The condition reaches the whole picture, far above rounding: a normalisation after it would remove it.
        assert (made[a] - made[b]).abs().mean() > 1e-3


def test_intensity_changes_the_picture_continuously() -> None:
    torch.manual_seed(0)
    network = UNet(32, 8, 3)
    condition = conditions(("neutral", "happy", "sad"), torch.ones(16, dtype=torch.long), torch.linspace(0, 1.5, 16))
    with torch.no_grad():
        made = network(faces(1).repeat(16, 1, 1, 1), condition)
    steps = (made[1:] - made[:-1]).abs().mean(dim=(1, 2, 3))
    assert steps.min() > 0
    assert steps.max() < 0.5 * (made[-1] - made[0]).abs().mean() + 1e-3


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [False, True])
def test_a_face_does_not_depend_on_its_batch(name: str, training: bool) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().train(training)
    x = faces(4)
    whole = ask(network, x)
    if name == "encoder":
        alone = torch.cat([ask(network, x[i : i + 1]) for i in range(4)])
    else:
        conditions = torch.eye(3)[torch.arange(4) % 3]
        with torch.no_grad():
            alone = torch.cat([network(x[i : i + 1], conditions[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-4)


def test_a_judged_pair_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    network, x, y, condition = PatchDiscriminator(8, 4, classifies=True), faces(4, 64, 1), faces(4, 64, 2), torch.eye(4)
    whole = network(x, y, condition)
    for i in range(4):
        alone = network(x[i : i + 1], y[i : i + 1], condition[i : i + 1])
        torch.testing.assert_close(whole.logits[i : i + 1], alone.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(whole.scores[i : i + 1], alone.scores, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_the_norm_s_own_gradient_is_the_gradient() -> None:
    torch.manual_seed(0)
    x, scale, shift = (torch.randn(2, 16, *side, dtype=torch.float64) for side in ((5, 6), (1, 1), (1, 1)))
    inputs = [tensor.requires_grad_() for tensor in (x, scale, shift)]
    assert torch.autograd.gradcheck(lambda *given: NormWithGradient.apply(*given, 2, 1e-5), inputs)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_norm_is_the_same_with_and_without_a_gradient(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    norm = ConditionedNorm(16, 8).to(kind)
    x, embedding = torch.randn(2, 16, 8, 8, dtype=kind), torch.randn(2, 8, dtype=kind)
    with torch.no_grad():
        plain = norm(x, embedding)
    assert torch.equal(norm(x.requires_grad_(), embedding), plain)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(2, 7), st.integers(2, 7))
def test_the_short_convolution_of_an_upsampled_picture_is_the_long_one(n: int, c: int, h: int, w: int) -> None:
    torch.manual_seed(n + c + h + w)
    x, weight = torch.randn(n, c, h, w, dtype=torch.float64), torch.randn(5, c, 3, 3, dtype=torch.float64)
    long = F.conv2d(F.interpolate(x, scale_factor=2), weight, padding=1)
    torch.testing.assert_close(upsampled_conv(x, weight), long)


def test_no_network_that_trains_keeps_batch_statistics() -> None:
    for network in [make() for make in NETWORKS.values()] + [PatchDiscriminator(8, 3)]:
        for module in network.modules():
            assert not isinstance(module, torch.nn.modules.batchnorm._BatchNorm)


def test_the_mask_leaves_hair_and_background_as_they_are() -> None:
    torch.manual_seed(0)
    network = UNet(64, 8, 3, mask=True)
    x = faces(2, 64)
    made = ask(network, x)
    outside = network.window[0] == 0
    assert outside.float().mean() > 0.3
    assert torch.equal(made[:, :, outside], x[:, :, outside])
    assert (made - x)[:, :, 32, 32].abs().max() > 0
    assert torch.equal(network.reachable(-x, x)[:, :, outside], x[:, :, outside])


def test_the_architecture_rebuilds_the_network() -> None:
    torch.manual_seed(0)
    network = UNet(64, 16, 5, mask=True)
    twin = method_of("ucgan").generator_of(network.architecture())
    twin.load_state_dict(network.state_dict())
    x, condition = faces(1, 64), torch.eye(5)[:1]
    assert torch.equal(network(x, condition), twin(x, condition))
    with pytest.raises(ValueError, match="no generator"):
        method_of("ucgan").generator_of({"name": "unet", "size": 64})


def test_the_discriminator_sees_input_face_and_condition() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(8, 3)
    x, y, condition = faces(2, 64, 1), faces(2, 64, 2), torch.eye(3)[:2]
    with torch.no_grad():
        logits, features, _ = network(x, y, condition)
        assert logits.shape == (2, 1, 8, 8)
        assert len(features) == 4
        for changed in ((x.flip(0), y, condition), (x, y.flip(0), condition), (x, y, condition.flip(0))):
            assert (network(*changed)[0] - logits).abs().mean() > 1e-4


def test_embeddings_are_unit_vectors_with_gradients_to_the_face() -> None:
    network = load_embedding("compact", CompactEncoder(dimensions=8))
    x = faces(2, 128).requires_grad_()
    vectors = network(x)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    vectors[:, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_an_embedding_s_features_come_with_the_embedding() -> None:
    from facenet_pytorch import InceptionResnetV1

    for network, size in ((CompactEncoder().eval(), 64), (FaceNet(InceptionResnetV1()).eval(), 96)):
        x = faces(2, size)
        with torch.no_grad():
            vectors, features = network.measured(x)
            torch.testing.assert_close(vectors, network(x))
        assert len(features) >= 3
        sides = [feature.shape[-1] for feature in features]
        assert sides == sorted(sides, reverse=True)


@pytest.mark.slow
def test_facenet_loads_from_a_file_and_refuses_others(tmp_path: Path) -> None:
    from facenet_pytorch import InceptionResnetV1

    path = tmp_path / "weights.pt"
    published = InceptionResnetV1(classify=True, num_classes=7)  # published files carry their classifier's head
    torch.save(published.state_dict(), path)
    network = load_embedding(str(path), CompactEncoder(dimensions=8))
    assert network(faces(1, 64)).shape == (1, 512)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"weights\.pt.*no InceptionResnetV1"):
        load_embedding(str(path), CompactEncoder(dimensions=8))
    path.write_text("no weights")
    with pytest.raises(UserError, match=r"weights\.pt"):
        load_embedding(str(path), CompactEncoder(dimensions=8))
    with pytest.raises(UserError, match="neither compact"):
        load_embedding(str(tmp_path / "absent.pt"), CompactEncoder(dimensions=8))
