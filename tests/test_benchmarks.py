"""That the scripts of benchmarks/ which no figure here calls still run."""

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.networks.train import FaceNetworks
from visage.judging.sheet import CELL, GAP, LINE
from visage.methods.eft.networks.disentangler import Disentangler
from visage.models.unet import UNet

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
MACHINE = ("torch", "torchvision", "safetensors", "torchmetrics", "typer", "rich", "numpy", "pillow")
PARTS = ("parity", "train", "judges", "resume", "bfloat16", "step", "endpoint", "memory", "busy")


@pytest.mark.slow
@pytest.mark.parametrize("parts", [pytest.param(PARTS, marks=pytest.mark.soak), ("endpoint",)], ids=["whole", "short"])
@pytest.mark.timeout(1800)
def test_the_script_for_a_gpu_runs_on_a_cpu_with_the_packages_that_it_names(
    parts: tuple[str, ...], tmp_path: Path
) -> None:
    out, packages = tmp_path / "out", tmp_path / "packages"
    lay_out({*with_needs(MACHINE), *named()}, packages)
    # -S: of what is installed here nothing else is found.
    command = [sys.executable, "-S", str(SCRIPT), "--device", "cpu", "--quick", "--out", str(out), "--parts", *parts]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=1700)
    results = json.loads((out / "gpu.json").read_text())["results"]
    assert tuple(results) == parts
    assert not {name: found["failed"] for name, found in results.items() if "failed" in found}
    if "parity" in parts:
        assert results["parity"]["ucgan: largest relative difference of a loss or gradient (d_real)"] == "0.0e+00"
    assert (out / "gpu.md").read_text().count("\n") > 6 * len(parts)


def named() -> list[str]:
    """The packages that the script's head says are to be installed beside those of the machine."""
    head = ast.get_docstring(ast.parse(SCRIPT.read_text())) or ""
    words = head.partition("--no-deps ")[2].partition("\n\n")[0].replace("\\", " ").split()
    return [word.partition("==")[0] for word in words]


def with_needs(names: tuple[str, ...]) -> set[str]:
    """The packages and all that they need here."""
    found, open_ = set[str](), list(names)
    while open_:
        if (name := open_.pop()) not in found:
            found.add(name)
            needs = map(Requirement, distribution(name).requires or [])
            open_ += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def lay_out(names: set[str], folder: Path) -> None:
    """A folder in which these packages alone are found."""
    folder.mkdir()
    for name in names:
        for top in {file.parts[0] for file in distribution(name).files or [] if file.parts[0] not in ("..", "bin")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution(name).locate_file(top))).absolute())


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
