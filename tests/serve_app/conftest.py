"""The application without Ray around it, on a small bundle."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.serve_app.samples import make_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture
def post(bundle: Any) -> Callable[..., httpx.Response]:
    """Ask the application directly, without a server: post(image, Accept, **fields)."""
    import asyncio

    from serve_app.answers import Answers, run_jobs
    from serve_app.model import Model
    from serve_app.routes import build_app
    from visage.config.serving import Limits
    from visage.editing import Editor

    class Held:
        model = Model(Editor(bundle, self_check=True), bundle.facts, "2026-01-01T00:00:00+00:00")
        fault = ""

    async def forward(job: Any) -> Any:
        return run_jobs([job])[0]

    limits = Limits(megapixels=1, megabytes=0.5)
    app = build_app(Held(), Answers(forward, megapixels=1, self_check=True), limits)

    def ask(image: bytes | None, accept: str = "application/json", **fields: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                files = {} if image is None else {"image": ("image", image)}
                files = files or {"none": ("", b"")}
                return await client.post("/v1/expressions", files=files, data=fields, headers={"Accept": accept})

        return asyncio.run(send())

    return ask
