"""The application without Ray around it, on a small bundle."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.serve_app.samples import Held, held, make_bundle, run_alone


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="session")
def request_app(bundle: Any) -> Callable[..., httpx.Response]:
    """Ask the application: request_app(method, path, without_model=, forward=, seconds=, around=, webhook=, **httpx's
    own)."""
    from serve_app.inference import Answers
    from serve_app.routes import build_app
    from visage.config.serving import Limits

    with_model = held(bundle)
    nothing = Held(None, "visage-ucgan@champion: visage-ucgan has no alias champion; promote a version.")

    def ask(
        method: str,
        path: str,
        *,
        without_model: bool = False,
        forward: Any = run_alone,
        seconds: float = 30,
        upload_seconds: float = 30,
        around: Any = None,
        transfers: Any = None,
        webhook: Any = None,
        **request: Any,
    ) -> httpx.Response:
        answers = Answers(forward, megapixels=1, self_check=True)
        limits = Limits(megapixels=1, megabytes=0.5, seconds=seconds, upload_seconds=upload_seconds)
        model = nothing if without_model else with_model
        app = build_app(model, answers, limits, around=around, transfers=transfers, webhook=webhook)

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())

    return ask


@pytest.fixture(scope="session")
def post(request_app: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    """post(image, Accept, **fields) to /v1/expressions."""

    def ask(image: bytes, accept: str = "application/json", **fields: Any) -> httpx.Response:
        files = {"image": ("image", image)}
        return request_app("POST", "/v1/expressions", files=files, data=fields, headers={"Accept": accept})

    return ask
