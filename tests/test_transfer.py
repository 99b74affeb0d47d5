"""`visage transfer`: from two photographs to one, batches of drivers, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.faces.photos import face, photograph, save
from tests.serve_app.samples import make_bundle
from visage.editing import edit
from visage.errors import UserError
from visage.faces.provenance import read_provenance
from visage.pictures import transfer_photo
from visage.transfer import transfer


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", method="eft")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    shown = [(1, "neutral"), (2, "happy"), (3, "surprise")]
    return [save(tmp_path / f"{name}{person}.png", photograph(face(person, name))) for person, name in shown]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_driver_changes_the_face_and_leaves_the_photograph(bundle: Any, photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    transfer(photos[0], [photos[1]], [out], bundle)
    before, after = read(photos[0]), read(out)
    assert before.shape == after.shape
    assert (before[:10] == after[:10]).all()
    assert np.abs(before[100:156, 100:156] - after[100:156, 100:156]).mean() > 1
    provenance = read_provenance(out)
    assert provenance
    assert provenance.model == "visage-eft"


def test_several_drivers_fill_a_folder_each_as_if_alone(bundle: Any, photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    written = transfer_photo(
        photos[0], photos[1:], folder, str(bundle.dir), None, "face", f"sqlite:///{tmp_path}/mlflow.db"
    )
    assert [path.name for path in written] == ["01-happy2.png", "02-surprise3.png"]
    for driver, path in zip(photos[1:], written, strict=True):
        transfer(photos[0], [driver], [tmp_path / "alone.png"], bundle, view="face")
        assert np.abs(read(tmp_path / "alone.png") - read(path)).max() <= 1
    assert (read(written[0]) != read(written[1])).any()
    with pytest.raises(UserError, match="with 2 drivers it must be a folder"):
        transfer_photo(
            photos[0], photos[1:], tmp_path / "a.png", str(bundle.dir), None, "face", f"sqlite:///{tmp_path}/mlflow.db"
        )


@pytest.mark.parametrize("place", [0, 1])
def test_a_picture_without_a_face_is_named(bundle: Any, photos: list[Path], tmp_path: Path, place: int) -> None:
    blank = save(tmp_path / "blank.png", np.full((200, 200, 3), 120, np.uint8))
    pair = [photos[0], photos[1]]
    pair[place] = blank
    with pytest.raises(UserError, match=r"blank\.png: .*face"):
        transfer(pair[0], [pair[1]], [tmp_path / "out.png"], bundle)
    assert not (tmp_path / "out.png").exists()


def test_a_driver_whose_eyes_are_covered_is_named_and_one_whose_mouth_is_answered(
    bundle: Any, photos: list[Path], tmp_path: Path
) -> None:
    pieces = {"eyes": (slice(30, 72), slice(0, 128)), "mouth": (slice(75, 120), slice(30, 100))}
    for name, piece in pieces.items():
        covered = face(2, "happy").copy()
        covered[piece] = 20
        save(tmp_path / f"{name}.png", photograph(covered))
    with pytest.raises(UserError, match=r"eyes\.png: no face"):
        transfer(photos[0], [tmp_path / "eyes.png"], [tmp_path / "a.png"], bundle)
    transfer(photos[0], [tmp_path / "mouth.png"], [tmp_path / "b.png"], bundle)
    # What it makes of such a driver changes the face alone.
    assert (read(tmp_path / "b.png")[:10] == read(photos[0])[:10]).all()


def test_each_method_s_bundle_is_refused_by_the_other_s_command(
    bundle: Any, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    with pytest.raises(UserError, match=r"is of method eft and this takes ucgan; use visage transfer"):
        edit(photos[0], out, bundle, "happy")
    other = make_bundle(tmp_path / "ucgan")
    with pytest.raises(UserError, match=r"is of method ucgan and this takes eft; use visage edit"):
        transfer(photos[0], [photos[1]], [out], other)
