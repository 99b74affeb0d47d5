"""`visage demo`: whole, which takes minutes and so runs with `make soak`, and its page."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import ROOT, visage

from tests.browser import chromium, opened_browser
from tests.evaluations import sample
from visage.client import Answer
from visage.config import Experiment, read_config
from visage.faces.facs import EXPRESSIONS
from visage.faces.picture import encode_picture, write_picture
from visage.workflows.demo.report import write_report


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_demo_goes_the_whole_road(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    done = visage("demo", folder=tmp_path, seconds=1700)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "demo"
    result = json.loads((out / "result.json").read_text())
    assert result["endpoint"]["status"] == 200
    assert result["model"]["alias"] == "champion"
    assert result["study"]["trials"] == result["study"]["complete"] + result["study"]["pruned"]
    assert result["metrics"]["score"]["low"] > result["rows"]["copy"]["score"]["high"]
    assert not [address for address in addresses(out / "report.html") if address.startswith(("http", "//"))]
    assert Image.open(out / "faces.png").size[0] > 500


def addresses(page: Path) -> list[str]:
    """What a page's tags point at; the text of a script, which may name addresses too, is none."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda _, given: found.extend(v for n, v in given if n in ("src", "href") and v)  # type: ignore[method-assign]
    parser.feed(page.read_text())
    return found


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """The demo's page, of a study and an evaluation as the demo has them, without its minutes of training."""
    import optuna

    write_picture(tmp_path / "faces.png", np.full((640, 64 * 10, 3), 128, np.uint8))
    experiment = read_config(
        Experiment, ROOT / "configs" / "demo.yaml", [f"search.storage=sqlite:///{tmp_path}/optuna.db"]
    )
    search = experiment.search
    study = optuna.create_study(study_name=search.name, storage=search.storage, directions=["maximize"] * 2)
    for number in range(search.trials):
        trial = study.ask()
        for path in search.space:
            trial.suggest_float(path, 0.1, 1)
        pruned = number % 2
        told = {"state": "pruned" if pruned else "complete", "reason": f"fell behind at {4000} images" * pruned}
        for name, value in told.items():
            trial.set_user_attr(name, value)
        for name in ("score", "identity", "identity_similarity", "expression_probability", "frechet", "time_total_s"):
            trial.set_user_attr(name, 123.456 + number)
        trial.set_user_attr("checkpoint_path", str(tmp_path))
        study.tell(trial, None if pruned else [0.5 + number, 0.6], state=optuna.trial.TrialState(2 if pruned else 1))
    rows = sample(EXPRESSIONS).rows
    figures = rows["real"].metrics
    figures |= dict.fromkeys(("expression_change", "frechet", "ssim", "psnr", "l1"), figures["score"])
    evaluation = sample(
        EXPRESSIONS, rows=dict.fromkeys(("model", "copy", "mean_face", "wrong_person"), rows["model"]) | rows
    )
    result = {
        "model": {"name": "visage-ucgan", "version": 1, "alias": "champion"},
        "endpoint": {"status": 200, "latency_ms": 99.9},
        "seconds": dict.fromkeys(("prepare", "judges", "tune", "register", "gate", "serve", "query"), 100.5),
    }
    face, model = {"box": (0, 0, 1, 1), "landmarks": ()}, {"name": "a", "version": 1, "alias": None, "run_id": "r"}
    png = base64.b64encode(encode_picture(np.zeros((64, 64, 3), np.uint8)))
    unchecked = {"intensity": 1, "image": png, "identity_similarity": None, "expression_confidence": None}
    given = [{"expression": name} | unchecked for name in EXPRESSIONS]
    answer = Answer.model_validate({"results": given, "face": face, "model": model})
    write_report(tmp_path / "report.html", result, experiment, evaluation, answer, tmp_path / "faces.png")
    return tmp_path / "report.html"


@pytest.mark.browser
@pytest.mark.skipif(not chromium(), reason="no Chromium")
def test_the_report_cuts_nothing_at_the_right(report: Path) -> None:
    with opened_browser() as browser:
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto(report.as_uri(), timeout=120_000)
            cut = page.evaluate(
                """() => [...document.querySelectorAll('th, td, img, pre, p, h1, h2, .plotly')]
                .filter(each => each.getBoundingClientRect().right > document.body.getBoundingClientRect().right + 1)
                .map(each => each.textContent.slice(0, 80))"""
            )
            assert cut == [], width
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.close()
