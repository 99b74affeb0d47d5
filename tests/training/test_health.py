"""How a run says that it does not do well."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks
from visage.models.discriminator import Answer, PatchDiscriminator
from visage.training import checkpoint
from visage.training.health import discriminator_warning
from visage.training.loop import train
from visage.training.progress import Diverged, Progress
from visage.training.trainer import Place, Trainer

Judged = tuple[FaceSet, FaceNetworks]


def ignore(point: Progress) -> None:
    pass


@pytest.mark.parametrize("images", [8, 64])  # at the first step, and between two reports
def test_a_run_that_diverges_ends_and_leaves_the_checkpoint_before(
    judged: Judged, experiment: Experiment, tmp_path: Path, images: int
) -> None:
    faces, networks = judged
    good = replaced(experiment, {"train.images": 16, "train.evaluate_every": 16})
    train(good, faces, tmp_path, ignore, networks=networks)
    before = (tmp_path / "checkpoint" / checkpoint.FILE).read_bytes()
    # Beyond the largest float32: the loss is infinite from its first step on.
    broken = replaced(good, {"train.images": 16 + images, "train.evaluate_every": 1000, "loss.pixel.weight": 1e39})
    with pytest.raises(Diverged, match=r"images: the run diverged; lower optim\.rate"):
        train(broken, faces, tmp_path, ignore, networks=networks, resume=tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / checkpoint.FILE).read_bytes() == before


def test_a_gradient_whose_square_is_not_finite_is_seen(judged: Judged, experiment: Experiment, tmp_path: Path) -> None:
    # The weights stay finite then: Adam divides by infinity, and they never move again.
    frozen = replaced(experiment, {"loss.pixel.weight": 1e30, "train.images": 16})
    with pytest.raises(Diverged, match="the run diverged"):
        train(frozen, judged[0], tmp_path, ignore, networks=judged[1])


def test_a_batch_that_no_memory_holds_is_refused_before_it_is_drawn(judged: Judged, experiment: Experiment) -> None:
    with pytest.raises(UserError, match=r"train\.batch = 100000000: a step needs about \d+ GiB.*use \d+ or less"):
        Trainer(replaced(experiment, {"train.batch": 100_000_000}), *judged, Place())


def test_each_part_s_pull_is_reported_and_does_not_depend_on_the_batch(judged: Judged, experiment: Experiment) -> None:
    exact = replaced(experiment, {"train.precision": "float32", "loss.triplet.margin": 2.0})

    def pulls(batch: int) -> dict[str, float]:
        trainer = Trainer(replaced(exact, {"train.batch": batch}), *judged, Place())
        trainer.optimisers["discriminator"].step = lambda: None  # its step would depend on the batch's noise
        return {name: value.item() for name, value in trainer.step(gradients=True).items() if "/" in name}

    few, many = pulls(16), pulls(64)
    names = {"gradient/adversarial", "gradient/pixel", "gradient/triplet", "active/triplet"}
    assert set(few) == set(many) == names
    assert 0 < few["active/triplet"] <= 1
    for name in names:
        assert few[name] == pytest.approx(many[name], rel=0.3)
    double = Trainer(replaced(exact, {"loss.pixel.weight": 200, "train.batch": 16}), *judged, Place())
    assert double.step(gradients=True)["gradient/pixel"].item() == pytest.approx(2 * few["gradient/pixel"], rel=1e-4)


@pytest.mark.parametrize("form", ["log", "hinge", "least_squares"])
def test_a_discriminator_that_gave_up_is_told_of(form: str) -> None:
    loss = Experiment.model_validate({"data": {"dir": "x"}, "loss": {"adversarial": {"form": form}}}).loss
    healthy = {"d_real": 0.5, "d_fake": 0.2, "gradient/adversarial": 0.05}
    silent = healthy | {"gradient/adversarial": 0.0}
    won = healthy | {"d_real": 0.0, "d_fake": 1e-4}
    assert discriminator_warning([healthy] * 5, loss, 1000) is None
    assert discriminator_warning([silent] * 4 + [healthy], loss, 1000) is None
    assert discriminator_warning([won] * 2, loss, 1000) is None  # too short to say
    for points, word in (([silent] * 5, "same answer"), ([won] * 5, "stopped learning")):
        warning = discriminator_warning(points, loss, 1000)
        assert warning
        assert word in warning
        assert warning.startswith("1000 images: the discriminator")


def test_a_collapsed_discriminator_shows_in_the_run_s_points(
    judged: Judged, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(self: PatchDiscriminator, inputs: Tensor, faces: Tensor, condition: Tensor) -> Answer:
        logits = self.out.bias.expand(len(faces), 1, 1, 1) + 0 * faces.mean()
        return Answer(logits, [], None)

    points: list[Progress] = []
    short = replaced(experiment, {"train.images": 64, "train.evaluate_every": 32})
    train(short, *judged[:1], tmp_path, points.append, networks=judged[1])
    assert [point.warning for point in points if point.metrics] == [None, None]
    monkeypatch.setattr(PatchDiscriminator, "forward", deaf)
    last = train(short, judged[0], tmp_path, ignore, networks=judged[1])
    assert last.warning
    assert "same answer" in last.warning
    assert Progress.from_json(last.to_json()) == last


def test_a_batch_beyond_the_memory_is_one_sentence(
    judged: Judged, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(trainer: Trainer, gradients: bool = False) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "step", step)
    faces, networks = judged
    with pytest.raises(UserError, match=r"train\.batch = 8.*lower it"):
        train(experiment, faces, tmp_path, ignore, networks=networks)
