"""One endpoint and one browser for all tests of the page."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.browser import opened_browser
from tests.conftest import LONDON
from tests.serve_app.samples import make_bundle

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 120_000


@pytest.fixture(scope="package")
def url(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from serve_app import app
    from serve_app.ingress import free_ports
    from visage.config import Serving, validated

    folder = tmp_path_factory.mktemp("page")
    make_bundle(folder / "bundle")
    make_bundle(folder / "carrier", method="eft")
    tree = {
        "model": str(folder / "bundle"),
        "transfer": str(folder / "carrier"),
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
    }
    tree |= {"port": free_ports(1)[0], "replicas": {"max": 1}, "access": {"required": False}}
    serving = validated(Serving, tree, "test")
    yield app.serve(serving, block=False)
    app.stop()


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    """A Chromium whose camera shows a photograph, or a moving pattern where there is none."""
    flags, photos = [], sorted((LONDON / "neutral_front").glob("*.jpg"))
    if photos:
        frame = Image.new("RGB", (640, 480), "white")
        with Image.open(photos[0]) as photo:
            frame.paste(photo.convert("RGB").resize((480, 480)), (80, 0))
        buffer = io.BytesIO()
        frame.save(buffer, "JPEG", quality=95)
        film = tmp_path_factory.mktemp("camera") / "film.mjpeg"
        film.write_bytes(buffer.getvalue() * 5)
        flags.append(f"--use-file-for-fake-video-capture={film}")
    with opened_browser(*flags) as browser:
        yield browser


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    """The page, which must ask nobody but its server and leave no complaint in the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.add_init_script("addEventListener('error', ({ message }) => { document.documentElement.title = message; })")
    page.goto(url)
    page.locator("html[title], #samples li:nth-child(6) button").first.wait_for()
    assert page.locator("html").get_attribute("title") is None  # a page that is dead is told at once
    yield page
    context.close()
    assert asked
    assert all(address.startswith((url, "blob:" + url, "data:")) for address in asked)
    # A status that the page turns into a sentence is reported by the browser all the same; all else is a fault.
    assert not [text for text in said if not text.startswith("Failed to load resource")]
