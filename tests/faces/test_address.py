"""A face set at an address must not cost a folder of one's own, and is the whole of one set or none."""

from dataclasses import replace
from pathlib import Path

import pytest

from visage.config.data import Data
from visage.errors import NotWritten, UserError
from visage.faces.faceset import FaceSet
from visage.faces.shared import opened, upload
from visage.infra.remote_store import Store
from visage.judging.networks.train import FaceNetworks

Judged = tuple[FaceSet, FaceNetworks]


def test_another_folder_is_no_copy_of_the_address(judged: Judged, tmp_path: Path) -> None:
    """As a run's record names an address, and `--from-run RUN --set data.dir=DIR` lays a folder over it."""
    place = f"file://{tmp_path}/there"
    upload(replace(judged[0], address=place))
    recorded = Data.model_validate({"dir": place})
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_bytes(b"the only one")
    laid = Data.model_validate({**recorded.model_dump(), "dir": mine})
    assert laid.address is None
    with pytest.raises(UserError, match=r"mine.*holds no face set|mine.*no face set"):
        opened(laid)
    assert (mine / "photo.jpg").read_bytes() == b"the only one"
    worker = Data.model_validate({**recorded.model_dump(), "dir": recorded.dir.absolute()})
    assert worker.address == place


def test_another_address_takes_the_place_of_the_recorded_one() -> None:
    recorded = Data.model_validate({"dir": "s3://bucket/one"})
    assert Data.model_validate({**recorded.model_dump(), "dir": "s3://bucket/two"}).address == "s3://bucket/two"


def test_half_a_set_is_no_set(judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set takes the place of the one at an address, and the bucket goes away between two files."""
    store = Store(f"file://{tmp_path}/there")
    upload(replace(judged[0], address=store.address))
    (tmp_path / "there" / "set.json").write_text("{}")  # another one
    (tmp_path / "there" / "inner").mkdir()
    (tmp_path / "there" / "inner" / "set.json").write_text("of a set below")
    send, sends = Store.send, []

    def away(self: Store, path: Path, name: str) -> None:
        sends.append(name)
        if len(sends) > 3:
            raise NotWritten("is away.")
        send(self, path, name)

    monkeypatch.setattr(Store, "send", away)
    with pytest.raises(NotWritten):
        upload(replace(judged[0], address=store.address))
    assert store.read("set.json") is None
    assert store.read("inner/set.json") == b"of a set below"


def test_a_copy_is_of_one_set(judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set takes the place of the one at an address while it is copied."""
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "there"
    upload(replace(judged[0], address=f"file://{there}"))
    asked = Data.model_validate({"dir": f"file://{there}"})
    get = Store.get

    def replacing(self: Store, folder: Path, **skipped: tuple[str, ...]) -> bool:
        done = get(self, folder, **skipped)
        (there / "set.json").write_text("{}")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "get", replacing)
        with pytest.raises(UserError, match=f"^file://{there}: another set took its place meanwhile; run"):
            opened(asked)
    assert not asked.dir.exists()
    (there / "set.json").write_bytes((judged[0].dir / "set.json").read_bytes())
    assert opened(asked).sha256 == judged[0].sha256
