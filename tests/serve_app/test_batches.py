"""What one request costs: one forward pass, whatever it asks for."""

import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from serve_app import responses as written
from tests.serve_app.samples import EXPRESSIONS, SIZE, face, opened, png
from visage.editing.expression import FRAMES
from visage.methods.by_expression.editor import ExpressionEditor

Ask = Callable[..., httpx.Response]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The faces of each forward pass."""
    counts: list[int] = []
    run = ExpressionEditor.run

    def counted(self: ExpressionEditor, faces: Any, source: Any, *others: Any) -> Any:
        counts.append(len(source))
        return run(self, faces, source, *others)

    monkeypatch.setattr(ExpressionEditor, "run", counted)
    return counts


def test_expressions_at_intensities_are_one_pass(post: Ask, passes: list[int]) -> None:
    fields = {"expression": ["happy", "sad"], "intensity": ["0.4", "1", "0.4", "1.5"], "aligned": "true"}
    results = post(png(face()), **fields).json()["results"]
    order = [(result["expression"], result["intensity"]) for result in results]
    assert order == [(name, value) for name in ("happy", "sad") for value in (0.4, 1.0, 1.5)]
    assert passes == [6]
    assert len({result["image"] for result in results}) == 6
    assert all(-1 <= result["identity_similarity"] <= 1 for result in results)


def test_all_expressions_at_an_intensity_are_one_pass(post: Ask, passes: list[int]) -> None:
    assert len(post(png(face()), aligned="true").json()["results"]) == len(EXPRESSIONS)
    assert passes == [len(EXPRESSIONS)]


def test_an_animation_is_one_pass_from_neutral_to_the_expression(post: Ask, passes: list[int]) -> None:
    fields = {"expression": "happy", "intensity": "1.2", "aligned": "true"}
    answer = post(png(face()), "image/*", format="webp", **fields)
    assert answer.headers["content-type"] == "image/webp"
    assert passes == [FRAMES]
    frames = frames_of(answer.content)
    assert len(frames) == FRAMES
    ends = [opened(post(png(face()), "image/*", **fields | {"intensity": value}).content) for value in ("0", "1.2")]
    # WebP loses a little; the two ends are far further apart than that.
    apart = np.abs(ends[0].astype(int) - ends[1]).mean()
    for frame, end, other in ((frames[0], *ends), (frames[-1], *ends[::-1])):
        assert np.abs(frame.astype(int) - end).mean() < np.abs(frame.astype(int) - other).mean()
    assert apart > 0


def test_an_animation_in_json_has_the_values_of_its_last_picture(post: Ask) -> None:
    fields = {"expression": "sad", "aligned": "true"}
    (result,) = post(png(face()), format="webp", **fields).json()["results"]
    (still,) = post(png(face()), **fields).json()["results"]
    assert result["identity_similarity"] == pytest.approx(still["identity_similarity"], abs=0.02)
    assert result["expression_confidence"] == pytest.approx(still["expression_confidence"], abs=0.02)
    assert result["natural"] == pytest.approx(still["natural"], abs=0.02)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_more_pixels_than_an_answer_may_hold_are_refused_before_they_are_made(
    post: Ask, passes: list[int], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    fields = {"expression": "sad", "aligned": "true", "view": "photo", "format": kind}
    assert post(png(face()), **fields).status_code == 200
    monkeypatch.setitem(written.WRITTEN_MEGAPIXELS, kind, SIZE * SIZE * 0.9 / 1e6)
    answer = post(png(face()), **fields)
    assert answer.status_code == 422
    assert "view=face" in answer.json()["detail"]
    assert len(passes) == 1


def frames_of(content: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(content)) as image:
        frames = []
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
    assert frames[0].shape == (SIZE, SIZE, 3)
    return frames
