"""Whether what the page shows can be seen."""

from typing import TYPE_CHECKING

import pytest

from tests.serve_app.page.looking import IN_BROWSER, choose_sample, fault

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = IN_BROWSER


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
        if (element.matches("button:enabled, .button, #key, fieldset span") && parseFloat(style.borderTopWidth)) {
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
    page.get_by_role("radio", name="By face or muscle").check()
    page.locator("#drivers button").first.click()
    page.locator("#transfer-result").wait_for()
    found += page.evaluate(CONTRASTS)
    page.set_input_files("#file", {"name": "face.png", "mimeType": "image/png", "buffer": b"x"})
    fault(page)
    page.evaluate("for (const id of ['key-form', 'again']) document.getElementById(id).hidden = false")
    found += page.evaluate(CONTRASTS)
    names = {name for name, _, _ in found}
    expected = {"text of fault", "text of download", "text of camera", "edge of key", "edge of camera"}
    assert expected | {"text of unit-12-value", "text of units-reset"} <= names
    assert not [(name, round(ratio, 2)) for name, ratio, least in found if ratio < least]
