import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.faces.photos import face, people_folder, photograph, save
from tests.faces.sets import SHARES, data, prepare, report_of
from visage.config.data import Shares
from visage.errors import UserError
from visage.faces import photographs as photographing
from visage.faces import rendering
from visage.faces.align import EYES, Detector
from visage.faces.facs import AUS, EXPRESSIONS, au_vector, prototype
from visage.faces.prepare import prepare_if_absent
from visage.faces.split import PARTS
from visage.workflows import terminal
from visage.workflows.training import prepare_faces


def test_photographs_become_an_aligned_set(photographs: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    faces = prepare(
        "folder", photographs, tmp_path / "set", 64, SHARES, progress=lambda done, total: heard.append((done, total))
    )
    assert heard == [(k, 18) for k in range(19)]
    assert faces.faces.shape == (18, 64, 64, 3)
    assert faces.expressions == ("neutral", "happy")
    assert faces.facts["left_out"] == []
    assert all(len(faces.part(part)) for part in PARTS)
    # The procedural faces are aligned by construction, so what was cut out must be what was put in.
    rows = list(zip(faces.identity, faces.expression, strict=True))
    true = np.stack([face(int(str(person)[1:]), faces.expressions[number], 64) for person, number in rows])
    inner = slice(None), slice(20, 56), slice(14, 50)
    distances = [np.abs(one[None][inner].astype(int) - true[inner]).mean(axis=(1, 2, 3)) for one in faces.faces]
    nearest = faces.identity[np.argmin(distances, axis=1)]
    assert nearest.tolist() == faces.identity.tolist()
    eyes = Detector().find(np.asarray(faces.faces[0]))[0].landmarks[:2] / 64
    assert np.abs(eyes - np.array(EYES)).max() < 0.03
    assert "18 faces of 9 people" in report_of(faces)


def test_odd_pictures_are_left_out_and_named(photographs: Path, tmp_path: Path) -> None:
    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    (source / "q1_happy.jpg").write_bytes(b"")
    (source / "q2_happy.jpg").write_text("not a picture")
    (source / "q3_happy.png").write_bytes((source / "p00_happy.png").read_bytes()[:5000])
    save(source / "q4_happy.png", np.full((200, 200, 3), 120, np.uint8))
    save(source / "q5_happy.png", photograph(face(1, "happy"), face(2, "happy")))
    shutil.copy(source / "p00_happy.png", source / "q6.png")
    (source / "q7_happy.heic").write_bytes(b"what a telephone makes")
    faces = prepare("folder", source, tmp_path / "set", 64, SHARES)
    reasons = {entry["path"]: entry["reason"] for entry in faces.facts["left_out"]}
    assert reasons == {
        "q1_happy.jpg": "is empty (0 bytes)",
        "q2_happy.jpg": "is no picture that can be read",
        "q3_happy.png": reasons["q3_happy.png"],
        "q4_happy.png": "no face was found",
        "q5_happy.png": "2 faces were found",
        "q6.png": "is not named as layout folder names pictures",
        "q7_happy.heic": "is no picture that can be read",
    }
    assert "damaged" in reasons["q3_happy.png"]
    assert len(faces.identity) == 18
    report = report_of(faces)
    assert "7 of 25 pictures left out" in report
    assert "q4_happy.png: no face was found" in report


def test_what_cannot_work_is_refused_before_anything_is_aligned(tmp_path: Path) -> None:
    heard: list[int] = []
    source = people_folder(tmp_path / "photographs", 2)
    with pytest.raises(UserError, match=r"too little remains, 4 of 4 pictures: .*part empty"):
        prepare("folder", source, tmp_path / "set", 64, SHARES, lambda done, total: heard.append(done))
    assert heard == []
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]


