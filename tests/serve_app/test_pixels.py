"""Small files of very many pixels, and photographs: what is decoded, where, and how much of it at once."""

import asyncio
import io
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFile

from serve_app import admission as gate
from serve_app.batcher import Batches
from serve_app.inference import Answers, faces_of, run_jobs
from serve_app.problems import Problem
from serve_app.request_form import Form
from tests.serve_app.samples import face, held, run_alone
from tests.serve_app.test_transfers import drawn, photograph
from visage.faces.picture import read_picture

Ask = Callable[..., httpx.Response]


def packed(width: int, height: int, kind: str = "PNG") -> bytes:
    """A small file of so many pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(buffer, kind)
    return buffer.getvalue()


def form(image: bytes, **other: Any) -> Form:
    fields = {"expressions": ("happy",), "intensities": (1.0,), "view": "face", "format": "png", "aligned": True}
    return Form(image=image, **(fields | other))


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where pictures are decoded: the thread's name and the pixels."""
    seen: list[tuple[str, int]] = []
    load = ImageFile.ImageFile.load

    def noted(self: ImageFile.ImageFile) -> Any:
        if self.tile:
            seen.append((threading.current_thread().name, self.width * self.height))
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", noted)
    return seen


def test_nothing_is_decoded_where_networks_or_the_network_run(bundle: Any, decoding: list[tuple[str, int]]) -> None:
    async def ask() -> None:
        batches = Batches(run_jobs, size=8, wait_s=0, weight=faces_of)
        answers = Answers(batches, megapixels=50, self_check=False)
        for kind in ("PNG", "JPEG"):
            await answers.answer(form(packed(800, 800, kind)), held(bundle).model, as_image=True)

    asyncio.run(ask())
    assert decoding
    assert {thread.split("_")[0] for thread, _ in decoding} == {"pictures"}


@pytest.mark.slow
def test_all_requests_together_hold_so_many_pixels(bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds two megapixels, of its photograph and of its answer's, as long as it waits; three fit."""
    monkeypatch.setattr(gate, "MOST_MEGAPIXELS", 6.0)
    asked = form(packed(1000, 1000), view="photo")

    async def ask() -> tuple[Counter[int], int, float]:
        go, inside = asyncio.Event(), 0

        async def forward(job: Any) -> Any:
            nonlocal inside
            inside += 1
            await go.wait()
            return await run_alone(job)

        answers = Answers(forward, megapixels=1, self_check=False)

        async def one() -> int:
            try:
                return (await answers.answer(asked, held(bundle).model, as_image=True)).status_code
            except Problem as problem:
                return problem.status

        running = [asyncio.create_task(one()) for _ in range(8)]
        while sum(task.done() for task in running) + inside < 8:
            await asyncio.sleep(0.01)
        go.set()
        found = Counter(await asyncio.gather(*running))
        return found, inside, await one()

    found, inside, after = asyncio.run(ask())
    assert found == {200: 3, 429: 5}
    assert inside == 3
    assert after == 200


def test_an_answer_of_too_many_pixels_is_refused_before_anything_is_decoded(
    bundle: Any, decoding: list[tuple[str, int]]
) -> None:
    async def never(job: Any) -> Any:
        raise AssertionError("the networks are asked")

    asked = form(packed(3500, 3500), view="photo", intensities=tuple(step / 10 for step in range(1, 11)))
    with pytest.raises(Problem, match="more than 100 megapixels in one answer") as refused:
        asyncio.run(Answers(never, megapixels=50, self_check=False).answer(asked, held(bundle).model, as_image=False))
    assert refused.value.status == 422
    assert not decoding


def test_an_aligned_picture_that_is_not_square_is_not_decoded(post: Ask, decoding: list[tuple[str, int]]) -> None:
    answer = post(packed(900, 600), aligned="true")
    assert answer.status_code == 422
    assert "900 x 600 pixels and an aligned face is square" in answer.json()["detail"]
    assert not decoding


@pytest.mark.slow
def test_a_jpeg_is_decoded_no_larger_than_its_face_needs() -> None:
    smooth = io.BytesIO()
    Image.fromarray(face(size=800)).resize((4000, 3000)).save(smooth, "JPEG", quality=95)
    content = smooth.getvalue()
    small, whole = read_picture(content, enough=1280), read_picture(content)
    assert small.shape == (1500, 2000, 3)
    assert whole.shape == (3000, 4000, 3)
    from visage.faces.picture import announced

    header = announced(content, enough=1280)
    assert (header.width, header.height, header.megapixels, header.times) == (4000, 3000, 3.0, 2.0)
    assert np.abs(small.astype(int) - whole[::2, ::2]).mean() < 2
    assert read_picture(packed(4000, 3000), enough=1280).shape == (3000, 4000, 3)


@pytest.mark.slow
def test_a_jpeg_that_was_decoded_smaller_says_where_the_face_is_in_the_file(
    bundle: Any, decoding: list[tuple[str, int]]
) -> None:
    large = Image.fromarray(photograph(drawn(1, "neutral"))).resize((3000, 3000), Image.Resampling.BICUBIC)
    files = []
    for kind in ("JPEG", "PNG"):
        large.save(file := io.BytesIO(), kind)
        files.append(file.getvalue())

    async def ask(image: bytes) -> Any:
        answers = Answers(run_alone, megapixels=50, self_check=False)
        answer = await answers.answer(form(image, aligned=False), held(bundle).model, as_image=False)
        return httpx.Response(200, content=answer.body).json()["face"]

    jpeg, exact = (asyncio.run(ask(image)) for image in files)
    assert [pixels for _, pixels in decoding] == [1500**2, 3000**2]
    assert jpeg["box"] == pytest.approx(exact["box"], abs=10)
    assert np.array(jpeg["landmarks"]) == pytest.approx(np.array(exact["landmarks"]), abs=10)
