"""What the tests of the page do with it and read from it."""

import base64
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser import chromium
from tests.serve_app.samples import opened

if TYPE_CHECKING:
    from playwright.sync_api import Page

IN_BROWSER = [
    pytest.mark.browser,
    pytest.mark.serve,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here"),
]


def pixels(page: "Page", selector: str) -> np.ndarray:
    """What an image element shows, uint8 H,W,3. Through a canvas, as the policy lets nobody fetch its address."""
    address = page.eval_on_selector(
        selector,
        """async (image) => {
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL("image/png");
        }""",
    )
    return opened(base64.b64decode(address.split(",")[1]))


def says(page: "Page", selector: str, words: str) -> None:
    """Wait until an element holds these words."""
    page.locator(selector, has_text=words).wait_for(state="attached")


def choose_sample(page: "Page", number: int = 0) -> None:
    page.locator("#samples button").nth(number).click()
    page.locator("#grid button[aria-pressed=true]").wait_for()


def fault(page: "Page") -> str:
    page.locator("#fault:not(:empty)").wait_for()
    return page.locator("#fault").inner_text()
