"""What the renderer answers where a face is to show the action units of another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.faces.sets import data
from visage.faces.faceset import PROTOTYPE, FaceSet
from visage.faces.prepare import prepare_if_absent
from visage.faces.synthetic import exchanged, picture_of
from visage.judging.pairs import Pairings
from visage.methods.eft.judging.drawn import drawn_exchanged


def made(faces: FaceSet, source: np.ndarray, driver: np.ndarray) -> np.ndarray:
    make = drawn_exchanged(faces, "cpu")
    assert make is not None
    return make(Pairings(source, driver, source)).permute(0, 2, 3, 1).numpy()


@pytest.mark.slow
def test_the_true_answer_is_the_source_under_the_driver_s_units(tmp_path: Path) -> None:
    faces = prepare_if_absent(data(tmp_path / "faces", layout="synthetic", turn=15, fine=True))
    kinds = {Path(str(path)).stem.rpartition("_")[2] for path in faces.path}
    assert kinds == {"0", "0-half", "0-one-sided"}
    own = np.arange(0, len(faces.path), 3)
    real = np.asarray(faces.faces[own]) / 127.5 - 1
    # Under its own units a face is what it was, but for the digits of the labels.
    assert np.abs(made(faces, own, own) - real).max() < 0.05
    other = np.roll(own, 3)  # of another person, with another expression
    changed = np.abs(made(faces, own, other) - real)
    assert changed.mean() > 0.005
    assert changed[:, :4, :4].max() < 1e-6  # the backdrop


def test_only_faces_that_were_drawn_have_a_true_answer(tmp_path: Path) -> None:
    faces = prepare_if_absent(data(tmp_path / "faces", layout="synthetic"))
    assert drawn_exchanged(faces, "cpu") is not None
    assert drawn_exchanged(replace(faces, facts=faces.facts | {"settings": {}}), "cpu") is None
    labelled = replace(faces, layout="folder", facts=faces.facts | {"action_units": PROTOTYPE})
    assert drawn_exchanged(labelled, "cpu") is None


def test_a_picture_with_its_own_units_is_that_picture() -> None:
    for variant in ("full", "half", "one-sided"):
        row, picture = picture_of(3, "happy", 1, 64, 7, turn=15, variant=variant)
        units = dict(zip((1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 27), row.aus.tolist(), strict=True))
        again = exchanged(units, row.lopsided, 3, "happy", 1, 64, 7, turn=15, variant=variant)
        np.testing.assert_array_equal(again, picture)
        assert (exchanged({26: 1.0}, 0, 3, "happy", 1, 64, 7, turn=15, variant=variant) != picture).any()
