"""One study, served, for the tests of the page."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import optuna
import pytest
from servers import running

from tests.search.watch.samples import made
from visage.search.study.lock import CLAIM
from visage.search.watch.guard import COOKIE
from visage.search.watch.server import build_app

TOKEN = "a token/of the test"
SCORES = [0.31, 0.62, 0.48, 0.55, 0.2]


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, optuna.Study]:
    """The folder of a study that this process seems to run, and the study: for tests that change nothing."""
    folder = tmp_path_factory.mktemp("watched")
    study = made(folder, SCORES)
    study.set_user_attr(CLAIM, f"{socket.gethostname()}:{os.getpid()}:0")
    return folder, study


@pytest.fixture(scope="session")
def served(watched: tuple[Path, optuna.Study]) -> Iterator[str]:
    """The address of the pages of that study's database."""
    with running(build_app(f"sqlite:///{watched[0]}/optuna.db", TOKEN)) as url:
        yield url


@pytest.fixture
def ask(served: str) -> Callable[..., httpx.Response]:
    """ask(path, **httpx's own), with the cookie that a browser would have."""

    def get(path: str, **options: Any) -> httpx.Response:
        cookies = {f"{COOKIE}-{httpx.URL(served).port}": TOKEN}
        return httpx.get(f"{served}/{path}", cookies=options.pop("cookies", cookies), **options)

    return get