@pytest.mark.slow
def test_too_little_left_says_what_was_left_out_and_keeps_what_was_aligned(photographs: Path, tmp_path: Path) -> None:
    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    for path in source.glob("*_happy.png"):
        save(path, np.full((100, 100, 3), 99, np.uint8))
    with pytest.raises(UserError, match=r"too little remains, 9 of 18 pictures.*p00_happy\.png \(no face was found\)"):
        prepare("folder", source, tmp_path / "set", 64, SHARES)
    for path in source.glob("*_happy.png"):
        shutil.copy(photographs / path.name, path)
    heard: list[int] = []
    faces = prepare("folder", source, tmp_path / "set", 64, SHARES, lambda done, total: heard.append(done))
    assert heard == list(range(9, 19))
    assert len(faces.identity) == 18
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photographs", "set"]


def test_the_same_settings_reuse_the_set_and_others_are_refused(photographs: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "photographs", tmp_path / "set"
    shutil.copytree(photographs, source)
    first = prepare("folder", source, out, 64, SHARES)
    written = (out / "set.json").stat().st_mtime_ns
    moved = tmp_path / "moved"
    source.rename(moved)
    assert prepare("folder", moved, out, 64, SHARES).sha256 == first.sha256
    assert (out / "set.json").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="made with size 64 and not 128; give another --out"):
        prepare("folder", moved, out, 128, SHARES)
    with pytest.raises(UserError, match=r"shares train 0\.5"):
        prepare("folder", moved, out, 64, Shares())
    people_folder(moved, 10)
    with pytest.raises(UserError, match="other pictures"):
        prepare("folder", moved, out, 64, SHARES)


def test_an_out_that_holds_something_else_is_refused_and_kept(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty and holds no face set"):
        prepare("folder", photographs, tmp_path, 64, SHARES)
    with pytest.raises(UserError, match="is a file"):
        prepare("folder", photographs, tmp_path / "thesis.txt", 64, SHARES)
    with pytest.raises(UserError, match="cannot be written"):
        prepare("folder", photographs, tmp_path / "thesis.txt" / "set", 64, SHARES)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_more_faces_than_the_disk_holds_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"8000000000 faces of 64 px.*GB free"):
        prepare("synthetic", None, tmp_path / "set", 64, SHARES, people=10**9, pictures=1)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_serves_as_out(tmp_path: Path) -> None:
    assert prepare("synthetic", None, tmp_path, 32, SHARES, people=10, pictures=1).size == 32


def test_a_layout_of_photographs_without_a_source_is_told_how(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="visage prepare --layout london --source DIR"):
        prepare("london", None, tmp_path / "set", 64, SHARES)


@pytest.mark.slow
def test_procedural_people_with_exact_action_units(tmp_path: Path) -> None:
    faces = prepare("synthetic", None, tmp_path / "set", 32, SHARES, people=10, pictures=2, seed=3)
    assert faces.faces.shape == (10 * 2 * 8, 32, 32, 3)
    assert faces.expressions == EXPRESSIONS
    assert faces.aus is not None
    assert faces.aus.shape == (160, len(AUS))
    for number, expression in enumerate(EXPRESSIONS):
        marks = au_vector(prototype(expression)) > 0.3
        shown = faces.aus[faces.expression == number].mean(axis=0)
        assert (shown[marks] > 0.2).all()
    assert len(set(faces.identity)) == 10


@pytest.mark.slow
def test_many_cores_render_the_same_set_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = prepare("synthetic", None, tmp_path / "alone", 32, SHARES, people=12, pictures=1)
    monkeypatch.setattr(rendering, "FEW_RENDERINGS", 0)
    together = prepare("synthetic", None, tmp_path / "together", 32, SHARES, people=12, pictures=1)
    assert together.sha256 == alone.sha256
    assert (together.dir / "faces.csv").read_bytes() == (alone.dir / "faces.csv").read_bytes()


