"""Editing in this process: the way into the picture and back, batches, and what is refused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve_app.loaded_model import compare_golden
from tests.cuda import pretended
from tests.faces import photos
from tests.serve_app.samples import EXPRESSIONS, SIZE, face, make_bundle, opened
from visage.editing.expression import FRAMES, edit, locate, locate_all, to_expression
from visage.errors import UserError
from visage.faces.align import Detector
from visage.faces.provenance import Provenance, read_provenance
from visage.methods.by_expression.editor import ExpressionEditor
from visage.methods.eft.editor import TransferEditor
from visage.methods.requests import EXPRESSION
from visage.models.basis import BasisGenerator
from visage.models.unet import UNet
from visage.workflows.pictures import edit_photo


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def editor(bundle: Any) -> ExpressionEditor:
    return ExpressionEditor(bundle, self_check=True)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return photos.save(tmp_path / "photo.png", photos.photograph(photos.face(1, "neutral")))


def make_happy(photo: Path, out: Path, bundle: Any, view: Any = "photo") -> None:
    edit(photo, [out], bundle, bundle.editor(EXPRESSION), to_expression(EXPRESSIONS, "happy", 1.0, False), view=view)


def test_a_batch_gives_what_each_face_gives_alone(editor: ExpressionEditor) -> None:
    faces = np.stack([face(seed) for seed in range(8)])
    expression = [seed % len(EXPRESSIONS) for seed in range(8)]
    together = editor.run(faces, range(8), expression, [1.0] * 8, [True] * 8)
    for number in range(8):
        alone = editor.run(faces[number : number + 1], [0], [expression[number]], [1.0], [True])
        assert np.abs(alone.faces[0].astype(int) - together.faces[number]).max() <= 1
        assert alone.similarity[0] == pytest.approx(together.similarity[number], abs=1e-3)
        assert alone.confidence[0] == pytest.approx(together.confidence[number], abs=1e-3)


@pytest.mark.parametrize("method", ["ucgan", "eft"])
def test_faces_that_nobody_may_write_to_are_no_warning(tmp_path: Path, method: str) -> None:
    """As a picture's own pixels are, and what Ray hands on."""
    import torch

    bundle = make_bundle(tmp_path / "bundle", method=method)
    networks: Any = ExpressionEditor(bundle) if method == "ucgan" else TransferEditor(bundle)
    faces = face()[None]
    faces.flags.writeable = False
    torch.set_warn_always(True)  # and not for the first time in this process alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            networks.run(faces, [0], [0], **({"intensity": [1.0]} if method == "ucgan" else {}))
    finally:
        torch.set_warn_always(False)


def test_values_are_computed_where_they_are_asked_for(editor: ExpressionEditor) -> None:
    edited = editor.run(face()[None], [0, 0], [0, 1], [1.0, 1.0], [False, True])
    assert np.isnan(edited.similarity[0])
    assert np.isnan(edited.confidence[0])
    assert -1 <= edited.similarity[1] <= 1
    assert 0 <= edited.confidence[1] <= 1


