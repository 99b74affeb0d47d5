"""A face set in shards: the same faces as a packed one, read a few shards at a time, and every way to spoil them."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faces.sets import data, report_of
from visage.config.data import Data
from visage.errors import NotWritten, UserError
from visage.faces.faceset import FaceSet
from visage.faces.prepare import prepare, prepare_if_absent
from visage.faces.shard_files import ShardFiles
from visage.faces.shared import opened, upload
from visage.faces.stream import Order, Stream
from visage.infra.remote_store import Store

ROOT = Path(__file__).parents[2]
DRAWN = {"layout": "synthetic", "people": 24, "pictures": 2, "expressions": ("neutral", "happy", "sad")}
IN_SHARDS = {"mb": 0.05, "window": 2}  # of 32 px, 17 pictures or little more


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return prepare(data(tmp_path_factory.mktemp("packed") / "set", **DRAWN))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return prepare(data(tmp_path_factory.mktemp("shards") / "set", **DRAWN, shards=IN_SHARDS))


@pytest.fixture
def faces(made: FaceSet, tmp_path: Path) -> FaceSet:
    """One to spoil."""
    return FaceSet.open(Path(shutil.copytree(made.dir, tmp_path / "set")))


def stream(faces: FaceSet, **how: int) -> Stream:
    return Stream(faces, ShardFiles(faces, 0), **{"width": 2, "seed": 0, **how})


def shown(faces: FaceSet) -> list[tuple[object, ...]]:
    """All that is known of each training picture, whatever their order."""
    assert faces.aus is not None
    found = []
    for k in faces.part("train").tolist():
        known = (str(faces.identity[k]), faces.expressions[faces.expression[k]], float(faces.intensity[k]))
        found.append((*known, float(faces.lopsided[k]), faces.aus[k].tobytes(), faces.faces[k].tobytes()))
    return sorted(found)


def test_a_pass_shows_the_pictures_of_a_packed_set_and_no_other(packed: FaceSet, made: FaceSet) -> None:
    assert len(made.shards) >= 4
    assert made.parts() == packed.parts()
    assert FaceSet.open(made.dir).sha256 == made.sha256 != packed.sha256
    drawn = stream(made)
    seen = shown(drawn.fill(0))
    for turn in range(1, 12):
        window = drawn.follow(turn)
        seen += shown(window)
        assert shown(window) == shown(stream(made).fill(turn))  # however one came there
    assert set(seen) == set(shown(packed))
    assert sum(shard.pictures for shard in made.shards) == len(packed.part("train"))


def test_the_sample_is_packed_and_the_others_stand_beside_it(packed: FaceSet, made: FaceSet) -> None:
    for part in ("validation", "test"):
        own, other = packed.part(part), made.part(part)
        assert (packed.identity[own] == made.identity[other]).all()
        assert (packed.faces[own] == made.faces[other]).all()
    assert set(shown(made)) <= set(shown(packed))
    assert f"{len(packed.part('train'))} faces of 12 people in {len(made.shards)} shards" in report_of(made)


@pytest.mark.slow
def test_the_sample_is_whole_people_and_no_other_of_the_shards_is_named(
    made: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visage.faces.prepare.SAMPLE", 10)
    few = prepare(data(tmp_path / "set", **DRAWN, shards=IN_SHARDS))
    assert len(few.part("train")) == 12  # two people of six pictures
    assert few.shards == made.shards
    assert set(few.facts["parts"]) == set(few.identity)
    monkeypatch.setattr("visage.faces.prepare.MOST_PACKED", 1000)
    with pytest.raises(UserError, match=r"the validation and test people have .* GB of pictures, which every machine"):
        prepare(data(tmp_path / "other", **DRAWN, shards=IN_SHARDS))


@given(st.integers(1, 40), st.integers(2, 16), st.integers(0, 5))
def test_shards_in_a_row_differ_and_each_comes_once_a_pass(count: int, width: int, seed: int) -> None:
    order = Order(count, width, seed)
    row = [order.at(position) for position in range(4 * count)]
    for number in range(4):
        assert sorted(row[number * count : (number + 1) * count]) == list(range(count))
    assert all(len(set(row[k : k + order.width])) == order.width for k in range(3 * count))
    assert order.width >= min(width, count // 2)


def test_each_worker_reads_its_own_shards(made: FaceSet) -> None:
    shares = [{shard.name for shard in stream(made, rank=rank, workers=3).own} for rank in range(3)]
    assert set.union(*shares) == {shard.name for shard in made.shards}
    assert sum(map(len, shares)) == len(made.shards)
    with pytest.raises(UserError, match=r"train\.workers = 99: each worker reads shards of its own, and .* use fewer"):
        stream(made, rank=0, workers=99)


def test_a_set_is_of_the_form_that_it_was_made_in(packed: FaceSet, made: FaceSet) -> None:
    assert prepare(data(made.dir, **DRAWN)).shards  # made already; how, the set itself says
    with pytest.raises(UserError, match=r"holds a packed face set, and data\.shards\.mb = 64 asks for shards; give an"):
        prepare_if_absent(data(packed.dir, **DRAWN, shards={"mb": 64}))
    with pytest.raises(UserError, match=r"data\.split_as = .*: is in shards, and does not tell its training people"):
        prepare(data(made.dir.parent / "other", **DRAWN, split_as=str(made.dir)))


@pytest.mark.slow
def test_people_of_action_units_alone_stay_packed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.shards\.mb = 0\.05: the set has practice people, .* stay in a packed"):
        prepare(data(tmp_path / "set", **DRAWN, units=8, shards=IN_SHARDS))
    assert not list(tmp_path.iterdir())


def cut_off(folder: Path) -> None:
    path = folder / "00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def missing(folder: Path) -> None:
    (folder / "00001.parquet").unlink()


def changed(folder: Path) -> None:
    content = bytearray((folder / "00001.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "00001.parquet").write_bytes(content)


def swapped(folder: Path) -> None:
    """Of one length, so that it does not tell."""
    path, longer = folder / "00001.parquet", (folder / "00000.parquet").read_bytes()
    facts = json.loads((folder.parent / "set.json").read_text())
    facts["shards"]["files"][1]["bytes"] = len(longer)
    (folder.parent / "set.json").write_text(json.dumps(facts))
    path.write_bytes(longer)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut_off, r"00001\.parquet: has \d+ bytes and was written with \d+; put the shard of this face set there"),
        (missing, r"00001\.parquet: is missing; put the shard"),
        (changed, r"00001\.parquet: is not as it was written, or of another set; put"),
        (swapped, r"00001\.parquet: is a second copy of 00000\.parquet; put"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_spoilt_shard_is_one_sentence(faces: FaceSet, spoil: Callable[[Path], None], words: str) -> None:
    spoil(faces.dir / "shards")
    with pytest.raises(UserError, match=words):
        ShardFiles(faces := FaceSet.open(faces.dir), 0).read(faces.shards[1])


def test_a_shard_that_goes_on_the_way_is_one_sentence(faces: FaceSet) -> None:
    files = ShardFiles(faces, 0)
    cut_off(faces.dir / "shards")
    with pytest.raises(UserError, match=r"00001\.parquet: is cut off: it has \d+ of its \d+ bytes"):
        files.read(faces.shards[1])
    missing(faces.dir / "shards")
    with pytest.raises(UserError, match="is missing"):
        files.read(faces.shards[1])


def named_twice(facts: dict[str, dict[str, list[object]]]) -> None:
    facts["shards"]["files"].append(facts["shards"]["files"][0])


def left_out(facts: dict[str, dict[str, list[object]]]) -> None:
    del facts["shards"]["files"][0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (named_twice, "00000.parquet and 00000.parquet are one shard, named twice in set.json"),
        (left_out, "the shards that set.json names are not those that were written"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_spoilt_list_of_shards_is_one_sentence(faces: FaceSet, spoil: Callable[[object], None], words: str) -> None:
    path = faces.dir / "set.json"
    facts = json.loads(path.read_text())
    spoil(facts)
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match=f"is damaged \\({words}\\); delete it and make it again"):
        FaceSet.open(faces.dir)


@pytest.mark.slow
def test_labels_of_another_set_are_refused(faces: FaceSet, packed: FaceSet, tmp_path: Path) -> None:
    other = prepare(data(tmp_path / "other", **DRAWN, seed=1, shards=IN_SHARDS))
    for name in ("faces.csv", "shards/00001.parquet"):
        spoilt = Path(shutil.copytree(faces.dir, tmp_path / name.replace("/", "-")))
        shutil.copy(other.dir / name, spoilt / name)
        with pytest.raises(UserError, match=r"faces\.csv is not as it was written|00001\.parquet: "):
            ShardFiles(one := FaceSet.open(spoilt), 0).read(one.shards[1])


def test_shards_are_what_other_programs_read(made: FaceSet) -> None:
    """Labels without pictures, and pictures as bytes: docs/data.md has the columns."""
    from pyarrow import parquet

    path = made.dir / "shards" / made.shards[0].name
    labels = parquet.read_table(path, columns=["identity", "expression"])
    assert len(labels) == made.shards[0].pictures
    assert len(set(labels["identity"].to_pylist())) == made.shards[0].people
    whole = parquet.read_table(path)
    assert np.frombuffer(whole["picture"][0].as_py(), np.uint8).reshape(32, 32, 3).std() > 10
    assert whole.column_names[:5] == ["identity", "expression", "session", "intensity", "lopsided"]


@pytest.fixture(params=["file", "s3"])
def fresh(request: pytest.FixtureRequest, made: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaceSet:
    """The set at an address, on a machine that has nothing of it yet."""
    monkeypatch.chdir(tmp_path)
    address = f"file://{tmp_path}/kept" if request.param == "file" else request.getfixturevalue("bucket")
    upload(replace(made, address=address))
    return opened(Data.model_validate({"dir": address}))


def held(faces: FaceSet) -> list[str]:
    return sorted(path.name for path in (faces.dir / "shards").glob("*.parquet"))


def test_a_fresh_machine_copies_the_sample_and_reads_shards_as_it_needs_them(fresh: FaceSet, made: FaceSet) -> None:
    assert sorted(path.name for path in fresh.dir.iterdir()) == ["contact.png", "faces.csv", "faces.npy", "set.json"]
    drawn = Stream(fresh, ShardFiles(fresh, 1e9), width=2, seed=0)
    for turn in range(6):
        assert shown(drawn.fill(turn)) == shown(stream(made).fill(turn))
    assert len(held(fresh)) > 2
    (fresh.dir / "shards" / held(fresh)[0]).write_bytes(b"what a disk lost")
    for shard in fresh.shards:  # that one is fetched again
        assert len(drawn.files.read(shard)) == shard.bytes
    assert held(fresh) == sorted(shard.name for shard in fresh.shards)


def test_the_disk_holds_no_more_than_it_is_to_and_the_last_that_were_read(fresh: FaceSet) -> None:
    most = 2.5 * max(shard.bytes for shard in fresh.shards)
    files = ShardFiles(fresh, most)
    read = []
    for number in (0, 1, 2, 1, 3, 0):
        files.read(fresh.shards[number])
        read.append(fresh.shards[number].name)
        assert sum(path.stat().st_size for path in (fresh.dir / "shards").glob("*.parquet")) <= most
        assert held(fresh) == sorted(set(read[-2:]))
    none = ShardFiles(fresh, 0)
    shutil.rmtree(fresh.dir / "shards")
    none.read(fresh.shards[0])
    assert held(fresh) == []


READ = """
from visage.config.data import Data
from visage.faces.shard_files import ShardFiles
from visage.faces.shared import opened

