"""The generator's own part of the self-check in a bundle: it travels, is covered by a hash, and may be missing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.serve_app import samples
from visage.errors import UserError
from visage.methods.by_expression.editor import ExpressionEditor
from visage.methods.eft.editor import TransferEditor
from visage.models.judges import NaturalCheck
from visage.registry.bundle import read_bundle
from visage.registry.card import MODEL_CARD, NATURAL


def test_it_is_read_as_it_was_written(make_bundle, tmp_path: Path) -> None:
    torch.manual_seed(5)
    natural = NaturalCheck().eval()
    found = make_bundle(tmp_path / "bundle", natural=natural).natural()
    faces = torch.rand(2, 3, 32, 32) * 2 - 1
    assert found is not None
    assert torch.equal(found(faces), natural(faces))


def test_a_changed_one_is_refused(tmp_path: Path) -> None:
    folder = samples.make_bundle(tmp_path / "bundle").dir
    content = bytearray((folder / NATURAL).read_bytes())
    content[-1] ^= 1
    (folder / NATURAL).write_bytes(content)
    with pytest.raises(UserError, match=rf"{NATURAL}: its sha256"):
        read_bundle(folder)


@pytest.mark.parametrize(("method", "networks"), [("ucgan", ExpressionEditor), ("eft", TransferEditor)])
def test_a_model_of_an_older_visage_answers_as_before(
    method: str, networks: type[ExpressionEditor] | type[TransferEditor], tmp_path: Path
) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2, samples.SIZE, samples.SIZE, 3), np.uint8)
    asked = ([0, 1], [1, 0], [1.0, 1.0]) if method == "ucgan" else ([0, 1], [1, 0])
    told = {}
    for natural in (True, False):
        bundle = samples.make_bundle(tmp_path / f"{natural}", method=method, natural=natural)
        assert (NATURAL in bundle.card.files) == natural
        assert ("no check of damaged mouths" in (bundle.dir / MODEL_CARD).read_text()) != natural
        told[natural] = networks(bundle, self_check=True).run(faces, *asked, check=[True, False])  # type: ignore[arg-type]
    new, old = told[True], told[False]
    assert 0 < new.natural[0] < 1
    assert np.isnan(new.natural[1])
    assert np.isnan(old.natural).all()
    np.testing.assert_array_equal(old.similarity, new.similarity)
    np.testing.assert_array_equal(old.confidence, new.confidence)
