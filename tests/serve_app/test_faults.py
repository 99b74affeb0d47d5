"""Every fault of the endpoint: its status, one sentence, no traceback. The application alone, without Ray."""

import asyncio
import io
import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.serve_app.samples import EXPRESSIONS, SIZE, bomb, face, opened, png

Post = Callable[..., httpx.Response]


def problem_of(answer: httpx.Response, status: int) -> str:
    """The detail of an answer that must be a problem document of this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert "Traceback" not in answer.text
    assert document["detail"].endswith(".")
    return document["detail"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"What is called a picture here is text.", id="text"),
        pytest.param(png(face())[:300], id="truncated"),
        pytest.param(png(np.zeros((1, 1, 3), np.uint8)), id="1x1"),
        pytest.param(b"%PDF-1.7\n%" + bytes(200), id="pdf"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="signature"),
    ],
)
def test_what_is_no_picture_is_a_400(post: Post, content: bytes) -> None:
    assert problem_of(post(content, aligned="true"), 400).startswith("image: ")
    problem_of(post(content), 400)


def test_too_many_pixels_are_a_413_before_they_are_decoded(post: Post) -> None:
    assert "megapixels" in problem_of(post(bomb()), 413)


def test_too_many_bytes_are_a_413(post: Post) -> None:
    assert "megabytes" in problem_of(post(bytes(520_000)), 413)
    assert "megabytes" in problem_of(post(bytes(5_000_000)), 413)


def test_a_picture_without_a_face_is_a_422(post: Post) -> None:
    assert "no face" in problem_of(post(png(np.full((200, 200, 3), 200, np.uint8))), 422)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"expression": "hapy"}, "happy"),
        ({"expression": ["happy", "smug"]}, "smug"),
        ({"intensity": "1.6"}, "1.5"),
        ({"intensity": "-0.1"}, "intensity"),
        ({"intensity": "nan"}, "intensity"),
        ({"intensity": "much"}, "much"),
        ({"view": ["face", "photo"]}, "2 times"),
        ({"intensity": [str(step / 100) for step in range(20)]}, "80 faces"),
        ({"format": "gif"}, "webp"),
        ({"format": "webp"}, "one expression"),
        ({"format": "webp", "expression": "sad", "intensity": ["0.5", "1"]}, "one intensity"),
        ({"view": "side"}, "photo"),
        ({"aligned": "perhaps"}, "aligned"),
        ({"expresion": "happy"}, "expresion"),
    ],
)
def test_a_bad_parameter_is_a_422_that_names_it(post: Post, fields: dict[str, Any], named: str) -> None:
    assert named in problem_of(post(png(face()), **{"aligned": "true", **fields}), 422)


def test_an_aligned_face_must_be_square(post: Post) -> None:
    assert "square" in problem_of(post(png(face()[:20]), aligned="true"), 422)


def test_a_form_without_a_picture_is_a_422(request_app: Callable[..., httpx.Response]) -> None:
    answer = request_app("POST", "/v1/expressions", files={"expression": (None, b"happy")})
    assert "image" in problem_of(answer, 422)


def test_what_is_no_form_is_a_415(request_app: Callable[..., httpx.Response]) -> None:
    for headers in ({}, {"Content-Type": "image/png"}, {"Content-Type": "multipart/form-data"}, {"Content-Type": ";"}):
        problem_of(request_app("POST", "/v1/expressions", content=png(face()), headers=headers), 415)


def test_a_form_that_is_cut_off_is_a_400(request_app: Callable[..., httpx.Response]) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--x\r\n", b"no form", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc'):
        problem_of(request_app("POST", "/v1/expressions", content=body, headers=headers), 400)
    long = {"Content-Type": "multipart/form-data; boundary=" + "x" * 300}
    problem_of(request_app("POST", "/v1/expressions", content=b"--", headers=long), 400)
    many = b'--x\r\nContent-Disposition: form-data; name="expression"\r\n\r\nhappy\r\n' * 200 + b"--x--\r\n"
    problem_of(request_app("POST", "/v1/expressions", content=many, headers=headers), 400)


def test_unknown_paths_and_methods_are_problems_too(request_app: Callable[..., httpx.Response]) -> None:
    problem_of(request_app("GET", "/v2/model"), 404)
    problem_of(request_app("GET", "/v1/expressions"), 405)


def test_without_a_model_everything_says_what_is_missing(request_app: Callable[..., httpx.Response]) -> None:
    files = {"image": ("face.png", png(face()))}
    for method, path, more in (
        ("GET", "/healthz", {}),
        ("GET", "/v1/model", {}),
        ("POST", "/v1/expressions", {"files": files}),
    ):
        answer = request_app(method, path, without_model=True, **more)
        assert "visage-ucgan has no alias champion" in problem_of(answer, 503)
        assert answer.headers["retry-after"]


def test_no_answer_in_time_is_a_503(request_app: Callable[..., httpx.Response]) -> None:
    async def forward(job: Any) -> Any:
        await asyncio.sleep(30)

    files = {"image": ("face.png", png(face())), "aligned": (None, b"true")}
    answer = request_app("POST", "/v1/expressions", forward=forward, seconds=0.5, files=files)
    assert "0.5 seconds" in problem_of(answer, 503)


def test_a_fault_of_the_server_shows_no_inside(request_app: Callable[..., httpx.Response]) -> None:
    async def forward(job: Any) -> Any:
        raise RuntimeError("/secret/path")

    files = {"image": ("face.png", png(face())), "aligned": (None, b"true")}
    answer = request_app("POST", "/v1/expressions", forward=forward, files=files)
    problem_of(answer, 500)
    assert "secret" not in answer.text


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=400), st.binary(max_size=60).map(lambda tail: png(face())[:80] + tail)))
def test_arbitrary_bytes_are_refused_or_answered(post: Post, content: bytes) -> None:
    answer = post(content, aligned="true")
    assert answer.status_code in (200, 400, 413, 422), answer.text


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), boundary=st.text("abc-\"';= ", max_size=8))
def test_arbitrary_forms_are_refused(request_app: Callable[..., httpx.Response], body: bytes, boundary: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = request_app("POST", "/v1/expressions", content=body, headers=headers)
    assert answer.status_code in (400, 415, 422), answer.text


def test_one_expression_as_a_picture(post: Post) -> None:
    answer = post(png(face()), "image/*", expression="happy", aligned="true")
    assert answer.headers["content-type"] == "image/png"
    assert opened(answer.content).shape == (SIZE, SIZE, 3)


def test_several_expressions_are_json_whatever_is_accepted(post: Post) -> None:
    answer = post(png(face()), "image/*", expression=["happy", "sad", "happy"], aligned="true")
    assert [result["expression"] for result in answer.json()["results"]] == ["happy", "sad"]


def test_no_expression_means_all_and_each_carries_its_values(post: Post) -> None:
    answer = post(png(face()), aligned="true", intensity="0.5").json()
    assert [result["expression"] for result in answer["results"]] == list(EXPRESSIONS)
    for result in answer["results"]:
        assert result["intensity"] == 0.5
        assert -1 <= result["identity_similarity"] <= 1
        assert 0 <= result["expression_confidence"] <= 1
        assert 0 < result["natural"] < 1
    assert answer["face"]["box"] == [0, 0, SIZE, SIZE]
    assert answer["model"]["name"] == "visage-ucgan"
    # The pictures differ, so the condition arrives.
    assert len({result["image"] for result in answer["results"]}) == len(EXPRESSIONS)


def test_every_kind_of_picture_is_read(post: Post) -> None:
    for mode, kind in (("L", "PNG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("RGB", "WEBP")):
        buffer = io.BytesIO()
        Image.fromarray(face()).convert(mode).save(buffer, kind)
        assert post(buffer.getvalue(), "image/png", expression="sad", aligned="true").status_code == 200


def test_the_document_describes_the_form(request_app: Callable[..., httpx.Response]) -> None:
    document = request_app("GET", "/openapi.json").json()
    operation = document["paths"]["/v1/expressions"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {
        "image", "expression", "intensity", "mix", "view", "format", "aligned", "face", "version",
    }  # fmt: skip
    assert {"200", "400", "413", "415", "422", "503"} <= set(operation["responses"])
    batches = {"/v1/batches", "/v1/batches/{id}", "/v1/batches/{id}/result"}
    others = {"/healthz", "/v1/model", "/v1/comparison", "/v1/expressions", "/v1/transfer"}
    assert set(document["paths"]) == batches | others
    assert operation["requestBody"]["content"]["multipart/form-data"]["examples"]


def test_the_page_of_the_documentation_needs_this_server_alone(request_app: Callable[..., httpx.Response]) -> None:
    page = request_app("GET", "/docs").text
    assert "//" not in "".join(re.findall(r'(?:src|href)="([^"]*)"', page))
    files = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(files) >= 3
    for file in files:
        assert request_app("GET", file).status_code == 200


def test_the_model_of_a_method_that_is_not_served_is_a_404(request_app: Callable[..., httpx.Response]) -> None:
    assert request_app("GET", "/v1/model?method=ucgan").json()["name"] == "visage-ucgan"
    assert "'eft'" in problem_of(request_app("GET", "/v1/model?method=eft"), 404)
