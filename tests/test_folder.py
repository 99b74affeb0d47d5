"""A folder of photographs edited as a whole, by a model here and by an endpoint: what is refused, kept and gone on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.faces.photos import face, photograph
from tests.serve_app.samples import held, make_bundle, opened, run_alone
from tests.servers import running
from tests.test_cli import ROOT, visage_here
from visage.errors import UserError
from visage.faces.picture import ENDINGS
from visage.faces.provenance import read_provenance
from visage.workflows.folder import LOCK, NOTES
from visage.workflows.pictures import edit_photo, transfer_photo

GOOD = ("a.png", "inner/b.jpg", "inner/deep/c.webp", "d.bmp")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def url(bundle: Any) -> Iterator[str]:
    from serve_app.inference import Answers
    from serve_app.routes import build_app
    from visage.config.serving import Limits

    with running(build_app(held(bundle), Answers(run_alone, megapixels=50, self_check=False), Limits())) as url:
        yield url


@pytest.fixture(params=["here", "endpoint"])
def way(request: pytest.FixtureRequest, bundle: Any) -> dict[str, Any]:
    """By which road, as arguments of the workflow."""
    return {"model": str(bundle.dir), "url": request.getfixturevalue("url") if request.param == "endpoint" else None}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four photographs of one face in folders, one of nobody, one that is none, and what is passed over."""
    folder = tmp_path / "photos"
    (folder / "inner" / "deep").mkdir(parents=True)
    for person, name in enumerate(GOOD):
        Image.fromarray(photograph(face(person, "neutral"))).save(folder / name)
    Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save(folder / "nobody.png")
    (folder / "torn.jpg").write_bytes((folder / "inner" / "b.jpg").read_bytes()[:900])
    (folder / "notes.txt").write_text("none of these")
    (folder / ".hidden.png").write_bytes(b"none of these")
    return folder


def edit(source: Path, out: Path, way: dict[str, Any], to: str = "happy", **more: Any) -> None:
    store = f"sqlite:///{out.parent}/mlflow.db"
    edit_photo(source, to, out, 1.0, way["model"], way["url"], more.pop("view", "photo"), store, **more)


def notes(out: Path) -> dict[str, str]:
    """Faults by photograph, the last of each."""
    lines = [json.loads(line) for line in (out / NOTES).read_text().splitlines()]
    return {line["photograph"]: line["fault"] for line in lines if "photograph" in line}


def stamps(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("*.*") if path.suffix in ENDINGS}


@pytest.mark.slow
def test_every_photograph_becomes_a_picture_or_a_line(
    source: Path, tmp_path: Path, way: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"2 of 6 photographs failed; .*edits\.jsonl"):
        edit(source, out, way)
    made = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert made == {"a.png", "inner/b.jpg", "inner/deep/c.webp", "d.png", NOTES, LOCK}
    assert set(notes(out)) == {*GOOD, "nobody.png", "torn.jpg"}
    assert "no face was found" in notes(out)["nobody.png"]
    for name in ("inner/b.jpg", "d.png"):
        assert read_provenance(out / name) is not None
        assert opened((out / name).read_bytes()).shape == (256, 256, 3)
    said = capsys.readouterr().out
    assert "4 pictures written" in said
    assert "torn.jpg" in said


