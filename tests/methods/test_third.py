"""A third method, of tests/methods/plain: one folder and one line take it down the whole road."""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "plain"
LINE = '    "plain": "visage.methods.plain",\n'
# Each of the commands in one process, as each of its own takes seconds to import.
ROAD = """
import contextlib, io, json, sys
from visage.cli import app
said = []
for words in json.load(sys.stdin):
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        app(words, standalone_mode=False)
    said.append(heard.getvalue())
json.dump(said, open("said.json", "w"))
"""
GOLDEN = """
import sys
from pathlib import Path
from serve_app.loaded_model import compare_golden
from visage.methods.requests import EXPRESSION
from visage.registry.bundle import read_bundle
bundle = read_bundle(Path(sys.argv[1]))
editor = bundle.editor(EXPRESSION, self_check=True)
golden = compare_golden(editor, bundle)
answer = editor.run(golden.faces, [0], expression=[1], intensity=[1.0], check=[True])
print(bundle.card.method, answer.faces.shape, 0 <= answer.confidence[0] <= 1)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This product with the third method's folder in it and the line of the registry, and nothing else changed."""
    made = tmp_path_factory.mktemp("house")
    without = shutil.ignore_patterns("__pycache__")
    for part in ("platform", "serve_app", "jobs"):
        shutil.copytree(ROOT / part, made / part, ignore=without)
    methods = made / "platform" / "visage" / "methods"
    shutil.copytree(FOLDER, methods / "plain", ignore=without)
    registry = methods / "__init__.py"
    before = registry.read_text()
    registry.write_text(re.sub(r"(METHODS = \{\n(?:    .*\n)*)", rf"\1{LINE}", before))
    added = list(difflib.ndiff(before.splitlines(True), registry.read_text().splitlines(True)))
    assert [line[2:] for line in added if line[0] in "+-"] == [LINE]
    return made


def python(house: Path, folder: Path, code: str, *arguments: str, told: object = None) -> str:
    """What a program prints that stands in the house, which works in `folder`."""
    environment = {**os.environ, "PYTHONPATH": f"{house / 'platform'}:{house}"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, input=json.dumps(told), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def config(judged: tuple[FaceSet, FaceNetworks], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("road") / "plain.yaml"
    path.write_text(
        f"""
data: {{dir: {judged[0].dir}}}
method: {{name: plain, width: 8}}
loss: {{distance: {{weight: 20}}}}
train: {{images: 32, batch: 8, evaluate_every: 16, evaluate_pairs: 16}}
judge: {{images: 4000, bootstrap: 100}}
search: {{name: third, trials: 2, scheduler: none, space: {{loss.distance.weight: {{log_uniform: [1, 50]}}}}}}
"""
    )
    return path


def test_it_is_trained_judged_registered_served_and_exported(
    house: Path, config: Path, judged: tuple[FaceSet, FaceNetworks]
) -> None:
    face = judged[0].faces[judged[0].part("test")[0]]
    Image.fromarray(np.asarray(face)).save(config.parent / "face.png")
    bundle = "runs/train/plain/bundle"
    road = [
        ["train", "plain.yaml"],
        ["evaluate", "visage-plain/1", "--data", str(judged[0].dir)],
        ["promote", "visage-plain/1", "--force"],
        ["export", "visage-plain@champion", "--out", "plain.onnx"],
    ]
    python(house, config.parent, ROAD, told=road)
    trained, evaluated, promoted, exported = json.loads((config.parent / "said.json").read_text())
    assert f"next: visage edit PHOTO --to {judged[0].expressions[-1]}" in " ".join(trained.split())
    assert "registered as visage-plain/1" in " ".join(trained.split())
    assert "mean change" in evaluated
    assert "visage-plain/1 is now champion" in promoted
    assert "plain.onnx" in exported
    assert (config.parent / "plain.onnx").stat().st_size > 100_000
    card = (config.parent / bundle / "MODEL_CARD.md").read_text()
    assert "a plain U-Net on the L1 distance, of no paper" in card
    assert "Extensions of the published method in use: none." in card
    size = judged[0].size
    assert python(house, config.parent, GOLDEN, bundle) == f"plain (1, {size}, {size}, 3) True\n"


def test_a_misspelt_setting_of_it_is_told_by_its_own_names(house: Path, config: Path) -> None:
    words = ["train", "plain.yaml", "--set", "loss.distanse.weight=1"]
    code = f"import sys; from visage.cli import main; sys.argv[1:] = {words}; main()"
    with pytest.raises(AssertionError, match=r"loss\.distanse: unknown key; did you mean distance\."):
        python(house, config.parent, code)


@pytest.mark.ray
def test_it_is_searched(house: Path, config: Path) -> None:
    python(house, config.parent, ROAD, told=[["tune", "plain.yaml"]])
    (said,) = json.loads((config.parent / "said.json").read_text())
    assert "visage-plain/" in said


def test_the_page_shows_the_folder_as_it_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "method.md").read_text(), re.DOTALL)
    assert blocks == [*((FOLDER / name).read_text() for name in ("config.py", "losses.py", "__init__.py")), LINE]
