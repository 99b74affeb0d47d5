"""A preparation that was cut off, even by SIGKILL, goes on where it stopped."""

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faces.photos import people_folder
from visage.config.data import Data, Shares
from visage.faces import photographs
from visage.faces.align import Detector
from visage.faces.faceset import FaceSet
from visage.faces.picture import read_picture
from visage.faces.prepare import prepare
from visage.faces.spool import Spool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHARES = Shares(train=0.5, validation=0.2, test=0.3)
PICTURES = 18


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = people_folder(tmp_path_factory.mktemp("photographs"), PICTURES // 2)
    (folder / "p00_happy.png").write_bytes(b"broken")
    return folder


def data(source: Path, out: Path) -> Data:
    return Data(dir=out, layout="folder", source=source, size=64, shares=SHARES)


@pytest.fixture(scope="module")
def uninterrupted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return prepare(data(source, tmp_path_factory.mktemp("whole") / "set"))


def killed(source: Path, out: Path, after: int) -> None:
    """Prepare in another process, which is killed when so many pictures are done."""
    code = f"""
import os, signal
from pathlib import Path
from visage.config.data import Data
from visage.faces.prepare import prepare
data = Data.model_validate_json({data(source, out).model_dump_json()!r})
prepare(data, lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == {after} else None)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("after", [3, 13])
def test_a_killed_preparation_goes_on_and_equals_one_that_was_not(
    after: int, source: Path, uninterrupted: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    killed(source, out, after)
    assert not out.exists()
    read: list[str] = []
    monkeypatch.setattr(
        photographs, "read_picture", lambda path, name: read.append(name) or read_picture(path, name=name)
    )
    heard: list[int] = []
    faces = prepare(data(source, out), lambda done, total: heard.append(done))
    assert heard == list(range(after, PICTURES + 1))  # what was done stays done
    whole_batches = after // photographs.BATCH * photographs.BATCH
    assert len(read) == PICTURES - whole_batches
    assert (faces.faces == uninterrupted.faces).all()
    for name in ("set.json", "faces.csv", "faces.npy", "contact.png"):
        assert (out / name).read_bytes() == (uninterrupted.dir / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_photograph_that_changed_meanwhile_is_aligned_anew(source: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photographs", tmp_path / "set"
    shutil.copytree(source, photos)
    killed(photos, out, 12)
    shutil.copy(photos / "p08_happy.png", photos / "p00_happy.png")
    heard: list[int] = []
    faces = prepare(data(photos, out), lambda done, total: heard.append(done))
    assert heard[0] == 11
    assert faces.facts["left_out"] == []
    row = np.flatnonzero((faces.identity == "p00") & (faces.expression == faces.expressions.index("happy")))
    twin = np.flatnonzero((faces.identity == "p08") & (faces.expression == faces.expressions.index("happy")))
    assert (faces.faces[row].astype(int) - faces.faces[twin]).max() <= 1


@given(st.integers(0, 5), st.integers(0, 5000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_spool_that_was_cut_anywhere_keeps_all_whole_records(count: int, lost: int, flip: bool) -> None:
    random = np.random.default_rng(count)
    faces = random.integers(0, 256, (count, 16, 16, 3), np.uint8)
    file = io.BytesIO()
    first = Spool(file, 16)
    ends = []
    for k, face in enumerate(faces):
        first.write(bytes([k]) * 32, face, "no face was found" if k == 2 else "")
        ends.append(file.tell())
    content = file.getvalue()
    content = content[: max(0, len(content) - lost)]
    if flip and content:
        content = content[:-1] + bytes([content[-1] ^ 1])
    whole = sum(end <= len(content) - bool(flip and content) for end in ends)
    file = io.BytesIO(content)
    back = Spool(file, 16)
    assert [bytes([k]) * 32 in back for k in range(count)] == [k < whole for k in range(count)]
    assert len(file.getvalue()) == (ends[whole - 1] if whole else 0)
    good = [k for k in range(whole) if k != 2]
    assert all(
        (face == faces[k]).all() for k, face in zip(good, back.faces(bytes([k]) * 32 for k in good), strict=True)
    )
    assert [bool(back.reason(bytes([k]) * 32)) for k in range(whole)] == [k == 2 for k in range(whole)]


def test_faces_of_another_size_in_the_spool_are_not_taken() -> None:
    file = io.BytesIO()
    Spool(file, 16).write(b"k" * 32, np.zeros((16, 16, 3), np.uint8), "")
    assert len(Spool(file, 32)) == 0


def test_a_batch_finds_what_each_picture_alone_finds(source: Path) -> None:
    pictures = [read_picture(path) for path in sorted(source.iterdir()) if path.name != "p00_happy.png"][:8]
    pictures[3] = pictures[3][:200, :180].copy()  # another size
    pictures[5] = np.full((256, 256, 3), 120, np.uint8)
    detector = Detector()
    together = detector.find_all(pictures)
    assert together[5] == []
    for picture, found in zip(pictures, together, strict=True):
        alone = detector.find(picture)
        assert len(alone) == len(found)
        for one, other in zip(alone, found, strict=True):
            assert np.abs(one.landmarks - other.landmarks).max() < 1e-3
            assert one.score == pytest.approx(other.score, abs=1e-5)
