"""A picture by camera or by dropping it on the page."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serve_app.page.looking import IN_BROWSER, fault, pixels
from tests.serve_app.samples import opened

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = IN_BROWSER


def test_the_camera_s_picture_is_edited_and_the_camera_is_off_after_it(page: "Page", url: str, london: Path) -> None:
    page.context.grant_permissions(["camera"], origin=url)
    page.get_by_role("button", name="Use the camera").click()
    shoot = page.get_by_role("button", name="Take the picture")
    page.locator("#shoot:enabled").wait_for()
    page.evaluate("window.seen = document.getElementById('video').srcObject")
    shoot.click()
    page.locator("#grid button[aria-pressed=true]").wait_for()
    assert not page.evaluate("document.getElementById('camera-dialog').open")
    assert page.evaluate("window.seen.getTracks().map((track) => track.readyState)") == ["ended"]
    assert pixels(page, "#photo").shape == (480, 640, 3)
    assert page.locator("#box").is_visible()


@pytest.mark.parametrize("way", ["button", "escape"])
def test_a_camera_that_is_closed_again_sends_nothing(page: "Page", url: str, way: str) -> None:
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.context.grant_permissions(["camera"], origin=url)
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#camera-dialog[open]").wait_for()
    page.evaluate("window.seen = document.getElementById('video').srcObject")
    if way == "button":
        page.get_by_role("button", name="Cancel").click()
    else:
        page.keyboard.press("Escape")
    page.wait_for_function("window.seen.getTracks().every((track) => track.readyState === 'ended')")
    assert not page.evaluate("document.getElementById('camera-dialog').open")
    assert page.locator("#fault").inner_text() == ""
    assert not posts


def test_a_camera_that_is_not_allowed_is_a_sentence(page: "Page") -> None:
    page.get_by_role("button", name="Use the camera").click()
    assert "camera cannot be used here" in fault(page)
    assert page.locator("#camera-dialog").is_hidden()


def dropped(page: "Page", kind: str, files: list[bytes]) -> None:
    """What the browser sends when somebody drags files over the page, or drops them."""
    data = page.evaluate_handle(
        """(files) => {
            const data = new DataTransfer();
            for (const [number, text] of files.entries()) {
                const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
                data.items.add(new File([bytes], `face${number}.jpg`, { type: "image/jpeg" }));
            }
            return data;
        }""",
        [base64.b64encode(content).decode() for content in files],
    )
    page.dispatch_event("#drop", kind, {"dataTransfer": data})


def test_a_photograph_that_is_dropped_is_edited(page: "Page", london: Path) -> None:
    photo = min((london / "neutral_front").glob("*.jpg")).read_bytes()
    dropped(page, "dragover", [photo])
    assert page.locator("#drop.over").count() == 1
    dropped(page, "drop", [photo, b"only the first counts"])
    assert page.locator("#drop.over").count() == 0
    page.locator("#grid button[aria-pressed=true]").wait_for()
    assert pixels(page, "#photo").shape == opened(photo).shape
    dropped(page, "drop", [])  # text, or a link
    assert page.locator("#fault").inner_text() == ""
    assert page.locator("#work").is_visible()
    dropped(page, "drop", [b"no picture"])
    assert "image:" in fault(page)
