"""Sample faces for the page: averages of people who look alike, and of nobody."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visage.errors import UserError
from visage.registry.card import SAMPLES
from visage.registry.samples import AVERAGED, PEOPLE, Samples, make_samples, read_samples, samples_file

EXPRESSIONS = ("neutral", "happy")


def people(count: int, size: int = 32, expressions: tuple[str, ...] = EXPRESSIONS) -> Any:
    """So many training people with a face of each expression: person n has the brightness n, a smile 100 more; and
    as many test people, who are white."""
    brightness = [n + 100 * k for n in range(count) for k in range(len(expressions))]
    faces = np.stack([np.full((size, size, 3), value, np.uint8) for value in brightness])
    total = len(faces)
    return SimpleNamespace(
        expressions=expressions,
        faces=np.concatenate([faces, np.full_like(faces, 255)]),
        identity=np.repeat([f"{part}{n:03d}" for part in "ab" for n in range(count)], len(expressions)),
        expression=np.tile(np.arange(len(expressions)), 2 * count),
        part=lambda part: np.arange(total) + (0 if part == "train" else total),
    )


def test_a_sample_is_the_average_of_five_training_people_who_look_alike() -> None:
    found = make_samples(people(90), None)
    assert found is not None
    assert found.neutral.shape == (PEOPLE, 32, 32, 3)
    assert found.showing.shape == (2, 32, 32, 3)
    values = [int(face[0, 0, 0]) for face in found.neutral]
    assert len(set(values)) == PEOPLE  # they do not look alike among one another
    assert max(values) < 90  # no test person, no smile
    assert 100 <= found.showing[1][0, 0, 0] < 190
    again = make_samples(people(90), None)
    assert again is not None
    assert (again.neutral == found.neutral).all()


def test_the_samples_are_those_that_the_model_does_best() -> None:
    found = make_samples(people(90), lambda candidates, showing: candidates[:, 0, 0, 0].astype(float))
    assert found is not None
    darkest = make_samples(people(90), lambda candidates, showing: -candidates[:, 0, 0, 0].astype(float))
    assert darkest is not None
    assert found.neutral.mean() > darkest.neutral.mean()


@pytest.mark.parametrize(
    "faces", [people(PEOPLE * AVERAGED - 1), people(90, expressions=("happy", "sad"))], ids=["few", "nobody at rest"]
)
def test_without_enough_people_at_rest_there_are_none(faces: Any) -> None:
    assert make_samples(faces, None) is None


def test_a_bundle_carries_them_and_what_does_not_fit_is_refused(
    make_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    neutral = np.arange(PEOPLE, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    samples = Samples(neutral, neutral[:2] + 100, EXPRESSIONS)
    bundle = make_bundle(tmp_path / "with", samples=samples)
    found = bundle.samples()
    assert (found.neutral == samples.neutral).all()
    assert SAMPLES in (tmp_path / "with" / "MODEL_CARD.md").read_text()
    png = found.png(3, "neutral")
    assert int(np.asarray(Image.open(io.BytesIO(png)))[0, 0, 0]) == 3
    assert int(np.asarray(Image.open(io.BytesIO(found.png(3, "happy"))))[0, 0, 0]) == 101
    assert found.png(3, "envy") is None
    assert found.png(PEOPLE, "neutral") is None
    assert make_bundle(tmp_path / "without").samples() is None
    for content, words in ((b"no file", "no sample faces"), (samples_file(samples), "not of 64 px")):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(UserError, match=words):
            read_samples(tmp_path / "file", 64, EXPRESSIONS)
