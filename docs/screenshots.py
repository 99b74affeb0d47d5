"""Makes the pictures of the page in docs/: `python docs/screenshots.py [URL]`, with `visage serve` running there.

Four files: 1280 and 390 pixels wide, light and dark. Needs Chromium.
"""

import io
import sys
from pathlib import Path

from PIL import Image

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
                page.mouse.move(0, 0)
                page.evaluate("document.activeElement.blur()")
                picture = Image.open(io.BytesIO(page.screenshot(full_page=True, timeout=PATIENCE)))
                out = DOCS / f"page-{width}-{scheme}.webp"
                picture.convert("RGB").save(out, quality=85, method=6)
                print(out, out.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
