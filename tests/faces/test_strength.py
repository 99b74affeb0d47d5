"""How strong an expression is, measured on faces whose strength is known, as it was drawn."""

from pathlib import Path

import numpy as np
import pytest

from visage.config.data import Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.facs import prototype
from visage.faces.layouts import Row
from visage.faces.strength import LEAST, MOST, strengths
from visage.faces.synthetic import render, traits
from visage.faces.synthetic.muscles import Nuisance

PEOPLE = 24
DRAWN = np.random.default_rng(0).uniform(0.2, 1, PEOPLE)


def face(person: int, expression: str, share: float, light: int) -> np.ndarray:
    units = {au: share * much for au, much in prototype(expression).items()}
    return render(traits(person), units, 64, Nuisance.drawn(np.random.default_rng([0x4E, light])))


@pytest.fixture(scope="module")
def smiles(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """Everybody at rest and smiling, each so far as DRAWN says; the last one shows no face at rest."""
    rows, faces = [], []
    for person in range(PEOPLE):
        for expression, share in (("neutral", 0.0), ("happy", DRAWN[person])):
            if (person, expression) != (PEOPLE - 1, "neutral"):
                rows.append(Row(Path(), f"{person:02d}", expression, "0"))
                faces.append(face(person, expression, share, person))
    out = tmp_path_factory.mktemp("strength") / "set"
    return write_face_set(out, rows, faces, name="smiles", layout="folder", size=64, shares=Shares())


def test_a_smile_that_is_drawn_stronger_is_measured_stronger(smiles: FaceSet) -> None:
    measured = strengths(smiles, np.arange(len(smiles.identity)))
    happy = smiles.expressions.index("happy")
    shown = [measured[(smiles.identity == f"{p:02d}") & (smiles.expression == happy)][0] for p in range(PEOPLE - 1)]
    ranks = [np.argsort(np.argsort(values)) for values in (shown, DRAWN[:-1])]
    assert np.corrcoef(*ranks)[0, 1] > 0.8
    assert LEAST <= min(shown) < 0.6 < 1 <= max(shown) <= MOST


def test_what_cannot_be_measured_is_full(smiles: FaceSet) -> None:
    measured = strengths(smiles, np.arange(len(smiles.identity)))
    assert (measured[smiles.expression == smiles.expressions.index("neutral")] == 1).all()
    assert (measured[smiles.identity == f"{PEOPLE - 1:02d}"] == 1).all()
    few = strengths(smiles, np.flatnonzero(smiles.identity < "08"))
    assert (few[smiles.identity >= "08"] == 1).all()
