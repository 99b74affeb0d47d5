"""The map of action units: fitted to training people's faces alone, and near what the encoder gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.networks.fit import real_inputs
from visage.judging.networks.train import FaceNetworks
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import fit_unit_map

Judged = tuple[FaceSet, FaceNetworks]
NAN = float("nan")


@pytest.fixture(scope="module")
def carrier() -> Disentangler:
    torch.manual_seed(0)
    return Disentangler(64, 8, 8, len(AUS)).eval()


def test_it_gives_back_the_features_of_faces_it_never_saw(judged: Judged, carrier: Disentangler) -> None:
    faces, _ = judged
    found = fit_unit_map(carrier, faces)
    shown = {1, 2, 5, 6, 12, 26}  # by happy and surprised faces
    assert {au for au, known in zip(AUS, found.known.tolist(), strict=True) if known} == shown
    with torch.inference_mode():
        related = carrier.related(real_inputs(faces, faces.part("test"), "cpu"))
        read = carrier.intensities(related)
        guessed = found(related, read, torch.full_like(read, NAN))
        spread = (related - related.mean(0)).square().sum()
        assert (guessed - related).square().sum() < 0.4 * spread
        for place, au in enumerate(AUS):
            asked = torch.full_like(read, NAN)
            asked[:, place] = 1
            assert (found(related, read, asked) != guessed).any().item() == (au in shown)


def test_no_face_of_other_people_than_those_of_the_training_has_a_part_in_it(
    judged: Judged, carrier: Disentangler
) -> None:
    faces, _ = judged
    other = np.array(faces.faces)
    other[np.flatnonzero(faces.split != "train")] = 0
    found, again = fit_unit_map(carrier, faces), fit_unit_map(carrier, replace(faces, faces=other))
    assert torch.equal(found.out.weight, again.out.weight)
    other[faces.part("train")[:20]] = 0
    assert not torch.equal(found.out.weight, fit_unit_map(carrier, replace(faces, faces=other)).out.weight)
