"""The embedding of halves: nobody is looked at by an encoder that was fitted to him."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from visage.config.data import Shares
from visage.config.experiment import Judge
from visage.faces.align import inner_face_mask
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.faces.split import halves
from visage.faces.synthetic.people import picture_of
from visage.judging.networks.crossed import FILE, crossed_encoder, fit_crossed, half_of
from visage.judging.networks.linear import fit_identity
from visage.judging.networks.train import resized
from visage.methods.losses import triplet_loss
from visage.models.identity import CompactEncoder, CrossedEncoder, RTrunk
from visage.models.pixels import as_input

JUDGE = Judge(images=1_000)
DIMENSIONS = 12


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """40 procedural people with three expressions, 30 of them for training."""
    rows, pictures = [], []
    for person in range(40):
        for expression in ("neutral", "happy", "surprise"):
            row, face = picture_of(person, expression, 0, 64, seed=4)
            rows.append(Row(Path(f"{len(rows)}.png"), row.identity, expression))
            pictures.append(face)
    out = tmp_path_factory.mktemp("crossed") / "faces"
    shares = Shares(train=0.75, validation=0.1, test=0.15)
    made = write_face_set(out, rows, pictures, name="c", layout="synthetic", size=64, shares=shares)
    (made.dir / "networks").mkdir()
    return made


@pytest.fixture(scope="module")
def crossed(faces: FaceSet) -> CrossedEncoder:
    return fit_crossed(faces, JUDGE)


def test_halves_are_as_large_and_hold_whatever_the_order() -> None:
    names = [f"p{number}" for number in range(41)]
    dealt = halves(names)
    assert sorted(np.bincount(list(dealt.values()))) == [20, 21]
    assert halves([*reversed(names), "p3"]) == dealt


@pytest.mark.slow
def test_what_looks_at_a_half_never_saw_its_faces(faces: FaceSet, crossed: CrossedEncoder, tmp_path: Path) -> None:
    half = half_of(faces)
    learn = np.isin(np.arange(len(half)), faces.part("train"))
    for own in (0, 1):
        other = FaceSet.open(Path(shutil.copytree(faces.dir, tmp_path / str(own))))
        pixels = np.array(faces.faces)
        # Only what the other half's people show is left to fit to.
        pixels[~learn | (half == own)] = np.random.default_rng(0).integers(0, 256, pixels.shape[1:], np.uint8)
        object.__setattr__(other, "faces", pixels)
        changed = fit_crossed(other, JUDGE)
        assert torch.equal(changed.encoders[own].head.weight, crossed.encoders[own].head.weight)  # type: ignore
        assert not torch.equal(changed.encoders[1 - own].head.weight, crossed.encoders[1 - own].head.weight)  # type: ignore


@pytest.mark.slow
def test_it_is_fitted_once_and_anew_where_its_file_is_damaged(
    faces: FaceSet, crossed: CrossedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = FaceSet.open(Path(shutil.copytree(faces.dir, tmp_path / "faces")))
    path = faces.dir / "networks" / FILE
    random = torch.get_rng_state()
    for damage in (b"", b"no tensors"):
        path.write_bytes(damage)
        assert same(crossed_encoder(faces, JUDGE), crossed)
    monkeypatch.setattr(fit_crossed.__module__ + ".fit_crossed", None)
    assert same(crossed_encoder(faces, JUDGE), crossed)
    assert torch.equal(torch.get_rng_state(), random)  # what a run draws does not depend on who fitted it


def same(one: CrossedEncoder, other: CrossedEncoder) -> bool:
    own = other.state_dict()
    return all(torch.equal(value, own[name]) for name, value in one.state_dict().items())


@torch.no_grad()
@pytest.mark.slow
def test_it_knows_people_whom_it_was_not_fitted_to_but_not_by_heart(faces: FaceSet, crossed: CrossedEncoder) -> None:
    """What two true faces pay is what no generator can save: it was next to nothing by what knew them by heart."""
    learn, half = faces.part("train"), half_of(faces)
    compact = CompactEncoder(torch.from_numpy(inner_face_mask(CompactEncoder.SIDE)), DIMENSIONS)
    compact.trunk = RTrunk.pretrained()
    who = torch.from_numpy(np.unique(faces.identity[learn], return_inverse=True)[1])
    fit_identity(compact, resized(faces, learn), who, JUDGE.images, seed=6)
    first = [learn[(faces.identity[learn] == name)][:2] for name in np.unique(faces.identity[learn])]
    paid: dict[str, list[float]] = {"crossed": [], "compact": []}
    for own in (0, 1):
        pairs = np.array([two for two in first if half[two[0]] == own])
        anchor, positive = (as_input(torch.from_numpy(faces.faces[p]).permute(0, 3, 1, 2)) for p in pairs.T)
        told = torch.full((len(pairs),), own)
        for name, (a, p) in {
            "crossed": (crossed(anchor, told), crossed(positive, told)),
            "compact": (compact(anchor), compact(positive)),
        }.items():
            paid[name].append(float(triplet_loss(a, p, p.roll(1, 0), 1.0)))
    assert np.mean(paid["crossed"]) > 2 * np.mean(paid["compact"])
    assert np.mean(paid["crossed"]) < 0.6  # by chance: 1
