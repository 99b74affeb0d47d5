"""The page's second tab, in Chromium, against the real endpoint: the expression of another face."""

import re
from typing import TYPE_CHECKING

from tests.faces.photos import face, photograph
from tests.serve_app.page.looking import IN_BROWSER, choose_sample, fault, pixels, says
from tests.serve_app.samples import UNITS, png

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = IN_BROWSER


def test_a_sample_driver_changes_the_chosen_face(page: "Page") -> None:
    page.get_by_role("radio", name="By face or muscle").check()
    assert page.locator("#result").is_hidden()
    assert page.locator("#transfer-empty").is_visible()
    page.locator("#samples button").first.click()
    page.locator("#transfer-source[src^=blob]").wait_for()
    assert page.locator("#transfer-result").is_hidden()
    page.get_by_role("button", name="Sample face, surprise").click()
    page.locator("#transfer-result").wait_for()
    first, address = pixels(page, "#transfer-result"), page.get_attribute("#transfer-result", "src")
    assert (first != pixels(page, "#transfer-source")).any()
    page.get_by_role("button", name="Sample face, anger").click()
    page.locator(f"#transfer-result:not([src='{address}'])").wait_for()
    said = page.locator("#transfer-check").inner_text()
    assert re.search(r"likeness to the person -?[\d.]+ of 1(, natural \d+ %|; mouth or chin look damaged)\.$", said)
    assert (pixels(page, "#transfer-result") != first).any()
    assert page.locator("#transfer-download").get_attribute("href") == page.get_attribute("#transfer-result", "src")


def test_a_photograph_can_be_the_driver_and_its_fault_is_a_sentence(page: "Page") -> None:
    choose_sample(page)
    page.get_by_role("radio", name="By face or muscle").check()
    page.set_input_files("#driver-file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    assert fault(page).endswith("Choose a JPEG, PNG or WebP file.")
    happy = png(photograph(face(2, "happy")))
    page.set_input_files("#driver-file", {"name": "a.png", "mimeType": "image/png", "buffer": happy})
    page.locator("#transfer-result").wait_for()
    assert page.locator("#fault").inner_text() == ""
    assert pixels(page, "#transfer-driver").shape == (32, 32, 3)
    page.get_by_role("radio", name="By its name").check()
    assert page.locator("#transfer").is_hidden()
    assert page.locator("#work").is_visible()


def test_a_fault_stays_when_an_earlier_answer_comes_late(page: "Page") -> None:
    choose_sample(page)
    held: list[Route] = []
    page.route("**/v1/transfer", lambda route: held.append(route))
    page.get_by_role("radio", name="By face or muscle").check()
    for _ in range(600):
        if held:
            break
        page.wait_for_timeout(100)
    page.set_input_files("#driver-file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    told = fault(page)
    with page.expect_response("**/v1/transfer"):
        held[0].continue_()
    page.locator("#unit-12-value:not(:empty)").wait_for()
    page.wait_for_timeout(300)
    assert page.locator("#fault").inner_text() == told


def test_the_sliders_of_action_units_change_the_face_by_keyboard(page: "Page") -> None:
    choose_sample(page)
    page.get_by_role("radio", name="By face or muscle").check()
    page.get_by_role("button", name="Sample face, surprise").click()
    page.locator("#transfer-result").wait_for()
    address = page.get_attribute("#transfer-result", "src")
    slider = page.get_by_label("Smile AU 12")
    assert page.locator("#units input").count() == len(UNITS)
    before = slider.input_value()
    assert page.locator("#unit-12-value").inner_text() == f"{float(before):.2f}"
    slider.focus()
    page.keyboard.press("End")
    page.locator(f"#transfer-result:not([src='{address}'])").wait_for()
    assert page.locator("#unit-12-value").inner_text() == "1.00"
    assert page.locator("#transfer-driver").is_hidden()
    says(page, "#status", "that the sliders say")
    raised, address = pixels(page, "#transfer-result"), page.get_attribute("#transfer-result", "src")
    page.keyboard.press("Home")
    page.locator(f"#transfer-result:not([src='{address}'])").wait_for()
    assert (pixels(page, "#transfer-result") != raised).any()
    page.get_by_role("button", name="As in your picture").click()
    page.locator("#transfer-result").wait_for(state="hidden")
    assert slider.input_value() == before
    assert page.get_by_role("button", name="As in your picture").is_disabled()


def test_it_fits_a_phone(page: "Page") -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("radio", name="By face or muscle").check()
    page.locator("#samples button").first.click()
    page.locator("#drivers button").first.click()
    page.locator("#transfer-result").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#model").inner_text().count("pixels") == 2  # it names both models
    # Whoever moves a slider sees what it does.
    for number in (0, -1):
        page.locator("#units input").nth(number).focus()
        slider, result = (page.locator(name).bounding_box() for name in ("#units input:focus", "#transfer-result"))
        assert slider
        assert result
        assert 0 <= result["y"] < result["y"] + result["height"] <= slider["y"] < 844