faces = opened(Data.model_validate({"dir": "ADDRESS"}))
ShardFiles(faces, 0).read(faces.shards[0])
"""


@pytest.mark.slow
def test_the_processes_of_a_machine_take_turns_at_a_shard(made: FaceSet, tmp_path: Path) -> None:
    """By one lock, whatever Python's hashes are in each."""
    address = f"file://{tmp_path}/kept"
    upload(replace(made, address=address))
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "platform")}
        command = [sys.executable, "-c", READ.replace("ADDRESS", address)]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert len(list(tmp_path.glob("runs/data/*/shards/.*.lock"))) == 1


def test_a_shard_that_is_not_at_the_address_is_one_sentence(fresh: FaceSet) -> None:
    assert fresh.address
    files, store = ShardFiles(fresh, 1e9), Store(fresh.address) / "shards"
    store.write("00001.parquet", b"another's")
    with pytest.raises(UserError, match=r"kept/shards/00001\.parquet|s3:.*/shards/00001\.parquet: is cut off"):
        files.read(fresh.shards[1])
    store.delete("00001.parquet")
    with pytest.raises(UserError, match=r"/shards/00001\.parquet: is missing; put the shard of this face set there"):
        files.read(fresh.shards[1])
    with pytest.raises(UserError, match=r"/shards/00001\.parquet: is missing"):
        ShardFiles(fresh, 1e9)


@pytest.mark.slow
def test_a_store_that_is_away_for_a_while_costs_time_alone(
    made: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "kept"
    upload(replace(made, address=f"file://{kept}"))
    fresh = opened(Data.model_validate({"dir": f"file://{kept}"}))
    files = ShardFiles(fresh, 0)
    (kept / "shards").rename(kept / "away")
    (kept / "shards").touch()  # no folder: what is in it cannot be read

    def back() -> None:
        (kept / "shards").unlink()
        (kept / "away").rename(kept / "shards")

    Timer(0.5, back).start()
    assert len(files.read(fresh.shards[0])) == fresh.shards[0].bytes
    shutil.rmtree(kept / "shards")
    (kept / "shards").touch()
    Timer(0.5, files.closed.set).start()
    start = time.monotonic()
    with pytest.raises(NotWritten, match="is away or refuses"):
        files.read(fresh.shards[0])
    assert time.monotonic() - start < 60  # and not for as long as a run waits
