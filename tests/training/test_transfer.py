"""EFT in the loop that UC-GAN trains in: the same equalities hold."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.test_loop import ignore, weights
from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.pictures import to_faces
from visage.training import checkpoint
from visage.training.loop import train
from visage.training.progress import Progress
from visage.training.trainer import Place, Trainer

Judged = tuple[FaceSet, FaceNetworks]


@pytest.fixture(scope="module")
def transfer(judged: Judged) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"dir": str(judged[0].dir), "size": 64},
            "method": {"name": "eft", "width": 8, "discriminator_width": 8, "related": 8},
            "loss": {"triplet": {"weight": 0.5}},
            "train": {"images": 16, "batch": 4, "evaluate_every": 8, "evaluate_pairs": 16},
            "judge": {"images": 4000},
        }
    )


def test_resume_equals_no_interruption_and_all_is_reported(
    judged: Judged, transfer: Experiment, tmp_path: Path
) -> None:
    faces, networks = judged
    points: list[Progress] = []
    last = train(transfer, faces, tmp_path / "whole", points.append, networks=networks)

    def stop(point: Progress) -> None:
        if point.metrics is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(transfer, faces, tmp_path / "cut", stop, networks=networks)
    assert checkpoint.load(tmp_path / "cut" / "checkpoint")["images"] == 8
    train(transfer, faces, tmp_path / "cut", ignore, networks=networks, resume=tmp_path / "cut" / "checkpoint")
    assert weights(tmp_path / "cut" / "checkpoint") == weights(tmp_path / "whole" / "checkpoint")
    parts = {"action_units", "reconstruction", "cross_cycle", "feature_adversarial", "swap", "adversarial", "triplet"}
    assert parts | {"d_real", "d_fake", "d_own", "d_swapped", "d_feature"} <= set(last.losses)
    assert {"score", "au_agreement", "au_correlation", "identity_similarity"} <= set(last.metrics or {})
    assert last.faces
    assert last.faces.is_file()
    assert last.checkpoint
    generator, trained, _ = checkpoint.load_generator(last.checkpoint)
    assert trained == transfer
    assert isinstance(generator, Disentangler)
    with pytest.raises(UserError, match="other networks"):
        Trainer(replaced(transfer, {"method.related": 16}), faces, networks, Place()).restore(last.checkpoint)


def test_the_same_seed_gives_the_same_networks_and_another_does_not(judged: Judged, transfer: Experiment) -> None:
    faces, networks = judged
    made = []
    for seed in (0, 0, 1):
        trainer = Trainer(replaced(transfer, {"train.seed": seed}), faces, networks, Place())
        trainer.step()
        made.append(torch.cat([value.flatten() for value in trainer.weights.values()]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_batch_is_of_two_people_whatever_its_size(judged: Judged, transfer: Experiment) -> None:
    faces, networks = judged
    batches = Trainer(transfer, faces, networks, Place()).batches
    whole, second = batches.at(0, 4), batches.at(2, 2)
    torch.testing.assert_close(whole.driver[2:], second.driver)
    torch.testing.assert_close(whole.aus[2:], second.aus)
    pictures, _ = batches.swaps.batch(0, 64)  # type: ignore[union-attr]
    face, driver, positive, driver_positive = pictures
    assert set(faces.split[pictures.reshape(-1)]) == {"train"}
    assert (faces.identity[face] != faces.identity[driver]).all()
    assert (faces.expression[face] != faces.expression[driver]).all()
    for own, other in ((face, positive), (driver, driver_positive)):
        assert (faces.identity[own] == faces.identity[other]).all()
        assert (own != other).all()
    assert len(np.unique(face)) > 30


def test_training_learns_to_read_units(judged: Judged, transfer: Experiment) -> None:
    faces, networks = judged
    quick = {"train.images": 4000, "loss.cross_cycle.weight": 0, "loss.swap.weight": 0, "loss.adversarial.weight": 0,
             "loss.triplet.weight": 0, "optim.rate": 0.002}  # fmt: skip
    trainer = Trainer(replaced(transfer, quick), faces, networks, Place())
    read = [trainer.step()["action_units"].item() for _ in range(60)]
    assert sum(read[-10:]) < 0.7 * sum(read[:10])


def test_the_same_picture_twice_comes_back_nearly_unchanged(judged: Judged, transfer: Experiment) -> None:
    faces, networks = judged
    quick = {"train.images": 4000, "method.mask": True, "loss.swap.weight": 0, "loss.adversarial.weight": 0,
             "loss.triplet.weight": 0, "loss.cross_cycle.weight": 0, "loss.reconstruction.weight": 20,
             "optim.rate": 0.002, "optim.ema_images": 40}  # fmt: skip
    trainer = Trainer(replaced(transfer, quick), faces, networks, Place())
    own = to_faces(torch.from_numpy(np.asarray(faces.faces[faces.part("test")[:24]])))

    def change() -> float:
        with torch.inference_mode():
            return float((trainer.averaged()(own, own) - own).abs().mean()) * 127.5

    untrained = change()
    for _ in range(80):
        trainer.step()
    assert change() < 6 < untrained


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": {"pairing": {"weight": 1}}}, "loss.pairing is for method ucgan, and the method is eft; remove it"),
        ({"method": {"name": "ucgan", "related": 8}}, "method.related is for method eft"),
        ({"method": {"name": "ucgan"}, "loss": {"swap": {"weight": 2}}}, "loss.swap is for method eft"),
    ],
)
def test_a_setting_of_the_other_method_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Experiment.model_validate({"data": {"dir": "x"}, "method": {"name": "eft"}} | settings)


def test_least_squares_and_no_triplet_are_usual_for_eft_and_can_be_changed() -> None:
    usual = Experiment.model_validate({"data": {"dir": "x"}, "method": {"name": "eft"}})
    assert (usual.loss.adversarial.form, usual.loss.triplet.weight) == ("least_squares", 0)
    assert Experiment.model_validate_json(usual.model_dump_json()) == usual
    other = {"adversarial": {"form": "hinge"}, "triplet": {"weight": 1}}
    chosen = Experiment.model_validate({"data": {"dir": "x"}, "method": {"name": "eft"}, "loss": other})
    assert (chosen.loss.adversarial.form, chosen.loss.triplet.weight) == ("hinge", 1)
    assert Experiment.model_validate({"data": {"dir": "x"}}).loss.triplet.weight == 1


def test_a_basis_trains_in_the_same_loop_and_goes_on_where_it_stopped(
    judged: Judged, transfer: Experiment, tmp_path: Path
) -> None:
    faces, networks = judged
    none = {f"loss.{name}.weight": 0 for name in ("reconstruction", "cross_cycle", "swap", "adversarial", "triplet")}
    of_basis = {"method.basis": True, "method.related": 32, "loss.paired.weight": 60, "loss.paired.change": 8}
    chosen = replaced(transfer, none | of_basis)
    whole, cut = (Trainer(chosen, faces, networks, Place()) for _ in range(2))
    assert {"action_units", "paired", "feature_adversarial", "d_feature"} <= set(whole.step(gradients=True))
    assert whole.method.generator.basis.maps.abs().max() > 0
    cut.step()
    cut.save(tmp_path / "cut")
    again = Trainer(chosen, faces, networks, Place())
    again.restore(tmp_path / "cut")
    for trainer in (whole, again):
        trainer.step()
    assert all(torch.equal(value, again.weights[name]) for name, value in whole.weights.items())
    moments = whole.method.discriminator.moments
    assert torch.equal(moments, again.method.discriminator.moments)
    assert moments[0, 0] > 0
    without = replaced(chosen, {"loss.feature_adversarial.weight": 0})
    assert "d_feature" not in Trainer(without, faces, networks, Place()).step()