@pytest.mark.slow
def test_what_is_whole_is_taken_over_and_what_changed_is_made_again(
    source: Path, tmp_path: Path, way: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for name in ("nobody.png", "torn.jpg"):
        (source / name).unlink()
    edit(source, out, way)
    before = stamps(out)
    Image.fromarray(photograph(face(9, "sad"))).save(source / "a.png")
    (out / "d.png").unlink()
    with (out / NOTES).open("a") as file:
        file.write('{"photograph": "inner/b.jp')  # as of a command that was killed
    capsys.readouterr()
    edit(source, out, way)
    said = capsys.readouterr().out
    assert "2 of 4 pictures were there" in said
    assert f"next: visage inspect {out}" in said
    changed = {name for name, stamp in stamps(out).items() if before.get(name) != stamp}
    assert changed == {"a.png", "d.png"}
    with pytest.raises(UserError, match="to = happy, and sad is asked for now"):
        edit(source, out, way, to="sad")


@pytest.mark.slow
def test_both_roads_make_the_same(source: Path, tmp_path: Path, bundle: Any, url: str) -> None:
    """And a single photograph's road makes it too."""
    for name in ("nobody.png", "torn.jpg"):
        (source / name).unlink()
    for out, way in (("here", None), ("there", url)):
        edit(source, tmp_path / out, {"model": str(bundle.dir), "url": way})
    edit(source / "a.png", tmp_path / "alone.png", {"model": str(bundle.dir), "url": None})
    here, there, alone = (opened((tmp_path / name).read_bytes()) for name in ("here/a.png", "there/a.png", "alone.png"))
    assert np.abs(here.astype(int) - there).max() <= 2
    assert np.abs(here.astype(int) - alone).max() <= 2


@pytest.mark.slow
def test_animations_of_a_folder(source: Path, tmp_path: Path, way: dict[str, Any]) -> None:
    from visage.editing.expression import FRAMES

    with pytest.raises(UserError, match="2 of 6"):
        edit(source, tmp_path / "out", way, view="face", animation=True)
    with Image.open(tmp_path / "out" / "inner" / "b.webp") as image:
        assert image.n_frames == FRAMES


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["driver", "units"])
def test_transfers_of_a_folder(source: Path, tmp_path: Path, asked: str) -> None:
    bundle = make_bundle(tmp_path / "bundle", method="eft")
    more = {"drivers": [source / "a.png"], "au": None} if asked == "driver" else {"drivers": [], "au": ["12=0.8"]}
    common = {"model": str(bundle.dir), "url": None, "view": "photo", "registry": f"sqlite:///{tmp_path}/mlflow.db"}
    with pytest.raises(UserError, match="2 of 6"):
        transfer_photo(source, out=tmp_path / "out", **more, **common)
    transfer_photo(source / "d.bmp", out=tmp_path / "alone.png", **more, **common)
    together, alone = (opened((tmp_path / name).read_bytes()).astype(int) for name in ("out/d.png", "alone.png"))
    assert np.abs(together - alone).max() <= 2
    with pytest.raises(UserError, match="give one driver for all"):
        transfer_photo(source, [source / "a.png"] * 2, tmp_path / "out2", au=None, **common)


@pytest.mark.slow
def test_what_cannot_be_meant_is_refused_before_a_picture(source: Path, tmp_path: Path, bundle: Any) -> None:
    way = {"model": str(bundle.dir), "url": None}
    for out in (source, source / "inner" / "out", tmp_path):
        with pytest.raises(UserError, match=r"--out .*; give a folder of its own"):
            edit(source, out, way)
    with pytest.raises(UserError, match="names a picture"):
        edit(source, tmp_path / "out.png", way)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no photograph"):
        edit(tmp_path / "empty", tmp_path / "out", way)
    with pytest.raises(UserError, match="expression smug"):
        edit(source, tmp_path / "out", way, to="smug")
    assert not (tmp_path / "out").exists()
    Image.new("RGB", (64, 64)).save(source / "d.png")
    with pytest.raises(UserError, match=r"d\.png: and d\.bmp would both be written to"):
        edit(source, tmp_path / "out", way)
    (source / "d.png").unlink()
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "mine" / "a.png")
    with pytest.raises(UserError, match=r"a\.png: is there and was not made by Visage"):
        edit(source, tmp_path / "mine", way)


def test_an_endpoint_that_is_away_ends_the_work_with_the_command_that_goes_on(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be reached"):
        edit(source, tmp_path / "out", {"model": "", "url": "http://127.0.0.1:9"})


def test_a_fault_of_the_endpoint_is_no_fault_of_each_photograph(source: Path, tmp_path: Path, bundle: Any) -> None:
    from fastapi import FastAPI

    from serve_app.problems import Problem

    app = FastAPI()
    app.get("/v1/model")(lambda: held(bundle).description().model_dump())
    app.post("/v1/expressions")(lambda: Problem(401, "The API key is missing.").response())
    with running(app) as url, pytest.raises(UserError, match=r"^The API key is missing\.$"):
        edit(source, tmp_path / "out", {"model": "", "url": url})
    assert notes(tmp_path / "out") == {}


@pytest.mark.slow
def test_the_command_that_is_killed_goes_on(source: Path, tmp_path: Path, bundle: Any) -> None:
    for name in ("nobody.png", "torn.jpg"):
        (source / name).unlink()
    content = (source / "inner" / "b.jpg").read_bytes()
    for number in range(60):
        (source / f"more{number:02d}.jpg").write_bytes(content)
    arguments = ["edit", str(source), "--to", "happy", "--model", str(bundle.dir), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    started = subprocess.Popen([sys.executable, "-m", "visage.cli", *arguments], env=environment)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("out/*.jpg")):
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    there = stamps(tmp_path / "out")
    noted = notes(tmp_path / "out")
    assert len(there) < 64
    done = visage_here(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not noted or f"{len(noted)} of 64 pictures were there" in done.stdout
    after = stamps(tmp_path / "out")
    assert len(after) == 64
    assert all(after[name] == there[name] for name in noted if name in there)
    assert visage_here(*arguments[:-1], str(source), folder=tmp_path).returncode == 2
