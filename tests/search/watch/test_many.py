"""A thousand trials and twenty pictures, in a real browser."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import chromium

ROOT = Path(__file__).parents[3]


@pytest.mark.soak
@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_a_thousand_trials_and_twenty_pictures_do_not_stutter() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "watch.py")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=1200)
    found = json.loads(done.stdout)
    seen = {name: part for name, part in found.items() if isinstance(part, dict) and "frames" in part}
    assert len(seen) == 6
    # A hundred on two cores with a load of 5 to 8; all rows in the document at once took 1,363 there.
    assert max(part["longest task ms"] for part in seen.values()) < 500
    assert all(part["late frames"] <= 0.02 * part["frames"] for part in seen.values())
    assert found["nodes"] < 3_000
