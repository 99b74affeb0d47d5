"""The page's sample faces, which anybody may ask for."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from servers import running

from serve_app import pages
from serve_app.inference import Answers
from serve_app.routes import build_app
from tests.serve_app.samples import EXPRESSIONS, SIZE, Held, held, opened, run_alone
from visage.config.serving import Limits
from visage.faces.synthetic import people
from visage.registry.samples import PEOPLE, Samples


@pytest.fixture
def url() -> Iterator[str]:
    answers = Answers(run_alone, megapixels=1, self_check=False)
    with running(build_app(Held(None, "There is none."), answers, Limits())) as address:
        yield address


@pytest.mark.slow
def test_a_sample_is_drawn_once_whoever_asks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Counter[tuple[Any, ...]] = Counter()
    draw, at_once = people.picture_of, threading.Barrier(4)

    def counted(*which: Any) -> Any:
        drawn[which] += 1
        return draw(*which)

    monkeypatch.setattr(people, "picture_of", counted)
    pages._sample.cache_clear()
    paths = [f"{url}/page/samples/{person}.png?size=32" for person in range(pages.PEOPLE)]
    paths += [f"{path}&expression={name}" for path in paths for name in ("happy", "sad", "fear", "anger")]

    def ask(_: int) -> list[httpx.Response]:
        at_once.wait(60)
        return [httpx.get(path, timeout=120) for path in paths]

    with ThreadPoolExecutor(4) as callers:
        answers = [answer for each in callers.map(ask, range(4)) for answer in each]
    assert {answer.status_code for answer in answers} == {200}
    assert opened(answers[0].content).shape == (32, 32, 3)
    assert set(drawn.values()) == {1}
    assert len(drawn) == len(paths)


@pytest.mark.parametrize("size", [16, 33, 100, 511, 1024])
def test_samples_have_the_few_sizes_of_models(request_app: Callable[..., httpx.Response], size: int) -> None:
    answer = request_app("GET", f"/page/samples/0.png?size={size}")
    assert answer.status_code == 404
    assert "32, 64, 128, 256, 512 pixels" in answer.json()["detail"]


def test_the_samples_are_the_model_s_own_where_it_carries_some(
    bundle: Any, request_app: Callable[..., httpx.Response]
) -> None:
    faces = np.arange(PEOPLE, dtype=np.uint8)[:, None, None, None] * np.ones((1, SIZE, SIZE, 3), np.uint8)
    found = held(bundle)
    found.model = replace(found.model, samples=Samples(faces, faces[:4] + 100, EXPRESSIONS))
    with running(build_app(found, Answers(run_alone, megapixels=1, self_check=True), Limits())) as url:

        def sample(query: str) -> np.ndarray:
            return opened(httpx.get(f"{url}/page/samples/2.png?{query}", timeout=60).content)

        assert (sample(f"size={SIZE}&of=3") == 2).all()
        assert (sample(f"size={SIZE}&expression=happy") == 101).all()
        assert (sample("size=64") != 2).any()  # drawn, as of that size there are none
        assert httpx.get(f"{url}/v1/model").json()["samples"] == "averages"
    assert "samples" not in request_app("GET", "/v1/model").json()
