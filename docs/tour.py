"""Makes the pictures of the README's tour: `python docs/tour.py`, after `make demo`. Needs Chromium.

Four of 1280 x 800 pixels, made smaller: the demo's study as a page, two of its trials' faces to choose from blind, the
runs in MLflow, and the endpoint's page with the champion. Everything is served here for as long as it takes.
"""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from screenshots import DOCS, PATIENCE, SAMPLE

if TYPE_CHECKING:
    from playwright.sync_api import Page

sys.path.insert(0, str(DOCS.parent / "tests"))
STORE, STUDIES = "sqlite:///runs/demo/mlflow.db", "sqlite:///runs/demo/optuna.db"
WIDE, TALL, SHOWN = 1280, 800, 640


def main() -> None:
    from browser import opened_browser
    from servers import running

    from serve_app.ingress import free_ports
    from visage.registry.ui import pages, views
    from visage.search.watch.server import build_app

    with opened_browser() as browser:
        page = browser.new_page(viewport={"width": WIDE, "height": TALL})
        page.set_default_timeout(PATIENCE)
        with running(build_app(STUDIES, "tour")) as url:
            page.goto(f"{url}/?token=tour&study=demo")
            page.locator("#lineage li").nth(4).wait_for()
            page.locator("#seeds-text").wait_for()
            keep(page, "study")
            page.goto(f"{url}/eyes?study=demo")
            page.locator("#faces").wait_for()
            keep(page, "eyes")
        with pages(STORE, free_ports(1)[0]) as (url, _):
            page.goto(f"{url}{views(STORE)[0]}")
            page.get_by_text("demo-0000").first.wait_for()
            for close in page.get_by_role("button", name="Close").all():  # of what MLflow opens beside the runs
                close.click()
            page.wait_for_timeout(3_000)  # it draws its columns one after another
            keep(page, "runs")
        with serving(free_ports(1)[0]) as url:
            page.goto(url)
            page.locator("#samples button").nth(SAMPLE).click()
            page.locator("#strip li").nth(5).wait_for()
            keep(page, "endpoint")


@contextmanager
def serving(port: int) -> Iterator[str]:
    """`visage serve` with the demo's champion, until it answers."""
    command = [sys.executable, "-m", "visage.cli", "serve", "--set", f"tracking_uri={STORE}", "--set", f"port={port}"]
    command += ["--set", "model=visage-ucgan@champion", "--set", "access.required=false"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        assert process.stdout
        try:
            while "answers at" not in (line := process.stdout.readline()):
                assert line, "visage serve has ended"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def keep(page: "Page", name: str) -> None:
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    picture = Image.open(io.BytesIO(page.screenshot(timeout=PATIENCE))).convert("RGB")
    out = DOCS / f"tour-{name}.webp"
    picture.resize((SHOWN, SHOWN * TALL // WIDE), Image.Resampling.LANCZOS).save(out, quality=85, method=6)
    print(out, out.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
