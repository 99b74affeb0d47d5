"""That the scripts of benchmarks/ which no figure here calls still run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.report import CELL, GAP, LINE
from visage.judging.train import FaceNetworks
from visage.models.disentangler import Disentangler
from visage.models.unet import UNet

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


def test_the_grid_of_all_test_people_has_the_driver_of_a_transfer(
    judged: tuple[FaceSet, FaceNetworks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from faces import grid

    faces, networks = judged
    people = len(np.unique(faces.identity[faces.part("test")]))
    torch.manual_seed(0)
    for generator, columns in ((UNet(64, 8, 3), 4), (Disentangler(64, 8, 8, len(AUS)), 5)):
        picture = grid(generator.eval(), faces, networks, 2)
        step, rows = CELL + GAP, -(-people // 2)
        assert picture.size == (2 * columns * step + GAP, LINE + rows * (CELL + LINE))
        cells = np.asarray(picture)[LINE : LINE + CELL]
        shown = [cells[:, GAP + k * step : GAP + k * step + CELL] for k in range(columns)]
        assert all(len(np.unique(cell)) > 20 for cell in shown)  # none is left empty
        assert len({cell.tobytes() for cell in shown}) == columns
