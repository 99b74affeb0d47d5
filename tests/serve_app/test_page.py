"""The page at /, in Chromium, against the real endpoint."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.browser import chromium, opened_browser
from tests.conftest import LONDON
from tests.serve_app.samples import EXPRESSIONS, bomb, make_bundle, opened, png

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.serve,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here"),
]
PATIENCE = 120_000


@pytest.fixture(scope="module")
def url(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from serve_app import app
    from serve_app.ingress import free_ports
    from visage.config import Serving, validated

    folder = tmp_path_factory.mktemp("page")
    make_bundle(folder / "bundle")
    tree = {"model": str(folder / "bundle"), "tracking_uri": f"sqlite:///{folder}/mlflow.db"}
    tree |= {"port": free_ports(1)[0], "replicas": {"max": 1}, "access": {"required": False}}
    serving = validated(Serving, tree, "test")
    yield app.serve(serving, block=False)
    app.stop()


@pytest.fixture(scope="module")
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
    page.goto(url)
    page.locator("#samples button").nth(5).wait_for()
    yield page
    context.close()
    assert asked
    assert all(address.startswith((url, "blob:" + url, "data:")) for address in asked)
    # A status that the page turns into a sentence is reported by the browser all the same; all else is a fault.
    assert not [text for text in said if not text.startswith("Failed to load resource")]


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


def test_a_sample_face_comes_back_with_every_expression_in_one_request(page: "Page") -> None:
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    choose_sample(page)
    assert page.locator("#grid button").all_inner_texts() == list(EXPRESSIONS)
    assert len(posts) == 1
    assert (pixels(page, "#before") != pixels(page, "#after")).any()
    page.get_by_role("button", name="sad").click()
    page.locator("#after[alt*=sad]").wait_for()
    assert (pixels(page, "#after") == pixels(page, "[data-expression=sad] img")).all()
    assert len(posts) == 1


def test_the_slider_changes_the_face(page: "Page") -> None:
    choose_sample(page)
    before = page.get_attribute("#after", "src")
    slider = page.get_by_label("Intensity")
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator("#intensity-value").inner_text() == "0.00"
    says(page, "#status", "intensity 0.00")
    assert page.get_attribute("#after", "src") != before
    at_rest = pixels(page, "#after")
    page.keyboard.press("End")
    says(page, "#status", "intensity 1.50")
    assert (pixels(page, "#after") != at_rest).any()


def test_before_and_after_by_keyboard(page: "Page") -> None:
    choose_sample(page)
    compare = page.get_by_role("slider", name=re.compile("Before and after"))
    compare.focus()
    page.keyboard.press("ArrowRight")
    assert compare.input_value() == "51"
    assert page.eval_on_selector("#after", "image => getComputedStyle(image).clipPath").endswith("51%)")
    page.keyboard.press("Home")
    assert page.eval_on_selector("#after", "image => getComputedStyle(image).clipPath") in (
        "inset(0px)",
        "inset(0px 0px 0px 0%)",
    )


def test_the_download_is_the_face_that_is_shown(page: "Page", tmp_path: Path) -> None:
    choose_sample(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "visage-happy-1.00-generated.png"
    download.value.save_as(tmp_path / "face.png")
    assert (opened((tmp_path / "face.png").read_bytes()) == pixels(page, "#after")).all()


def test_a_photograph_shows_its_face_and_comes_back_whole(page: "Page", london: Path) -> None:
    photo = sorted((london / "neutral_front").glob("*.jpg"))[0]
    page.set_input_files("#file", photo)
    page.locator("#grid button[aria-pressed=true]").wait_for()
    box, frame = page.locator("#box").bounding_box(), page.locator("#photo").bounding_box()
    assert box
    assert frame
    assert 0.1 < box["width"] / frame["width"] < 0.9
    # The face that is cut out here is near enough to the server's that intensity and view can change over.
    assert pixels(page, "#before").shape == pixels(page, "#after").shape
    page.get_by_role("radio", name="Photograph").check()
    page.locator("#stage[data-view=photo]").wait_for()
    before, after = opened(photo.read_bytes()), pixels(page, "#after")
    assert before.shape == after.shape
    changed = (before != after).any(axis=2).mean()
    assert 0 < changed < 0.6


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"no picture", "image:", id="text"),
        pytest.param(png(np.full((200, 200, 3), 200, np.uint8)), "no face was found", id="nobody"),
        pytest.param(bomb(), "megapixels", id="bomb"),
    ],
)
def test_a_fault_is_a_sentence(page: "Page", content: bytes, words: str) -> None:
    page.set_input_files("#file", {"name": "face.png", "mimeType": "image/png", "buffer": content})
    sentence = fault(page)
    assert words in sentence
    assert sentence.endswith(".")
    assert page.locator("#work").is_hidden()
    choose_sample(page)
    assert page.locator("#fault").inner_text() == ""


def test_no_network_is_a_sentence_and_can_be_tried_again(page: "Page") -> None:
    page.context.set_offline(True)
    page.set_input_files("#file", {"name": "face.png", "mimeType": "image/png", "buffer": b"x"})
    assert "cannot be reached" in fault(page)
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    says(page, "#fault", "image:")


def test_a_refused_caller_is_asked_for_a_key_which_is_then_sent(page: "Page") -> None:
    sent: list[Any] = []

    def answer(route: Any) -> None:
        sent.append(route.request.headers.get("authorization"))
        # The endpoint asks for no keys in this test's configuration; what it would say stands here.
        if sent[-1] == "Bearer right":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/problem+json", body='{"detail": "A key is missing."}')

    page.route("**/v1/expressions", answer)
    page.locator("#samples button").first.click()
    assert "API key" in fault(page)
    page.get_by_label("API key").fill("right")
    page.keyboard.press("Enter")
    page.locator("#grid button[aria-pressed=true]").wait_for()
    assert sent == [None, "Bearer right"]
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_everything_is_within_reach_of_the_keyboard_at_a_phones_width(page: "Page") -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    choose_sample(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#file").focus()
    order = ["file"]
    for _ in range(30):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.expression || ''"))
    wanted = ["file", "camera", "compare", "intensity", "download", *EXPRESSIONS]
    assert [name for name in order if name in wanted][: len(wanted)] == wanted


def test_the_policy_forbids_what_comes_from_elsewhere(page: "Page") -> None:
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in sorted((Path(__file__).parents[2] / "serve_app" / "page").iterdir()):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text()), path.name


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


CONTRASTS = """() => {
    const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
    const over = (above, below) => {
        const alpha = above[3] ?? 1;
        return [0, 1, 2].map((n) => above[n] * alpha + below[n] * (1 - alpha));
    };
    const light = (colour) => {
        const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = colour.map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
        const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const behind = (element) => element
        ? over(numbers(getComputedStyle(element).backgroundColor), behind(element.parentElement)) : [255, 255, 255];
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        if (!element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
        const style = getComputedStyle(element);
        const name = element.id || element.className || element.textContent.trim().slice(0, 20) || element.tagName;
        const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (own) {
            const large = parseFloat(style.fontSize) >= 24;
            const back = behind(element);
            found.push([`text of ${name}`, ratio(over(numbers(style.color), back), back), large ? 3 : 4.5]);
        }
        if (element.matches("button, .button, #key, fieldset span") && parseFloat(style.borderTopWidth)) {
            const edge = numbers(style.borderTopColor), around = behind(element.parentElement);
            const inside = behind(element);
            found.push([`edge of ${name}`, Math.max(ratio(over(edge, around), around), ratio(inside, around)), 3]);
        }
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_edges_stand_out_enough_to_be_seen(page: "Page", url: str, scheme: str) -> None:
    """WCAG 2.2 AA, measured in the browser: 4.5 to 1 for text, 3 to 1 for large text and for edges of controls."""
    page.emulate_media(color_scheme=scheme)
    choose_sample(page)
    found = page.evaluate(CONTRASTS)
    page.set_input_files("#file", {"name": "face.png", "mimeType": "image/png", "buffer": b"x"})
    fault(page)
    page.evaluate("for (const id of ['key-form', 'again']) document.getElementById(id).hidden = false")
    found += page.evaluate(CONTRASTS)
    names = {name for name, _, _ in found}
    assert {"text of fault", "text of download", "text of camera", "edge of key", "edge of camera"} <= names
    assert not [(name, round(ratio, 2)) for name, ratio, least in found if ratio < least]
