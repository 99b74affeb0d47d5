"""Faces of photographs that come at once: found together, and each as if it had come alone."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest

from serve_app.batcher import Batches
from serve_app.finder import TOGETHER, finding
from serve_app.inference import Answers
from serve_app.request_form import Form
from tests.serve_app.samples import held, png, run_alone
from tests.serve_app.test_transfers import drawn, photograph
from visage.faces.align import Detector

PHOTOGRAPHS = [photograph(drawn(seed, "happy")) for seed in range(3)]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The threads of searches, and how many photographs each had."""
    seen: list[tuple[str, int]] = []
    find_all = Detector.find_all

    def noted(self: Detector, pictures: Sequence[np.ndarray]) -> Any:
        seen.append((threading.current_thread().name, len(pictures)))
        return find_all(self, pictures)

    monkeypatch.setattr(Detector, "find_all", noted)
    return seen


def asked(bundle: Any, photographs: Sequence[np.ndarray], cores: int = 1) -> list[Any]:
    """The faces of the answers to photographs that come at once; an exception where there is none."""
    answers = Answers(run_alone, megapixels=1, self_check=False, cores=cores)
    model = held(bundle).model

    async def one(photo: np.ndarray) -> Any:
        form = Form(
            image=png(photo), expressions=("happy",), intensities=(1.0,), view="face", format="png", aligned=False
        )
        return httpx.Response(200, content=(await answers.answer(form, model, as_image=False)).body).json()["face"]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(one, photographs), return_exceptions=True)

    return asyncio.run(all_of_them())


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2])
def test_photographs_that_wait_are_searched_together(bundle: Any, searched: list[tuple[str, int]], cores: int) -> None:
    alone = [asked(bundle, [photo])[0] for photo in PHOTOGRAPHS]
    del searched[:]
    for found, one in zip(asked(bundle, PHOTOGRAPHS * 5, cores), alone * 5, strict=True):
        assert found["box"] == pytest.approx(one["box"], abs=0.01)
        assert np.array(found["landmarks"]) == pytest.approx(np.array(one["landmarks"]), abs=0.01)
    assert sum(count for _, count in searched) == 15
    assert 1 < max(count for _, count in searched) <= TOGETHER
    assert {thread for thread, _ in searched} == {"detector"}


def test_a_photograph_without_a_face_spoils_no_other(bundle: Any) -> None:
    one, none, other = asked(bundle, [PHOTOGRAPHS[0], np.full((200, 300, 3), 90, np.uint8), PHOTOGRAPHS[1]])
    assert none.status == 422
    assert "no face" in str(none)
    assert one["box"]
    assert other["box"]


def test_a_photograph_that_the_detector_trips_over_spoils_no_other() -> None:
    """As facenet-pytorch does over a box that leaves its picture."""
    bad, detector = np.full((256, 256, 3), 7, np.uint8), Detector()
    detect = detector._mtcnn.detect

    def trip(images: Any, landmarks: bool) -> Any:
        if (images[:, 0, 0] == 7).all(1).any():
            raise IndexError("The shape of the mask does not match the shape of the indexed tensor.")
        return detect(images, landmarks=landmarks)

    detector._mtcnn.detect = trip  # type: ignore[method-assign]
    one, none, other = detector.find_all([PHOTOGRAPHS[0], bad, PHOTOGRAPHS[1]])
    assert len(one) == len(other) == 1
    assert none == []


def test_a_replica_of_two_cores_searches_in_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two searches that wait for each other come to an end."""
    both = threading.Barrier(2, timeout=30)

    def find_all(self: Detector, pictures: Sequence[np.ndarray]) -> Any:
        both.wait()
        return [[] for _ in pictures]

    monkeypatch.setattr(Detector, "find_all", find_all)
    find: Batches[np.ndarray, Any] = finding(2)

    async def ask() -> Any:
        first = asyncio.create_task(find(PHOTOGRAPHS[0]))
        while find.waiting or not both.n_waiting:  # else one batch holds both
            await asyncio.sleep(0.01)
        return await asyncio.gather(first, find(PHOTOGRAPHS[1]))

    assert asyncio.run(ask()) == [[], []]
