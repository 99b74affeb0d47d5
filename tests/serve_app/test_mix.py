"""Several expressions at once, and one of several faces."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serve_app.inference import run_jobs
from tests.faces.photos import face as drawn
from tests.faces.photos import photograph
from tests.serve_app.samples import face, opened, png
from visage.api.calls import edit_call
from visage.faces.align import Found, SeveralFaces, one_face
from visage.models.condition import conditions, mixtures

Post = Callable[..., httpx.Response]


def pixels(answer: httpx.Response) -> np.ndarray:
    return opened(base64.b64decode(answer.json()["results"][0]["image"])).astype(int)


@given(st.sampled_from([("neutral", "happy", "sad"), ("happy", "sad", "anger")]), st.floats(0, 1.5), st.integers(0, 2))
def test_one_weight_alone_is_that_expression_s_condition(names: tuple[str, ...], weight: float, place: int) -> None:
    weights = torch.zeros(1, 3)
    weights[0, place] = weight
    alone = conditions(names, torch.tensor([place]), torch.tensor([weight]))
    assert torch.allclose(mixtures(names, weights), alone, atol=1e-6)


def test_a_mixture_goes_its_share_of_the_way_to_each() -> None:
    found = mixtures(("neutral", "happy", "sad"), torch.tensor([[0.3, 0.5, 0.25], [0.0, 0.0, 0.0]]))
    assert found.tolist() == [[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]]  # how much of neutral is asked for counts nothing


def test_a_mixture_is_answered_and_told(post: Post) -> None:
    picture = png(face())
    both = post(picture, mix='{"happy": 0.4, "sad": 0.7}', aligned="true")
    assert both.status_code == 200
    (result,) = both.json()["results"]
    assert result["mix"] == {"happy": 0.4, "sad": 0.7}
    assert (result["expression"], result["intensity"]) == ("sad", pytest.approx(0.7))
    assert result["expression_confidence"] is None
    assert result["identity_similarity"] is not None
    alone = post(picture, expression="sad", intensity="0.7", aligned="true")
    assert np.abs(pixels(both) - pixels(alone)).max() > 0
    same = post(picture, mix='{"sad": 0.7}', aligned="true")
    assert np.abs(pixels(same) - pixels(alone)).max() <= 1
    assert alone.json()["results"][0]["mix"] is None
    moving = post(picture, accept="image/webp", mix='{"happy": 0.4, "sad": 0.7}', format="webp", aligned="true")
    assert moving.content[:4] == b"RIFF"
    assert post(picture, accept="image/png", mix='{"happy": 1}', aligned="true").content[:4] == b"\x89PNG"


def test_mixtures_and_single_expressions_share_a_batch(request_app: Callable[..., httpx.Response]) -> None:
    """What one asks for does not change what another gets."""
    jobs: list[Any] = []

    async def together(job: Any) -> Any:
        jobs.append(job)
        return run_jobs([job])[0]

    def ask(**fields: str) -> np.ndarray:
        files = {"image": ("image", png(face()))}
        data = {"aligned": "true", **fields}
        return pixels(request_app("POST", "/v1/expressions", files=files, data=data, forward=together))

    alone = ask(expression="happy"), ask(mix='{"happy": 0.4, "sad": 0.7}'), ask(expression="anger")
    done = run_jobs(jobs)
    for one, found in zip(alone, done, strict=True):
        assert np.abs(found.edited.faces[0].astype(int) - one).max() <= 1


def test_the_client_asks_for_both_as_the_endpoint_reads_it(request_app: Callable[..., httpx.Response]) -> None:
    mix = {"happy": 0.4, "sad": 0.7}
    call = edit_call(png(face()), (), 1.0, "face", True, "png", None, None, mix)
    answer = call.read(request_app(call.method, call.path, **call.content).json())
    assert answer.results[0].mix == mix
    both = png(photograph(drawn(1, "neutral"), drawn(2, "happy")))
    call = edit_call(both, ["happy"], 0.5, "face", False, "png", None, 2, None)
    answer = call.read(request_app(call.method, call.path, **call.content).json())
    assert answer.box[0] > 256
    assert (answer.results[0].intensity, answer.results[0].mix) == (0.5, None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mix": "happy"}, "no JSON object"),
        ({"mix": "[1]"}, "no JSON object"),
        ({"mix": "{}"}, "has no expression"),
        ({"mix": '{"happy": 0.9, "sad": 0.9}'}, "more than 1.5 together"),
        ({"mix": '{"happy": true}'}, "no intensity from 0 to 1.5"),
        ({"mix": '{"happy": -0.1}'}, "no intensity from 0 to 1.5"),
        ({"mix": '{"happy": NaN}'}, "no intensity from 0 to 1.5"),
        ({"mix": '{"happy": 1e400}'}, "no intensity from 0 to 1.5"),
        ({"mix": '{"happy": 0.1, "happy": 0.2}'}, "given twice"),
        ({"mix": '{"envy": 0.1}'}, "envy: is unknown"),
        ({"mix": '{"happy": 1}', "expression": "sad"}, "leave expression and intensity out"),
        ({"mix": '{"happy": 1}', "intensity": "1"}, "leave expression and intensity out"),
        ({"face": "0"}, "no number of a face"),
        ({"face": "-1"}, "no number of a face"),
        ({"face": "\u0663"}, "no number of a face"),
        ({"face": "1"}, "leave one of them out"),
    ],
)
def test_what_cannot_be_mixed_is_one_sentence(post: Post, fields: dict[str, str], words: str) -> None:
    answer = post(png(face()), aligned="true", **fields)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_of_several_faces_one_can_be_named(post: Post) -> None:
    picture = png(photograph(drawn(1, "neutral"), drawn(2, "happy")))
    several = post(picture)
    assert several.status_code == 422
    assert "2 faces were found" in several.json()["detail"]
    assert "field face" in several.json()["detail"]
    left, right = several.json()["faces"]
    assert left["box"][2] < right["box"][0]
    for number, place in ((1, left), (2, right)):
        answer = post(picture, face=str(number), expression="happy")
        assert answer.status_code == 200
        assert answer.json()["face"] == place
    beyond = post(picture, face="3")
    assert (beyond.status_code, "none of number 3" in beyond.json()["detail"]) == (422, True)
    assert "faces" not in post(png(np.full((64, 64, 3), 128, np.uint8))).json()
    alone = png(photograph(drawn(1, "neutral")))
    assert post(alone, face="1", expression="happy").status_code == 200


def test_faces_are_counted_from_the_left_without_ghosts() -> None:
    def found(left: float, height: float) -> Found:
        return Found((left, 0, left + height, height), np.zeros((5, 2)), 1.0)

    faces = [found(300, 90), found(10, 100), found(150, 5)]
    assert one_face(faces, "a.jpg", 1).box[0] == 10
    assert one_face(faces, "a.jpg", 2).box[0] == 300
    with pytest.raises(SeveralFaces) as fault:
        one_face(faces, "a.jpg")
    assert [each.box[0] for each in fault.value.faces] == [10, 300]
    assert one_face([faces[1], faces[2]], "a.jpg").box[0] == 10
