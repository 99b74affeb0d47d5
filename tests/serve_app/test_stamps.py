"""Every picture of the endpoint says what made it, whichever way it took through the application."""

import base64
from collections.abc import Callable

import httpx
import pytest

from tests.serve_app.samples import face, png
from visage.faces.provenance import Provenance, read_provenance

TYPES = {"face": "trainedAlgorithmicMedia", "photo": "compositeWithTrainedAlgorithmicMedia"}


@pytest.mark.parametrize("view", ["face", "photo"])
@pytest.mark.parametrize("side", [32, 200])  # encoded with the batch, and in a thread of its own
def test_pictures_carry_their_provenance(post: Callable[..., httpx.Response], view: str, side: int) -> None:
    expected = Provenance("visage-ucgan", None, "0" * 32, TYPES[view])
    image = png(face(size=side))
    alone = post(image, "image/*", expression="happy", aligned="true", view=view)
    assert alone.headers["content-type"] == "image/png"
    assert read_provenance(alone.content) == expected
    moving = post(image, "image/*", expression="happy", aligned="true", view=view, format="webp")
    assert moving.headers["content-type"] == "image/webp"
    assert read_provenance(moving.content) == expected
    results = post(image, aligned="true", view=view).json()["results"]
    assert len(results) == 4
    assert {read_provenance(base64.b64decode(result["image"])) for result in results} == {expected}
