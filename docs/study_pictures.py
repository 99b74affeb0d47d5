"""Makes the pictures of a study's page in docs/: `python docs/study_pictures.py ADDRESS`.

ADDRESS: as `visage study NAME --web` prints it. Two files: 1280 pixels wide, light, and 390 wide, dark. Needs Chromium.
"""

import sys

from screenshots import PATIENCE, keep

DECODED = """() => Promise.all([...document.querySelectorAll("#faces img")].map((image) => {
    image.loading = "eager";
    return image.decode();
}))"""


def main() -> None:
    from browser import opened_browser

    with opened_browser() as browser:
        for width, height, scheme in ((1280, 900, "light"), (390, 844, "dark")):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.set_default_timeout(PATIENCE)
            page.goto(sys.argv[1])
            page.locator("#lineage li").nth(4).wait_for()
            page.evaluate(DECODED)
            keep(page, f"study-{width}-{scheme}")


if __name__ == "__main__":
    main()
