"""Training batches: what augmentation may do to a face, and what it must leave alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from visage.config.data import Data, Shares
from visage.config.experiment import Augment, Train
from visage.errors import UserError
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.facs import AUS
from visage.faces.layouts import Row
from visage.faces.prepare import prepare_if_absent
from visage.faces.synthetic.people import picture_of
from visage.judging.networks.train import FaceNetworks
from visage.methods.by_expression.batches import NamedBatches
from visage.methods.eft.batches import SwapBatches
from visage.methods.pictures import augmented, to_faces

CPU = torch.device("cpu")
EXPRESSIONS = ("neutral", "happy", "contempt")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """12 procedural people, one of whose three expressions is one-sided."""
    rows, pictures = [], []
    for person in range(12):
        for expression in EXPRESSIONS:
            row, face = picture_of(person, expression, 0, 64, seed=3)
            rows.append(Row(Path(f"{len(rows)}.png"), row.identity, expression))
            pictures.append(face)
    out = tmp_path_factory.mktemp("contempt") / "faces"
    shares = Shares(train=0.6, validation=0.2, test=0.2)
    return write_face_set(out, rows, pictures, name="c", layout="synthetic", size=64, shares=shares)


def only_flipped() -> Augment:
    return Augment(shift=0, scale=0, rotate=0, light=0, colour=0)


def test_the_faces_of_a_tuple_are_mirrored_alike_and_one_sided_ones_never(faces: FaceSet) -> None:
    train = Train(augment=only_flipped())
    batches = NamedBatches(faces, train, CPU)
    batch, drawn = batches.at(0, 200), batches.tuples.batch(0, 200)
    contempt = faces.expressions.index("contempt")
    mirrored = []
    for place in range(200):
        stored = [to_faces(torch.from_numpy(faces.faces[[k]])) for k in drawn.pictures[:, place]]
        seen = [getattr(batch, name)[[place]] for name in ("face", "target", "positive", "other", "negative")]
        as_is = [torch.allclose(a, b, atol=1e-2) for a, b in zip(seen, stored, strict=True)]
        flipped = [torch.allclose(a, b.flip(3), atol=1e-2) for a, b in zip(seen, stored, strict=True)]
        assert all(as_is) or all(flipped)
        mirrored.append(all(flipped))
    shown = np.stack([faces.expression[drawn.pictures[0]], drawn.targets])
    one_sided = (shown == contempt).any(axis=0)
    assert not np.array(mirrored)[one_sided].any()
    assert 0.3 < np.array(mirrored)[~one_sided].mean() < 0.7


def test_a_transfer_s_pictures_are_mirrored_with_their_units_and_never_those_of_one_side(faces: FaceSet) -> None:
    """AU 14 is told to the right alone; maps of it on the left would show there what nobody asked for."""
    batches = SwapBatches(faces, Train(augment=only_flipped()), CPU)
    drawn = batches.draw(0, 200)
    pictures = batches.swaps.batch(0, 200)[0]
    mirrored = (drawn.augmentation[:, 0] < 0).reshape(4, 200)
    assert (mirrored[:2] == mirrored[2:]).all()  # a picture and the other one of its person
    contempt = faces.expression[pictures] == faces.expressions.index("contempt")
    one_sided = np.tile(contempt[:2] | contempt[2:], (2, 1))
    assert one_sided.any()
    assert not mirrored[one_sided].any()
    assert 0.3 < mirrored[~one_sided].mean() < 0.7
    assert (drawn.numbers[2][:, AUS.index(14)] == 0).all()  # on the left


@pytest.mark.slow
def test_another_person_who_shows_the_same_units_is_changed_as_the_face_is(faces: FaceSet, tmp_path: Path) -> None:
    drawn = {"layout": "synthetic", "people": 14, "pictures": 1, "size": 32, "units": 8}
    made = prepare_if_absent(Data.model_validate({"dir": tmp_path / "units", **drawn}))
    batches = SwapBatches(made, Train(augment=only_flipped()), CPU, exchanged=True)
    batch, pictures = batches.at(0, 60), batches.swaps.batch(0, 60)[0]
    shown, mirrored = pictures[:2].reshape(-1), batches.draw(0, 60).augmentation[:120, 0] < 0
    assert batch.same is not None
    others = batches.others
    assert others is not None
    for seen, stored in ((torch.cat([batch.face, batch.driver]), shown), (batch.same, others[shown])):
        plain = to_faces(torch.from_numpy(made.faces[stored]))
        as_it_was = torch.where(torch.from_numpy(mirrored)[:, None, None, None], seen.flip(3), seen)
        torch.testing.assert_close(as_it_was, plain, atol=1e-2, rtol=0)
    assert mirrored.any()
    assert (made.identity[others[shown]] != made.identity[shown]).mean() > 0.5
    with pytest.raises(UserError, match=r"no two people who show exactly the same action units, as loss\.paired\.exch"):
        SwapBatches(faces, Train(), CPU, exchanged=True)


def test_without_the_wish_no_tuple_is_mirrored(faces: FaceSet) -> None:
    batches = NamedBatches(
        faces, Train(augment=Augment(flip=False, shift=0, scale=0, rotate=0, light=0, colour=0)), CPU
    )
    drawn = batches.tuples.batch(0, 40)
    expected = to_faces(torch.from_numpy(np.asarray(faces.faces[drawn.pictures[0]])))
    torch.testing.assert_close(batches.at(0, 40).face, expected, atol=1e-2, rtol=0)


def test_augmentation_keeps_the_expression(judged: tuple[FaceSet, FaceNetworks]) -> None:
    """By the expression judge, which saw no test people, at the default strength."""
    made, networks = judged
    test = made.part("test")
    plain = to_faces(torch.from_numpy(np.asarray(made.faces[test])))
    truth = torch.from_numpy(made.expression[test])
    tuples = NamedBatches(made, Train(), CPU).tuples
    parameters = torch.from_numpy(np.stack([tuples.draw(k).augmentation for k in range(len(test))]))
    with torch.no_grad():
        before = networks.expression_judge(plain).argmax(1)
        after = networks.expression_judge(augmented(plain, parameters)).argmax(1)
    assert (before == truth).float().mean() > 0.9
    assert (after == truth).float().mean() > 0.9
