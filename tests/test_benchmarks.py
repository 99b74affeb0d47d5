"""That a benchmark which needs a machine of its own still runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.soak
def test_the_script_for_a_gpu_runs_whole_on_a_cpu(tmp_path: Path) -> None:
    parts = ["parity", "train", "judges", "resume", "bfloat16", "step", "endpoint", "memory", "busy"]
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--out", str(tmp_path)]
    subprocess.run([*command, "--parts", *parts], cwd=ROOT, check=True, timeout=550)
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert list(results) == parts
    assert not [name for name, found in results.items() if "failed" in found]
    assert results["parity"]["ucgan: largest relative difference of a loss or gradient (d_real)"] == "0.0e+00"
    assert (tmp_path / "gpu.md").read_text().count("\n") > 30