@pytest.mark.ray
def test_ray_data_makes_the_same_set(
    photographs: Path, tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    (source / "q1_happy.jpg").write_bytes(b"")
    alone = prepare("folder", source, tmp_path / "alone", 64, SHARES)
    monkeypatch.setattr(photographing, "FEW_PHOTOGRAPHS", 0)
    heard: list[tuple[int, int]] = []
    together = prepare(
        "folder", source, tmp_path / "together", 64, SHARES, progress=lambda done, total: heard.append((done, total))
    )
    assert heard == [(k, 19) for k in range(20)]
    assert together.facts == alone.facts
    assert ray.is_initialized()  # a Ray that ran before goes on


def test_an_absent_set_is_made_where_the_layout_is_known(tmp_path: Path) -> None:
    made = prepare_if_absent(data(tmp_path / "set", layout="synthetic"))
    assert prepare_if_absent(data(tmp_path / "set", layout="synthetic")).sha256 == made.sha256
    assert prepare_if_absent(data(tmp_path / "set")).sha256 == made.sha256


@pytest.mark.parametrize("settings", [{}, {"layout": "folder"}])
def test_an_absent_set_that_cannot_be_made_names_the_command(settings: dict[str, str], tmp_path: Path) -> None:
    command = f"visage prepare --layout folder --source DIR --out {tmp_path}/set --size 32"
    with pytest.raises(UserError, match=command):
        prepare_if_absent(data(tmp_path / "set", **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 64}, "size 32 and not 64"),
        ({"layout": "synthetic", "people": 11}, "people 10 and not 11"),
        ({"layout": "synthetic", "seed": 1}, "seed 0 and not 1"),
        ({"layout": "london"}, "layout synthetic and not london"),
    ],
)
def test_a_set_of_other_settings_is_refused(settings: dict[str, object], said: str, tmp_path: Path) -> None:
    prepare_if_absent(data(tmp_path / "set", layout="synthetic"))
    with pytest.raises(UserError, match=said):
        prepare_if_absent(data(tmp_path / "set", **settings))


@pytest.mark.slow
def test_an_existing_set_needs_its_photographs_no_more(photographs: Path, tmp_path: Path) -> None:
    source = tmp_path / "photographs"
    shutil.copytree(photographs, source)
    settings = {"layout": "folder", "source": source}
    made = prepare_if_absent(data(tmp_path / "set", **settings))
    people_folder(source, 10)
    with pytest.raises(UserError, match="other pictures"):
        prepare_if_absent(data(tmp_path / "set", **settings))
    shutil.rmtree(source)
    assert prepare_if_absent(data(tmp_path / "set", **settings)).sha256 == made.sha256


def test_the_progress_bar_counts_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, force_terminal=True, width=80))
    prepare_faces(data(tmp_path / "set", layout="synthetic", expressions=("neutral", "happy")))
    assert "faces 20/20" in out.getvalue()


@pytest.mark.slow
def test_real_photographs(london: Path, tmp_path: Path) -> None:
    source = tmp_path / "london"
    for folder in ("neutral_front", "smiling_front"):
        (source / folder).mkdir(parents=True)
        for path in sorted((london / folder).iterdir())[:12]:
            shutil.copy(path, source / folder)
    shutil.copy(london / "london_info.csv", source)
    faces = prepare("london", source, tmp_path / "set", 64, Shares(train=0.4, validation=0.3, test=0.3))
    assert faces.faces.shape[0] == 24
    assert faces.facts["left_out"] == []
    assert "white" in str(faces.group[0])
    assert faces.licence.startswith("CC BY 4.0")


@pytest.mark.ray
def test_workers_that_fail_are_one_sentence_and_keep_what_was_reached(
    photographs: Path, tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(batch: dict[str, Any], size: int) -> list[dict[str, Any]]:
        raise MemoryError("out of it")

    monkeypatch.setattr(photographing, "FEW_PHOTOGRAPHS", 0)
    monkeypatch.setattr(photographing, "align_in_worker", failing)
    with pytest.raises(UserError, match=r"Ray's workers cannot align .*goes on from here"):
        prepare("folder", photographs, tmp_path / "set", 32, SHARES)
    assert not (tmp_path / "set").exists()
