"""`visage transfer`: from two photographs to one, batches of drivers, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve_app.loaded_model import compare_golden
from tests.cuda import pretended
from tests.faces.photos import face, photograph, save
from tests.serve_app.samples import make_bundle
from visage.editing.expression import edit, to_expression, to_units
from visage.errors import UserError
from visage.faces.provenance import read_provenance
from visage.methods.eft.editor import TransferEditor
from visage.methods.requests import DRIVER, EXPRESSION
from visage.workflows.pictures import edit_photo, transfer_photo


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", method="eft")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    shown = [(1, "neutral"), (2, "happy"), (3, "surprise")]
    return [save(tmp_path / f"{name}{person}.png", photograph(face(person, name))) for person, name in shown]


def transfer(photo: Path, driver: Path, out: Path, bundle: Any, view: Any = "photo") -> None:
    edit(photo, [out], bundle, bundle.editor(DRIVER), drivers=[driver], view=view)


def tell(photo: Path, units: dict[int, float], out: Path, bundle: Any) -> None:
    editor = bundle.editor(DRIVER)
    edit(photo, [out], bundle, editor, to_units(units, editor))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_driver_changes_the_face_and_leaves_the_photograph(bundle: Any, photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    transfer(photos[0], photos[1], out, bundle)
    before, after = read(photos[0]), read(out)
    assert before.shape == after.shape
    assert (before[:10] == after[:10]).all()
    assert np.abs(before[100:156, 100:156] - after[100:156, 100:156]).mean() > 1
    provenance = read_provenance(out)
    assert provenance
    assert provenance.model == "visage-eft"


def test_of_several_faces_one_is_named(bundle: Any, photos: list[Path], tmp_path: Path) -> None:
    """That one alone changes; without a number, or with one beyond, a sentence says which there are."""
    pair = save(tmp_path / "pair.png", photograph(face(1, "neutral"), face(2, "happy")))
    before = read(pair)
    half = before.shape[1] // 2
    common: Any = {"model": str(bundle.dir), "url": None, "view": "photo", "registry": f"sqlite:///{tmp_path}/none.db"}
    for number, changed in ((1, slice(None, half)), (2, slice(half, None))):
        out = tmp_path / f"{number}.png"
        assert transfer_photo(pair, [photos[1]], out, au=None, face=number, **common) == [out]
        difference = np.abs(before - read(out))
        assert difference[:, changed].max() > 0
        assert difference.sum() == difference[:, changed].sum()
    for number, words in ((None, "say which is meant, from --face 1 on the left to --face 2"), (3, "none of number 3")):
        with pytest.raises(UserError, match=words):
            transfer_photo(pair, [], tmp_path / "none.png", au=["12=1"], face=number, **common)
    with pytest.raises(UserError, match=r"pair\.png: 2 faces were found; crop it to the one that is meant\.$"):
        transfer_photo(photos[1], [pair], tmp_path / "none.png", au=None, **common)
    for several in (tmp_path, tmp_path / "clip.mp4"):
        with pytest.raises(UserError, match="--face 1: is for one photograph"):
            edit_photo(several, "happy", tmp_path / "none.mp4", 1.0, "", None, "photo", "", face=1)


@pytest.mark.slow
def test_several_drivers_fill_a_folder_each_as_if_alone(bundle: Any, photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    written = transfer_photo(
        photos[0], photos[1:], folder, str(bundle.dir), None, "face", f"sqlite:///{tmp_path}/mlflow.db"
    )
    assert [path.name for path in written] == ["01-happy2.png", "02-surprise3.png"]
    for driver, path in zip(photos[1:], written, strict=True):
        transfer(photos[0], driver, tmp_path / "alone.png", bundle, view="face")
        assert np.abs(read(tmp_path / "alone.png") - read(path)).max() <= 1
    assert (read(written[0]) != read(written[1])).any()
    with pytest.raises(UserError, match="with 2 drivers it must be a folder"):
        transfer_photo(
            photos[0], photos[1:], tmp_path / "a.png", str(bundle.dir), None, "face", f"sqlite:///{tmp_path}/mlflow.db"
        )


@pytest.mark.slow
def test_action_units_take_the_place_of_a_driver(bundle: Any, photos: list[Path], tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/mlflow.db"
    made = {}
    for name, au in {"one": ["12=0.8"], "both": ["12=0.8", "6=1"], "again": ["6=1", "12=0.8"]}.items():
        out = tmp_path / f"{name}.png"
        assert transfer_photo(photos[0], [], out, str(bundle.dir), None, "photo", store, au) == [out]
        made[name] = read(out)
    before = read(photos[0])
    assert (before[:10] == made["both"][:10]).all()
    assert (made["one"] != before).any()
    assert (made["one"] != made["both"]).any()
    assert (made["again"] == made["both"]).all()
    tell(photos[0], {12: 0.8, 6: 1}, tmp_path / "told.png", bundle)
    assert (read(tmp_path / "told.png") == made["both"]).all()
    assert read_provenance(tmp_path / "both.png")


def test_what_is_not_named_stays_as_the_model_reads_it(bundle: Any) -> None:
    carrier = TransferEditor(bundle)
    faces = np.stack([face(1, "happy", 32), face(2, "surprise", 32)])
    own = carrier.run(faces, [0, 1], [0, 1])
    assert own.units is not None
    assert not (own.units[0] == own.units[1]).all()
    told = [carrier.asked(units) for units in ({12: 0.9}, {12: 0.9, 6: own.units[0][4].item()}, {6: 0.9}, {})]
    made = carrier.run(faces, [0] * 4, [0] * 4, units=np.stack(told)).faces.astype(int)
    assert np.abs(made[0] - made[1]).max() <= 1  # AU 6, told as it is read, is as if it were not named
    assert np.abs(made[0] - made[2]).max() > 5
    assert np.abs(made[3] - own.faces[0]).max() <= 1
    with_driver = carrier.run(faces, [0, 0], [1, 0], units=np.stack([told[3], told[0]])).faces.astype(int)
    assert np.abs(with_driver[0] - carrier.run(faces, [0], [1]).faces[0]).max() <= 1
    assert np.abs(with_driver[1] - made[0]).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drivers", "au", "words"),
    [
        ([], [], "--from and --au: are both missing"),
        (["driver.png"], ["12=1"], "--from and --au: are both given"),
        ([], ["12"], "--au 12: give a unit's FACS number and its intensity"),
        ([], ["smile=1"], "--au smile=1: give"),
        ([], ["12=much"], "--au 12=much: give"),
        ([], ["12=0.2", "12=0.3"], "unit 12 is given twice"),
        ([], ["12=1.2"], "action unit 12 = 1.2: give an intensity from 0 to 1"),
        ([], ["12=-0.1"], "action unit 12 = -0.1: give"),
        ([], ["12=nan"], "action unit 12 = nan: give"),
        ([], ["9=0.5"], "action unit 9: the model does not know it; it knows 1, 2, 4, 6, 12, 26"),
    ],
)
def test_bad_action_units_are_one_sentence(
    bundle: Any, photos: list[Path], tmp_path: Path, drivers: list[str], au: list[str], words: str
) -> None:
    out = tmp_path / "out.png"
    with pytest.raises(UserError) as fault:
        transfer_photo(
            photos[0], [Path(name) for name in drivers], out, str(bundle.dir), None, "face",
            f"sqlite:///{tmp_path}/mlflow.db", au,
        )  # fmt: skip
    message = str(fault.value)
    assert message.startswith(words) or words in message
    assert message.endswith(".")
    assert "\n" not in message
    assert not out.exists()


@pytest.mark.slow
def test_a_bundle_without_the_map_says_that_it_cannot(photos: list[Path], tmp_path: Path) -> None:
    older = make_bundle(tmp_path / "older", method="eft", units=())
    out = tmp_path / "out.png"
    with pytest.raises(UserError, match=r"^visage-eft: was made by an older Visage and cannot be told action units"):
        tell(photos[0], {12: 0.8}, out, older)
    transfer(photos[0], photos[1], out, older)
    with pytest.raises(UserError, match=r"is of method ucgan and this takes eft"):
        tell(photos[0], {12: 0.8}, out, make_bundle(tmp_path / "ucgan"))


@pytest.mark.parametrize("place", [0, 1])
def test_a_picture_without_a_face_is_named(bundle: Any, photos: list[Path], tmp_path: Path, place: int) -> None:
    blank = save(tmp_path / "blank.png", np.full((200, 200, 3), 120, np.uint8))
    pair = [photos[0], photos[1]]
    pair[place] = blank
    with pytest.raises(UserError, match=r"blank\.png: .*face"):
        transfer(pair[0], pair[1], tmp_path / "out.png", bundle)
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
        transfer(photos[0], tmp_path / "eyes.png", tmp_path / "a.png", bundle)
    transfer(photos[0], tmp_path / "mouth.png", tmp_path / "b.png", bundle)
    # What it makes of such a driver changes the face alone.
    assert (read(tmp_path / "b.png")[:10] == read(photos[0])[:10]).all()


def test_each_method_s_bundle_is_refused_by_the_other_s_command(
    bundle: Any, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    with pytest.raises(UserError, match=r"is of method eft and this takes ucgan; use visage transfer"):
        edit(photos[0], [out], bundle, bundle.editor(EXPRESSION), to_expression(["happy"], "happy", 1.0, False))
    other = make_bundle(tmp_path / "ucgan")
    with pytest.raises(UserError, match=r"is of method ucgan and this takes eft; use visage edit"):
        transfer(photos[0], photos[1], out, other)


def test_on_a_gpu_it_gives_the_faces_of_the_cpu(bundle: Any) -> None:
    faces = np.stack([face(person, "happy", bundle.card.image_size) for person in range(3)])
    with pretended():
        served = TransferEditor(bundle, self_check=True, device="cuda")
        units = np.stack([served.asked({}), served.asked({12: 0.5})])
        asked = (faces, [0, 1], [2, 1], [True, False], units)
        there = served.run(*asked)
        compare_golden(served, bundle)
    here = TransferEditor(bundle, self_check=True).run(*asked)
    assert np.abs(there.faces.astype(int) - here.faces).max() <= 1
    assert there.similarity[0] == pytest.approx(here.similarity[0], abs=1e-4)
