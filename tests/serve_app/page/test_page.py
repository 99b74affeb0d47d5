"""The page at /, in Chromium, against the real endpoint."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.faces.photos import face as drawn
from tests.faces.photos import photograph
from tests.serve_app.page.looking import IN_BROWSER, choose_sample, fault, pixels, says
from tests.serve_app.samples import EXPRESSIONS, bomb, opened, png

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = IN_BROWSER


def test_a_sample_face_comes_back_with_every_expression_in_one_request(page: "Page") -> None:
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    choose_sample(page)
    assert page.locator("#grid button").all_inner_texts() == list(EXPRESSIONS)
    page.locator("#strip li").nth(5).wait_for()
    assert len(posts) == 2  # all expressions, and the way to the one that is shown
    assert (pixels(page, "#before") != pixels(page, "#after")).any()
    page.get_by_role("button", name="sad").click()
    page.locator("#after[alt*=sad]").wait_for()
    assert (pixels(page, "#after") == pixels(page, "[data-expression=sad] img")).all()
    page.locator("#strip img[alt='sad, intensity 1.00']").wait_for()
    assert len(posts) == 3
    assert (pixels(page, "#strip li:last-child img") == pixels(page, "#after")).all()
    assert page.locator("#strip span").all_inner_texts() == ["0.00", "0.20", "0.40", "0.60", "0.80", "1.00"]


def test_two_sliders_mix_expressions_and_the_way_there_can_be_downloaded(page: "Page", tmp_path: Path) -> None:
    choose_sample(page)
    alone = pixels(page, "#after")
    page.get_by_label("Mixed with").select_option("anger")
    says(page, "#status", "happy with anger")
    assert page.locator("#mix").input_value() == "0.5"
    mixed = pixels(page, "#after")
    assert (mixed != alone).any()
    page.get_by_label("How much of it").focus()
    page.keyboard.press("End")  # together no more than one may have
    says(page, "#mix-value", "0.50")
    page.get_by_label("Intensity").focus()
    page.keyboard.press("Home")
    says(page, "#status", "intensity 0.00")
    assert page.get_attribute("#mix", "max") == "1.50"
    page.get_by_label("How much of it").focus()
    page.keyboard.press("End")
    says(page, "#mix-value", "1.50")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as an animation").click()
    assert download.value.suggested_filename == "visage-happy-with-anger-0.00-generated.webp"
    download.value.save_as(tmp_path / "way.webp")
    with Image.open(tmp_path / "way.webp") as way:
        assert (way.format, way.n_frames) == ("WEBP", 12)
    page.get_by_label("Mixed with").select_option("nothing")
    page.locator("#strip img").first.wait_for()
    assert page.locator("#mix").is_disabled()


def test_of_several_faces_one_is_chosen(page: "Page") -> None:
    both = png(photograph(drawn(1, "neutral"), drawn(2, "happy")))
    page.set_input_files("#file", {"name": "two.png", "mimeType": "image/png", "buffer": both})
    says(page, "#found-text", "2 faces were found. Choose one.")
    says(page, "#empty", "Choose one of the faces.")
    assert page.locator("#fault").inner_text() == ""
    left, right = (page.get_by_role("button", name=f"Face {number} of 2") for number in (1, 2))
    boxes = left.bounding_box(), right.bounding_box()
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    right.focus()
    page.keyboard.press("Enter")
    page.locator("#grid button[aria-pressed=true]").wait_for()
    second = pixels(page, "#before")
    page.get_by_role("radio", name="Photograph").check()
    page.locator("#stage[data-view=photo]").wait_for()
    changed = (opened(both) != pixels(page, "#after")).any(axis=2)
    assert not changed[:, : changed.shape[1] // 2].any()
    assert changed.any()
    page.get_by_role("radio", name="Face", exact=True).check()
    left.click()
    page.locator("[aria-label='Face 1 of 2, from the left'][aria-pressed=true]").wait_for()
    says(page, "#found-text", "The face that you chose")
    page.wait_for_function("document.querySelector('#after').complete")
    assert (pixels(page, "#before") != second).any()
    choose_sample(page)
    left.wait_for(state="detached")


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
    assert sent[:2] == [None, "Bearer right"]
    assert set(sent[2:]) <= {"Bearer right"}
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
    for path in sorted((Path(__file__).parents[3] / "serve_app" / "page").iterdir()):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text()), path.name
