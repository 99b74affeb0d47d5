"""`visage demo`, whole. It takes minutes, so it runs with `make soak`."""

import json
from pathlib import Path

import pytest
from PIL import Image
from test_cli import ROOT, visage


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
    page = (out / "report.html").read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert Image.open(out / "faces.png").size[0] > 500