def test_the_fast_number_format_keeps_the_faces(editor: ExpressionEditor, bundle: Any) -> None:
    import torch

    condition = torch.zeros(1, len(EXPRESSIONS))
    condition[0, 2] = 0.7
    condition[0, EXPRESSIONS.index("neutral")] += 0.3
    x = torch.from_numpy(face()).permute(2, 0, 1)[None].float() / 127.5 - 1
    exact = ((bundle.generator()(x, condition)[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    quick = editor.run(face()[None], [0], [2], [0.7]).faces[0]
    assert np.abs(exact - quick).mean() <= 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "generator",
    [
        UNet(SIZE, 8, len(EXPRESSIONS)),
        UNet(SIZE, 8, len(EXPRESSIONS), mask=True),
        UNet(SIZE, 8, len(EXPRESSIONS), mask=True, warp=True),
        BasisGenerator(SIZE, 8, len(EXPRESSIONS)),
    ],
    ids=["plain", "mask", "mask and warp", "basis"],
)
def test_on_a_gpu_faces_are_served_in_bfloat16(tmp_path: Path, generator: Any) -> None:
    bundle = make_bundle(tmp_path / "bundle", generator=generator)
    asked = (face()[None], [0, 0], [1, 2], [1.0, 0.5], [True, False])
    with pretended():
        served = ExpressionEditor(bundle, self_check=True, device="cuda")
        edited = served.run(*asked)
        compare_golden(served, bundle)
    here = ExpressionEditor(bundle, self_check=True).run(*asked)
    assert np.abs(edited.faces.astype(float) - here.faces).mean() <= 2
    assert edited.similarity[0] == pytest.approx(here.similarity[0], abs=0.05)


def test_expression_and_intensity_matter(editor: ExpressionEditor) -> None:
    edited = editor.run(face()[None], [0, 0, 0], [1, 2, 1], [1.0, 1.0, 0.5]).faces.astype(int)
    assert np.abs(edited[0] - edited[1]).max() > 0
    assert np.abs(edited[0] - edited[2]).max() > 0


def test_an_animation_begins_at_neutral_and_ends_at_the_expression(bundle: Any, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.webp"
    edit(photo, [out], bundle, bundle.editor(EXPRESSION), to_expression(EXPRESSIONS, "happy", 0.8, True), view="face")
    faces = locate_all([photo], SIZE)[0].face[None]
    first, last = ExpressionEditor(bundle).run(faces, [0, 0], [1, 1], [0.0, 0.8]).faces.astype(float)
    with Image.open(out) as image:
        assert image.n_frames == FRAMES
        shown = []
        for frame in (0, FRAMES - 1):
            image.seek(frame)
            shown.append(np.asarray(image.convert("RGB"), float))
    # A lossy file: each is nearer to its own picture than to the other.
    assert np.abs(shown[0] - first).mean() < np.abs(shown[0] - last).mean()
    assert np.abs(shown[1] - last).mean() < np.abs(shown[1] - first).mean()
    assert read_provenance(out) == Provenance("visage-ucgan", None, "0" * 32, "trainedAlgorithmicMedia")
    with pytest.raises(UserError, match=r"\.webp"):
        edit_photo(photo, "happy", tmp_path / "out.png", 1.0, "", None, "photo", "", animation=True)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".JPEG", ".webp"])
def test_a_face_is_written_by_the_ending(bundle: Any, photo: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"out{ending}"
    make_happy(photo, out, bundle, "face")
    with Image.open(out) as image:
        assert image.format == {".png": "PNG", ".webp": "WEBP"}.get(ending, "JPEG")
        assert image.size == (SIZE, SIZE)
    assert read_provenance(out) == Provenance("visage-ucgan", None, "0" * 32, "trainedAlgorithmicMedia")


def test_a_photograph_keeps_its_size_in_the_photo_view(bundle: Any, photo: Path, tmp_path: Path) -> None:
    make_happy(photo, tmp_path / "out.png", bundle)
    before, after = opened(photo.read_bytes()), opened((tmp_path / "out.png").read_bytes())
    assert read_provenance(tmp_path / "out.png") == Provenance(
        "visage-ucgan", None, "0" * 32, "compositeWithTrainedAlgorithmicMedia"
    )
    assert after.shape == before.shape
    assert np.array_equal(after[:10], before[:10])
    assert not np.array_equal(after[100:156, 100:156], before[100:156, 100:156])


def test_a_larger_aligned_picture_keeps_its_size(editor: ExpressionEditor) -> None:
    photo = face(1, 90)
    located = locate(photo, SIZE, None, "picture")
    edited = located.view(editor.run(located.face[None], [0], [1], [1.0]).faces[0], "photo")
    assert edited.shape == photo.shape
    assert np.array_equal(edited[:2], photo[:2])
    assert not np.array_equal(edited[40:60, 30:60], photo[40:60, 30:60])


@pytest.mark.parametrize(
    ("out", "expression", "intensity", "named"),
    [
        ("out.gif", "happy", 1.0, ".png"),
        ("out", "happy", 1.0, ".png"),
        ("out.png", "smug", 1.0, "neutral, happy, sad, anger"),
        ("out.png", "happy", 1.6, "1.5"),
        ("out.png", "happy", float("nan"), "intensity"),
        ("none/out.png", "happy", 1.0, "out.png"),
        ("none/out.jpg", "happy", 1.0, "out.jpg"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    bundle: Any, photo: Path, tmp_path: Path, out: str, expression: str, intensity: float, named: str
) -> None:
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"\.$") as fault:
        edit_photo(
            photo,
            expression,
            tmp_path / out,
            intensity,
            str(bundle.dir),
            None,
            "photo",
            f"sqlite:///{bundle.dir.parent}/none.db",
        )
    assert named in str(fault.value)
    assert set(tmp_path.rglob("*")) == before


def test_a_picture_that_does_not_do_leaves_the_old_output(bundle: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("no picture")
    (tmp_path / "out.png").write_bytes(b"old")
    with pytest.raises(UserError, match=r"photo\.jpg"):
        make_happy(tmp_path / "photo.jpg", tmp_path / "out.png", bundle)
    assert (tmp_path / "out.png").read_bytes() == b"old"


def test_an_aligned_face_must_be_square() -> None:
    with pytest.raises(UserError, match="32 x 20"):
        locate(face()[:20], SIZE, None, "picture")


def test_a_real_photograph_is_changed_in_the_face_alone(bundle: Any, london: Path, tmp_path: Path) -> None:
    path = min((london / "neutral_front").glob("*.jpg"))
    make_happy(path, tmp_path / "out.png", bundle)
    photo, edited = opened(path.read_bytes()), opened((tmp_path / "out.png").read_bytes())
    found = Detector().find(photo)[0]
    x0, y0, x1, y1 = found.box
    margin = 0.35 * (y1 - y0)
    rows, columns = np.nonzero((edited != photo).any(axis=2))
    assert len(rows)
    assert y0 - margin <= rows.min()
    assert rows.max() <= y1 + margin
    assert x0 - margin <= columns.min()
    assert columns.max() <= x1 + margin
