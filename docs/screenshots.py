"""Makes the pictures of the page in docs/: `python docs/screenshots.py [URL]`, with `visage serve` running there.

Four files: 1280 and 390 pixels wide, light and dark; and two of the second tab, light, where the endpoint has a model
of transfers that takes action units. Needs Chromium.
"""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))
SAMPLE = 1
PATIENCE = 120_000


def main() -> None:
    from browser import opened_browser

    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    with opened_browser() as browser:
        for width, height in ((1280, 900), (390, 844)):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.set_default_timeout(PATIENCE)
                page.goto(url)
                page.locator("#samples button").nth(SAMPLE).click()
                page.locator("#grid button[aria-pressed=true]").wait_for()
                page.locator("#status", has_text="Shown").wait_for(state="attached")
                page.locator("#strip img").last.wait_for()
                keep(page, f"page-{width}-{scheme}")
                if scheme == "light" and page.locator("#units input").count():
                    page.get_by_role("radio", name="By face or muscle").check()
                    page.locator("#transfer-source[src^=blob]").wait_for()
                    page.locator("#unit-12").fill("1")
                    page.locator("#transfer-result").wait_for()
                    keep(page, f"transfer-{width}-{scheme}")


def keep(page: "Page", name: str) -> None:
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True, timeout=PATIENCE)))
    out = DOCS / f"{name}.webp"
    picture.convert("RGB").save(out, quality=85, method=6)
    print(out, out.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
