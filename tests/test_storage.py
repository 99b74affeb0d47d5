"""Files at an address: a folder's, and a bucket's of a real S3-compatible server."""

from pathlib import Path

import pytest

from visage.errors import NotWritten, UserError
from visage.infra.remote_store import Store, content, local


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store(f"file://{tmp_path}/kept")
    return Store(request.getfixturevalue("bucket"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "inner").mkdir(parents=True)
    (made / "inner" / "one").write_text("1")
    (made / "two").write_text("2")
    for name in (".lock", "half.part", "left/out"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text("no")
    return made


def found(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_what_is_pushed_comes_back(store: Store, folder: Path, tmp_path: Path) -> None:
    assert store.read("two") is None
    assert not store.get(tmp_path / "got")
    assert not (tmp_path / "got").exists()
    store.push(folder, skip=("left",), last=("two",))
    assert store.read("two") == b"2"
    assert content(f"{store.address}/inner/one") == b"1"
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "two").write_text("an older one")
    (tmp_path / "got" / "own").write_text("stays")
    assert store.get(tmp_path / "got")
    assert found(tmp_path / "got") == {"inner/one": "1", "two": "2", "own": "stays"}
    assert found(local(f"{store.address}/inner", tmp_path / "part")) == {"one": "1"}
    assert store.get(tmp_path / "less", skip=("inner",))
    assert found(tmp_path / "less") == {"two": "2"}
    store.drop()
    assert not store.get(tmp_path / "none")
    with pytest.raises(UserError, match="is not there"):
        content(f"{store.address}/two")
    with pytest.raises(UserError, match="holds nothing"):
        local(store.address, tmp_path / "none")


def test_only_what_changed_is_sent_again(store: Store, folder: Path) -> None:
    store.push(folder)
    other = Store(store.address)
    other.drop()
    (folder / "two").write_text("changed")
    store.push(folder)
    assert (store.read("two"), store.read("inner/one")) == (b"changed", None)


def test_what_came_from_there_is_not_sent_back(store: Store, folder: Path, tmp_path: Path) -> None:
    Store(store.address).push(folder)
    got = tmp_path / "got"
    assert store.get(got)
    Store(store.address).drop()
    (got / "two").write_text("changed")
    store.push(got)
    assert (store.read("two"), store.read("inner/one")) == (b"changed", None)


def test_a_path_is_its_own_copy(folder: Path, tmp_path: Path) -> None:
    assert local(str(folder), tmp_path / "unused") == folder
    assert content(str(folder / "two")) == b"2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_SECRET_ACCESS_KEY", "of-somebody-else"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")],
)
def test_a_bucket_that_refuses_or_is_away_is_one_sentence(
    bucket: str, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    store = Store(bucket)
    for ask in (lambda: store.push(folder), lambda: store.read("two"), lambda: store.get(folder)):
        with pytest.raises(
            NotWritten, match=rf"^{bucket}: is away or refuses \(.*AWS_ENDPOINT_URL.* right\.$"
        ) as error:
            ask()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a b", "Müller", "50%25", "[x]"])
def test_any_name_that_a_folder_has_an_address_has(store: Store, folder: Path, name: str, tmp_path: Path) -> None:
    place = store / name
    place.push(folder)
    assert place.read("two") == b"2"
    assert place.get(tmp_path / "got")
    if store.address.startswith("file:"):
        assert (tmp_path / "kept" / name / "two").is_file()


@pytest.mark.parametrize(
    "address",
    [
        "gopher://a/b",
        "s3://",
        "s3:///bucket/a",
        "s3://key:word@bucket/a",
        "s3://bucket/a?secret_key=b",
        "s3://bucket/a/../b",
        "s3://bucket//a",
        "file://folder/a",
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(address: str) -> None:
    with pytest.raises(UserError, match=r"write s3://BUCKET/FOLDER|AWS_SECRET_ACCESS_KEY"):
        Store(address)
