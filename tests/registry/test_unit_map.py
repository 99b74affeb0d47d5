"""The map of action units in a transfer's bundle: it travels, is covered by a hash, and may be missing."""

from pathlib import Path

import pytest
import torch

from tests.serve_app.samples import UNITS, forge, make_bundle, make_unit_map
from visage.errors import UserError
from visage.faces.facs import AUS
from visage.methods.eft import UNITS as FILE
from visage.registry.bundle import read_bundle
from visage.registry.card import MODEL_CARD


def test_it_is_read_as_it_was_written_and_the_card_tells_of_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", method="eft")
    found = bundle.extras()[FILE]
    assert [au for au, known in zip(AUS, found.known.tolist(), strict=True) if known] == list(UNITS)
    read, asked = torch.rand(3, len(AUS)), torch.full((3, len(AUS)), float("nan"))
    asked[:, 2] = 0.5
    told = found(torch.zeros(3, 8), read, asked)
    read[:, 2] = 0.5
    torch.testing.assert_close(told, found.out(read))
    assert "action units by their FACS numbers" in (bundle.dir / MODEL_CARD).read_text()


def test_a_changed_one_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", method="eft").dir
    content = bytearray((folder / FILE).read_bytes())
    content[-1] ^= 1
    (folder / FILE).write_bytes(content)
    with pytest.raises(UserError, match=rf"{FILE}: its sha256"):
        read_bundle(folder)
    (folder / FILE).unlink()
    with pytest.raises(UserError, match=rf"{FILE} is missing"):
        read_bundle(folder)


def test_one_of_other_networks_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = make_bundle(tmp_path / "bundle", method="eft").dir
    save_file(make_unit_map(UNITS, related=9).state_dict(), folder / FILE)
    forge(folder)
    with pytest.raises(UserError, match=rf"{FILE}: out\.\w+ has the shape"):
        read_bundle(folder)


def test_a_bundle_without_one_is_whole_and_one_of_ucgan_has_none(tmp_path: Path) -> None:
    older = make_bundle(tmp_path / "older", method="eft", units=())
    assert not (older.dir / FILE).exists()
    assert not older.extras()
    assert "action units by their" not in (older.dir / MODEL_CARD).read_text()
    folder = make_bundle(tmp_path / "ucgan").dir
    (folder / FILE).write_bytes((make_bundle(tmp_path / "eft", method="eft").dir / FILE).read_bytes())
    card = read_bundle(folder).card
    forge(folder, files=card.files | {FILE: ""})
    with pytest.raises(UserError, match=rf"{FILE} is no file of a model of ucgan"):
        read_bundle(folder)
