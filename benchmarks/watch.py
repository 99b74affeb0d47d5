"""What the page of a study costs with many trials, in its server and in a real browser.

    python benchmarks/watch.py [TRIALS] [PICTURES]

A study made with Optuna directly, nothing trained: of each trial a curve of eight evaluations in MLflow, of PICTURES of
them a sheet of faces of 128 px. It seems to run: while the browser looks at it, trials end. Tasks are those of the
browser's main thread (its PerformanceObserver, which names those over 50 ms); a frame is late when it comes 50 ms after
the one before. Needs Chromium.
"""

import io
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from machine import measured_with
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from browser import opened_browser  # noqa: E402
from servers import running  # noqa: E402

from tests.search.watch.samples import add, begun, told  # noqa: E402
from visage.search.study.lock import CLAIM  # noqa: E402
from visage.search.watch.looks import Studies  # noqa: E402
from visage.search.watch.server import MOST, build_app  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVALUATIONS, IMAGES, SHEET = 8, 900, (9 * 132, 6 * 146)
PATIENCE = 300_000
# Tasks over 50 ms and the time between frames, from now on.
NOTE = """() => {
    window.tasks = []; window.frames = [];
    new PerformanceObserver((list) => list.getEntries().forEach((each) => tasks.push(each.duration)))
        .observe({ type: "longtask" });
    let before = performance.now();
    const note = (now) => { frames.push(now - before); before = now; requestAnimationFrame(note); };
    requestAnimationFrame(note);
}"""
FORGET = "() => { const found = { tasks, frames }; window.tasks = []; window.frames = []; return found; }"


def main(trials: int = 1_000, pictures: int = MOST) -> None:
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        found = measured(Path(folder), trials, pictures)
    print(json.dumps(found | measured_with("optuna", "mlflow", "fastapi"), indent=1))


def measured(folder: Path, trials: int, pictures: int) -> dict[str, Any]:
    study = made(folder, trials, pictures)
    storage = f"sqlite:///{folder}/optuna.db"
    found: dict[str, Any] = {"trials": trials, "pictures": pictures, "server": of_server(storage)}
    with running(build_app(storage, "t")) as url, opened_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.add_init_script(f"({NOTE})()")
        began = time.monotonic()
        page.goto(f"{url}/?token=t&study=test&trials={','.join(map(str, range(pictures)))}")
        page.locator("#rows tr").nth(49).wait_for()
        found["seconds to the table"] = round(time.monotonic() - began, 2)
        page.locator("#curves-text", has_text=f"{trials} of {trials} trials have a curve").wait_for()
        page.locator("#faces img").nth(pictures - 1).scroll_into_view_if_needed()
        page.evaluate("Promise.all([...document.querySelectorAll('#faces img')].map((each) => each.decode()))")
        found["seconds to all curves and pictures"] = round(time.monotonic() - began, 2)
        found["opening"] = of_frames(page)
        for name, act in ACTS.items():
            act(page)
            found[name] = of_frames(page)
        ended = threading.Event()
        thread = threading.Thread(target=end_trials, args=(study, ended))
        thread.start()
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(20_000)
        ended.set()
        thread.join()
        found["trials end, 20 s"] = of_frames(page)
        found["nodes"] = page.evaluate("document.querySelectorAll('*').length")
        found["heap MB"] = round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6, 1)
    return found


def made(folder: Path, trials: int, pictures: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, tracking, parent = begun(folder, trials=trials + 100)
    draw = random.Random(0)
    for number in range(trials):
        score = draw.uniform(0.2, 0.8)
        steps = range(IMAGES // EVALUATIONS, IMAGES + 1, IMAGES // EVALUATIONS)
        curve = [(at, score * at / IMAGES + draw.gauss(0, 0.01)) for at in steps][: EVALUATIONS if number % 3 else 3]
        run = told(tracking, parent, f"test-{number:04d}", curve, faces=False)
        if number < pictures:
            run.add_faces({f"{curve[2][0]:08d}.png": sheet(number)})
        state, reason = ("complete", "") if number % 3 else ("pruned", f"stopped at {curve[-1][0]} of {IMAGES} images")
        add(study, run.run_id, score, state, reason)
    study.set_user_attr(CLAIM, f"{socket.gethostname()}:{os.getpid()}:0")
    return study


def sheet(seed: int) -> bytes:
    """A picture that compresses as photographs do."""
    noise = np.random.default_rng(seed).normal(128, 40, (SHEET[1] // 2, SHEET[0] // 2, 3)).clip(0, 255)
    content = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).resize(SHEET, Image.Resampling.BICUBIC).save(content, "PNG")
    return content.getvalue()


def end_trials(study: optuna.Study, ended: threading.Event) -> None:
    draw = random.Random(1)
    while not ended.wait(1):
        add(study, "", draw.uniform(0.2, 0.9))


def of_server(storage: str) -> dict[str, Any]:
    """Seconds of the clock and of this process: the first look, one where nothing and one where everything is read."""
    studies, found = Studies(storage), dict[str, Any]()
    for name in ("first look", "look again", "and again"):
        clock, spent = time.monotonic(), time.process_time()
        content = studies.look("test").content()[0]
        found[name] = {"s": round(time.monotonic() - clock, 3), "cpu s": round(time.process_time() - spent, 3)}
        time.sleep(1.1)
    clock, spent, revision, left, asks = time.monotonic(), time.process_time(), 0, 1, 0
    while left:
        curves = studies.look("test").curves(revision)
        revision, left, asks = curves.revision, curves.left, asks + 1
    found["all curves"] = {"s": round(time.monotonic() - clock, 3), "cpu s": round(time.process_time() - spent, 3)}
    return found | {"looks for all curves": asks, "kB of a document": len(content) // 1000}


def of_frames(page: "Page") -> dict[str, Any]:
    """What happened since this was last asked, in milliseconds."""
    page.wait_for_timeout(200)
    found = page.evaluate(FORGET)
    frames = np.array(found["frames"] or [0.0])
    return {
        "longest task ms": round(max(found["tasks"], default=0.0)),
        "tasks over 50 ms": len(found["tasks"]),
        "frames": len(frames),
        "frame p99 ms": round(float(np.percentile(frames, 99)), 1),
        "late frames": int((frames > 50).sum()),
    }


def scroll(page: "Page") -> None:
    for _ in range(40):
        page.mouse.wheel(0, 120)
        page.wait_for_timeout(30)


def sort(page: "Page") -> None:
    for name in ("score", "loss.triplet.margin", "trial", "rank"):
        page.get_by_role("columnheader", name=name, exact=True).get_by_role("button").click()
        page.wait_for_timeout(200)


def point(page: "Page") -> None:
    page.locator("#curves").scroll_into_view_if_needed()
    box = page.locator("#curves").bounding_box()
    assert box
    for step in range(60):
        page.mouse.move(
            box["x"] + 60 + step * (box["width"] - 80) / 60, box["y"] + box["height"] * (0.3 + step % 7 / 14)
        )
        page.wait_for_timeout(16)


def turn(page: "Page") -> None:
    for _ in range(9):
        page.locator("#after").click()
        page.wait_for_timeout(100)


ACTS = {"scrolling": scroll, "sorting four times": sort, "pointing at curves": point, "turning nine pages": turn}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
