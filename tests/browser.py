"""The system's Chromium, for the pages' tests and screenshots."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
]

# Of all text, and of the edges of controls that have one: [name, contrast, the least that WCAG 2.2 AA asks for].
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


def chromium() -> str | None:
    """The path of a Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def opened_browser(*flags: str) -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, *flags], timeout=180_000)
        try:
            yield browser
        finally:
            browser.close()
