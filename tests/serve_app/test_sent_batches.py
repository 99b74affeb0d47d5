"""/v1/batches without Ray: what is taken, what becomes of it, whose it is, and what is refused."""

import asyncio
import io
import json
import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from serve_app.batches import desk, records, worker
from serve_app.batches.archive import look
from serve_app.batches.desk import Desk
from serve_app.batches.worker import Work, give_way
from tests.faces.photos import face, photograph
from tests.serve_app.samples import held, opened, png, run_alone
from tests.serve_app.test_faults import problem_of
from tests.servers import running
from visage.config import Serving
from visage.config.serving import Batches
from visage.faces.provenance import read_provenance

HAPPY = "?expression=happy&view=photo"


class Served:
    """The application with batches in a folder, and its worker, which works when it is told to."""

    def __init__(self, bundle: Any, tmp_path: Path, **settings: Any) -> None:
        self.folder, self._bundle = tmp_path / "batches", bundle
        self.serving = Serving.model_validate(
            {
                "model": str(bundle.dir),
                "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
                "limits": {"megabytes": 0.5, "megapixels": 1},
                "access": {"required": False},
                "batches": {"dir": str(self.folder), "megabytes": 2, "photographs": 200, **settings},
            }
        )
        self.work = Work(self.serving)
        self.callers = {"anna": "key-of-anna", "ben": "key-of-ben"}

    def app(self) -> Any:
        from serve_app.inference import Answers
        from serve_app.middleware import Around
        from serve_app.routes import build_app

        callers = self.callers

        class Known:
            def name_of(self, given: str) -> str | None:
                return next((name for name, key in callers.items() if given == f"Bearer {key}"), None)

        answers = Answers(run_alone, megapixels=1, self_check=False)
        around: Any = Around(keys=Known())  # type: ignore[arg-type]
        taking = Desk(self.serving.batches) if self.serving.batches else None
        return build_app(held(self._bundle), answers, self.serving.limits, around=around, desk=taking)

    def finish(self) -> None:
        for _ in range(50):
            if not self.work.step():
                return
        raise AssertionError("not done after 50 steps")


class Caller:
    def __init__(self, url: str, name: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer key-of-{name}"}, timeout=300)

    def send(self, content: Any, asked: str = HAPPY, kind: str = "application/zip", **headers: str) -> httpx.Response:
        headers = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self._http.post(f"/v1/batches{asked}", content=content, headers=headers)

    def ask(self, path: str, method: str = "GET") -> httpx.Response:
        return self._http.request(method, f"/v1/batches/{path}")


@pytest.fixture
def served(bundle: Any, tmp_path: Path) -> Served:
    return Served(bundle, tmp_path)


@pytest.fixture
def anna(served: Served) -> Iterator[Caller]:
    with running(served.app()) as url:
        yield Caller(url, "anna")


@pytest.fixture
def ben(anna: Caller) -> Caller:
    return Caller(str(anna._http.base_url), "ben")


def photo(person: int = 0) -> bytes:
    return png(photograph(face(person, "neutral")))


def packed(files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def pictures(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_a_zip_becomes_a_zip(served: Served, anna: Caller) -> None:
    nobody = png(np.full((200, 200, 3), 128, np.uint8))
    sent = {
        "a.png": photo(),
        "in/b.png": photo(1),
        "in/nobody.png": nobody,
        "empty.jpg": b"",
        "torn.jpg": photo()[:99],
        "large.png": os.urandom(600_000),
        "notes.txt": b"none",
        "in/.hidden.png": photo(),
        "__MACOSX/a.png": b"none",
    }
    taken = anna.send(packed(sent))
    assert taken.status_code == 202
    batch = taken.json()
    assert taken.headers["location"] == f"/v1/batches/{batch['id']}"
    assert (batch["state"], batch["photographs"], batch["passed_over"]) == ("waiting", 6, 3)
    problem_of(anna.ask(f"{batch['id']}/result"), 409)
    assert anna.ask(batch["id"]).headers["retry-after"] == "2"
    served.finish()
    shown = anna.ask(batch["id"]).json()
    assert (shown["state"], shown["done"], shown["failed"]) == ("done", 2, 4)
    assert (shown["expression"], shown["view"], shown["model"]["name"]) == ("happy", "photo", "visage-ucgan")
    faults = {each["photograph"]: each["fault"] for each in shown["faults"]}
    assert set(faults) == {"in/nobody.png", "empty.jpg", "torn.jpg", "large.png"}
    assert "no face was found" in faults["in/nobody.png"]
    assert "is empty" in faults["empty.jpg"]
    assert "more than 0.5 megabytes" in faults["large.png"]
    found = pictures(anna.ask(f"{batch['id']}/result"))
    assert set(found) == {"a.png", "in/b.png"}
    assert opened(found["a.png"]).shape == (256, 256, 3)
    assert read_provenance(found["a.png"]) is not None
    kept = {path.name for path in served.folder.rglob("*") if path.is_file()}
    assert kept == {"batch.json", "progress.json", "result.zip"}  # and no photograph any more
    assert anna.ask(batch["id"], "DELETE").status_code == 204
    assert not [path for path in served.folder.rglob("*") if path.is_file()]
    problem_of(anna.ask(batch["id"]), 404)


def test_a_batch_is_its_callers_alone(served: Served, anna: Caller, ben: Caller) -> None:
    id = anna.send(packed({"a.png": photo()}), Idempotency_Key="one").json()["id"]
    for path, method in ((id, "GET"), (f"{id}/result", "GET"), (id, "DELETE")):
        problem_of(ben.ask(path, method), 404)
    other = ben.send(packed({"a.png": photo()}), Idempotency_Key="one").json()["id"]
    assert other != id
    for name in ("..", "%2e%2e%2fof-anna%2f" + id, "../of-anna/" + id, id.upper(), id[:-1], "x" * 5000, "%00"):
        for method in ("GET", "DELETE"):
            assert ben.ask(name, method).status_code in (404, 405), name
    assert anna.ask(id).status_code == 200


@pytest.mark.slow
def test_an_idempotency_key_is_one_batch(served: Served, anna: Caller) -> None:
    body = packed({"a.png": photo()})
    first = anna.send(body, Idempotency_Key="mine")
    again = anna.send(body, Idempotency_Key="mine")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    for other, asked in ((packed({"b.png": photo()}), HAPPY), (body, "?expression=sad&view=photo")):
        assert "another request" in problem_of(anna.send(other, asked, Idempotency_Key="mine"), 422)
    served.finish()
    assert anna.send(body, Idempotency_Key="mine").json()["state"] == "done"
    assert anna.send(body).json()["id"] != anna.send(body).json()["id"]
    for bad in ("", "a b", "x" * 256):
        problem_of(anna.send(body, Idempotency_Key=bad), 422)
    anna.ask(first.json()["id"], "DELETE")


def test_a_key_has_so_many_batches_at_once(served: Served, anna: Caller, ben: Caller) -> None:
    first = anna.send(packed({"a.png": photo()})).json()["id"]
    anna.send(packed({"a.png": photo()}))
    refused = anna.send(packed({"a.png": photo()}))
    assert "2 batches of anna" in problem_of(refused, 429)
    assert refused.headers["retry-after"] == "30"
    assert ben.send(packed({"a.png": photo()})).status_code == 202
    anna.ask(first, "DELETE")
    assert anna.send(packed({"a.png": photo()})).status_code == 202


def test_what_is_asked_wrongly_is_one_sentence(served: Served, anna: Caller) -> None:
    body = packed({"a.png": photo()})
    for status, asked in (
        (422, "?expression=smug"),
        (422, ""),
        (422, "?expression=happy&intensity=2"),
        (422, "?expression=happy&intensity=nan"),
        (422, "?expression=happy&intensity=much"),
        (422, "?expression=happy&view=both"),
        (422, "?expression=happy&answers=mail"),
        (422, "?expression=happy&answers=bucket"),
    ):
        problem_of(anna.send(body, asked), status)
    problem_of(anna.send(body, kind="multipart/form-data"), 415)
    problem_of(anna.send(json.dumps({"addresses": ["s3://a/b.png"]}), kind="application/json"), 422)
    problem_of(anna.send(b"no zip"), 400)
    problem_of(anna.send(body[:-9]), 400)
    problem_of(anna.send(b""), 400)
    problem_of(anna.send(packed({})), 422)
    problem_of(anna.send(packed({"notes.txt": b"x"})), 422)
    problem_of(anna.send(packed({f"{n}.png": b"x" for n in range(201)})), 413)
    problem_of(anna.send(os.urandom(2_100_000)), 413)
    problem_of(anna.send(iter([os.urandom(1_100_000)] * 2)), 413)  # without a length
    assert not [path for path in served.folder.rglob("*") if path.is_file()]


def member(name: str, **more: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in more.items():
        setattr(info, key, value)
    return info


def zipped(*members: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in members:
            archive.writestr(info, content)
    return buffer.getvalue()


def lying(content: bytes, field: int, value: int) -> bytes:
    """A ZIP of one member whose list says another number: field 20 is the packed size, 24 the size, 8 the flags."""
    at = content.rindex(b"PK\x01\x02")
    kind = "<H" if field == 8 else "<I"
    return content[: at + field] + struct.pack(kind, value) + content[at + field + struct.calcsize(kind) :]


def many_members(count: int) -> bytes:
    """A list of so many members of no content, as no real program writes it."""
    name = b"a.png"
    listed = (b"PK\x01\x02" + bytes(24) + struct.pack("<H", len(name)) + bytes(16) + name) * count
    return listed + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count % 65536, count % 65536, len(listed), 0, 0)


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (packed({"../../x.png": b"x"}), 422, "no name of a file"),
        (packed({"/etc/x.png": b"x"}), 422, "no name of a file"),
        (packed({"a/./x.png": b"x"}), 422, "no name of a file"),
        (packed({"a\\..\\x.png": b"x"}), 422, "no name of a file"),
        (packed({"C:x.png": b"x"}), 422, "no name of a file"),
        (packed({"a\n\x1b[31m.png": b"x"}), 422, "no name of a file"),
        (packed({"x" * 201 + ".png": b"x"}), 422, "more than 200 bytes"),
        (zipped((member("a.png"), b"x"), (member("a.png"), b"y")), 422, "answers of one name"),
        (packed({"a.png": b"x", "A.png": b"x"}), 422, "answers of one name"),
        (packed({"a.png": b"x", "a.bmp": b"x"}), 422, "answers of one name"),
        (packed({"a.png": b"x", "A.png/b.png": b"x"}), 422, "a photograph's name and a folder's"),
        (zipped((member("a.png", external_attr=(stat.S_IFLNK | 0o777) << 16), b"/etc/passwd")), 422, "link or a dev"),
        (zipped((member("a.png", external_attr=(stat.S_IFCHR | 0o777) << 16), b"")), 422, "link or a device"),
        (lying(packed({"a.png": b"x" * 99}), 8, 1), 422, "is encrypted"),
        (packed({"a.png": b"x" * 99}, zipfile.ZIP_LZMA), 422, "packed in a way"),
        (packed({"a.png": b"x" * 99}, zipfile.ZIP_BZIP2), 422, "packed in a way"),
        (packed({f"{n}.png": bytes(400_000) for n in range(6)}), 413, "more than 2 megabytes"),
        (lying(packed({"a.png": b"x"}), 24, 4_000_000_000), 413, "more than 2 megabytes"),
        (many_members(300), 413, "more than 200 photographs"),
        (many_members(30_000), 413, "more than 200 photographs"),
    ],
)
def test_hostile_zips_are_refused_before_they_are_unpacked(
    served: Served, anna: Caller, content: bytes, status: int, words: str
) -> None:
    assert words in problem_of(anna.send(content), status)
    assert not [path for path in served.folder.rglob("*") if path.is_file()]


def test_a_list_too_long_for_memory_is_never_read(tmp_path: Path) -> None:
    file = tmp_path / "many.zip"
    file.write_bytes(many_members(300_000))
    reads: list[int] = []

    class Noted(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            reads.append(len(found or b""))
            return found or b""

    with Noted(file) as stream, pytest.raises(Exception, match="more than 200 photographs"):
        look(stream, Batches(dir="x", photographs=200))
    assert sum(reads) < 3_000_000


@pytest.mark.parametrize(
    "damaged",
    [
        lying(packed({"a.png": photo()}), 24, 1000),  # gives less than it holds
        lying(packed({"a.png": photo()}), 24, 400_000),  # and more
        lying(packed({"a.png": bytes(400_000)}), 20, 1_000_000),
        packed({"a.png": photo()}).replace(b"IDAT", b"IDOT"),
        packed({"a.png": zlib.compress(bytes(300_000))}),
        packed({"a.png": photo()}, zipfile.ZIP_STORED).replace(b"IHDR", b"IHDX"),
    ],
)
def test_a_damaged_member_is_a_fault_of_its_own(served: Served, anna: Caller, damaged: bytes) -> None:
    buffer = io.BytesIO(damaged)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("good.png", photo())
    id = anna.send(buffer.getvalue()).json()["id"]
    served.finish()
    shown = anna.ask(id).json()
    assert (shown["state"], shown["done"] + shown["failed"]) == ("done", 2)
    assert "good.png" in pictures(anna.ask(f"{id}/result"))


@pytest.mark.slow
def test_a_worker_that_dies_goes_on_where_it_was(served: Served, anna: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SLICE", 2)
    id = anna.send(packed({f"{n}.png": photo(n % 3) for n in range(7)})).json()["id"]
    served.work.step()
    served.work.step()
    shown = anna.ask(id).json()
    assert (shown["state"], shown["done"]) == ("running", 4)
    first = {path.name: path.stat().st_mtime_ns for path in served.folder.rglob("part-*")}

    def die(*_: Any) -> None:
        raise SystemExit  # after the pictures and before they are kept

    with monkeypatch.context() as patch:
        patch.setattr(Work, "_keep", die)
        with pytest.raises(SystemExit):
            served.work.step()
    served.work = Work(served.serving)  # a new process, which knows nothing
    served.work.step()
    now = {path.name: path.stat().st_mtime_ns for path in served.folder.rglob("part-*")}
    assert {name: now[name] for name in first} == first
    served.finish()
    assert len(pictures(anna.ask(f"{id}/result"))) == 7


@pytest.mark.slow
def test_a_second_worker_while_the_code_is_rolled_spoils_nothing(
    served: Served, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = anna.send(packed({"a.png": photo(), "b.png": photo(1)})).json()["id"]
    served.work.step()
    close = Work._close

    def late(self: Work, batch: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Work, "_close", close)
            Work(served.serving).step()  # which closes it first
        close(self, batch)

    monkeypatch.setattr(Work, "_close", late)
    served.work.step()
    assert set(pictures(anna.ask(f"{id}/result"))) == {"a.png", "b.png"}


@pytest.mark.slow
def test_a_worker_that_dies_at_the_end_leaves_no_photograph(
    served: Served, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna.send(packed({"a.png": photo()}))
    served.work.step()

    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(records.Store, "delete", die)
        with pytest.raises(SystemExit):
            served.work.step()
    served.work = Work(served.serving)
    served.work.sweep()
    kept = {path.name for path in served.folder.rglob("*") if path.is_file()}
    assert kept == {"batch.json", "progress.json", "result.zip"}


@pytest.mark.slow
def test_a_photograph_that_ends_the_worker_ends_no_batch(
    served: Served, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "SLICE", 2)
    id = anna.send(packed({f"{n}.png": photo() for n in range(4)})).json()["id"]
    edit = Work._edit

    def deadly(self: Work, batch: Any, number: int, *more: Any) -> Any:
        if number == 0:
            raise SystemExit
        return edit(self, batch, number, *more)

    monkeypatch.setattr(Work, "_edit", deadly)
    for _ in range(worker.TRIES):
        with pytest.raises(SystemExit):
            served.work.step()
    served.finish()
    shown = anna.ask(id).json()
    assert (shown["state"], shown["done"], shown["failed"]) == ("done", 2, 2)
    assert "ended several times" in shown["faults"][0]["fault"]


@pytest.mark.slow
def test_a_full_disk_waits_and_spoils_nothing(served: Served, anna: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from visage.errors import NotWritten

    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.0)
    id = anna.send(packed({"a.png": photo()})).json()["id"]

    def full(*_: Any) -> None:
        raise NotWritten("/secret: cannot be written (No space left on device); make room.")

    with monkeypatch.context() as patch:
        patch.setattr(records.Store, "send", full)
        for _ in range(worker.TRIES + 2):
            served.work.step()
        refused = problem_of(anna.send(packed({"b.png": photo()})), 507)
        assert "secret" not in refused
    served.finish()
    assert anna.ask(id).json()["done"] == 1


@pytest.mark.slow
def test_batches_take_turns_and_one_that_waits_keeps_nobody(
    served: Served, anna: Caller, ben: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "SLICE", 1)
    long = anna.send(packed({f"{n}.png": photo() for n in range(5)})).json()["id"]
    short = ben.send(packed({"a.png": photo()})).json()["id"]
    served.work.step()
    served.work.step()
    assert ben.ask(short).json()["state"] == "done"
    assert anna.ask(long).json()["state"] == "running"
    broken = ben.send(packed({"a.png": photo()})).json()["id"]
    next(served.folder.glob(f"*/{broken}/photographs-*.zip")).unlink()
    served.finish()
    assert anna.ask(long).json()["state"] == "done"


@pytest.mark.slow
def test_one_that_is_removed_in_work_leaves_nothing(
    served: Served, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = anna.send(packed({"a.png": photo()})).json()["id"]
    edit = Work._edit

    def removed(self: Work, *more: Any) -> Any:
        found = edit(self, *more)
        anna.ask(id, "DELETE")
        return found

    monkeypatch.setattr(Work, "_edit", removed)
    served.work.step()
    assert not [path for path in served.folder.rglob("*") if path.is_file()]
    assert not served.work.step()


@pytest.mark.slow
def test_pictures_that_grow_too_large_are_faults(served: Served, anna: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SLICE", 1)
    monkeypatch.setattr(worker, "GROWTH", 0.1)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    noise[:, :] = np.where(np.indices((256, 256)).sum(0)[..., None] < 180, noise, photograph(face(0, "neutral")))
    id = anna.send(packed({"a.png": png(noise), "b.png": photo(), "c.png": photo()})).json()["id"]
    served.finish()
    shown = anna.ask(id).json()
    assert shown["state"] == "done"
    assert "more than 0.2 megabytes" in shown["faults"][-1]["fault"]


@pytest.mark.parametrize(("took", "worked", "rests"), [(1.0, 0.95, []), (1.0, 0.5, [1.0]), (60.0, 0.5, [10.0])])
def test_a_thread_that_others_kept_waiting_gives_way_once_more(
    monkeypatch: pytest.MonkeyPatch, took: float, worked: float, rests: list[float]
) -> None:
    clock, rested = SimpleNamespace(wall=5.0, cpu=1.0), list[float]()
    times = {"monotonic": lambda: clock.wall, "thread_time": lambda: clock.cpu, "sleep": rested.append}
    monkeypatch.setattr("serve_app.batches.worker.time", SimpleNamespace(**times))

    def change(editor: Any, faces: np.ndarray) -> np.ndarray:
        clock.wall, clock.cpu = clock.wall + took, clock.cpu + worked
        return faces

    slowly: Any = give_way(change)
    for _ in range(2):
        assert slowly(None, np.zeros(1)) == 0
    assert rested == rests


def test_what_is_old_goes(served: Served, anna: Caller, ben: Caller) -> None:
    old = anna.send(packed({"a.png": photo()})).json()["id"]
    new = ben.send(packed({"a.png": photo()})).json()["id"]
    kept = records.Records(served.work._settings)
    batch = kept.find("anna", old)
    assert batch
    kept.add(replace(batch, created="2026-01-01T00:00:00+00:00"))
    orphan = served.folder / "of-anna" / ("0" * 32)
    orphan.mkdir()
    (orphan / "photographs.zip").write_bytes(b"x")
    served.work.sweep()
    problem_of(anna.ask(old), 404)
    assert ben.ask(new).status_code == 200
    assert orphan.exists()  # it may just be arriving
    served.work.sweep()
    assert not orphan.exists()


def test_the_disk_is_not_filled(bundle: Any, tmp_path: Path) -> None:
    served = Served(bundle, tmp_path, total_megabytes=0.3, of_a_key=100)
    with running(served.app()) as url:
        anna, answers = Caller(url, "anna"), []
        body = packed({"a.png": os.urandom(200_000)})
        for _ in range(3):
            answers.append(anna.send(body).status_code)
        assert answers == [202, 507, 507]


def test_many_that_arrive_at_once_are_held_off(bundle: Any, tmp_path: Path) -> None:
    served = Served(bundle, tmp_path)
    go, arrived = threading.Event(), threading.Semaphore(0)

    def slowly() -> Iterator[bytes]:
        yield b"PK"
        arrived.release()
        go.wait(60)

    with running(served.app()) as url:
        anna, ben = Caller(url, "anna"), Caller(url, "ben")
        threads = [threading.Thread(target=anna.send, args=(slowly(),)) for _ in range(desk.OF_ONE_CALLER)]
        for thread in threads:
            thread.start()
        for _ in threads:
            arrived.acquire()
        deadline = 200
        while (answer := anna.send(packed({"a.png": photo()}))).status_code == 202 and deadline:
            deadline -= 1  # the server may not have seen the other's first bytes yet
            anna.ask(answer.json()["id"], "DELETE")
        problem_of(answer, 429)
        assert ben.send(packed({"a.png": photo()})).status_code == 202
        go.set()
        for thread in threads:
            thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_clients_send_ask_fetch_and_delete(served: Served, tmp_path: Path, kind: str) -> None:
    from visage.client import AsyncClient, Client, ClientError

    sent, out = tmp_path / "photos.zip", tmp_path / "pictures.zip"
    sent.write_bytes(packed({"a.png": photo(), "empty.png": b""}))

    def ask(method: str, *arguments: Any, **more: Any) -> Any:
        if kind == "sync":
            with Client(url, api_key="key-of-anna", patience=0) as client:
                return getattr(client, method)(*arguments, **more)

        async def asked() -> Any:
            async with AsyncClient(url, api_key="key-of-anna", patience=0) as client:
                return await getattr(client, method)(*arguments, **more)

        return asyncio.run(asked())

    with running(served.app()) as url:
        batch = ask("send_batch", sent, "happy", intensity=0.5, view="photo", key="mine")
        assert (batch.state, batch.photographs, batch.intensity) == ("waiting", 2, 0.5)
        assert ask("send_batch", sent, "happy", intensity=0.5, view="photo", key="mine").id == batch.id
        assert ask("send_batch", sent, "happy").id != batch.id
        with pytest.raises(ClientError, match="not done yet") as early:
            ask("batch_result", batch.id, out)
        assert early.value.status == 409
        served.finish()
        assert [each.photograph for each in ask("batch", batch.id).faults] == ["empty.png"]
        assert ask("batch_result", batch.id, out) == out
        assert zipfile.ZipFile(out).namelist() == ["a.png"]
        assert ask("delete_batch", batch.id) is None
        for method, arguments in (("batch", (batch.id,)), ("batch", ("../model",)), ("delete_batch", (batch.id,))):
            with pytest.raises(ClientError) as gone:
                ask(method, *arguments)
            assert gone.value.status == 404
        with pytest.raises(ClientError, match="reads and writes no bucket"):
            ask("send_batch", ["s3://bucket/anna/a.png"], "happy")
        with pytest.raises(ClientError, match="cannot be read"):
            ask("send_batch", tmp_path / "none.zip", "happy")
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.slow
def test_the_page_s_example_runs(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    (example,) = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "send_batch" in each]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISAGE_API_KEY", "key-of-anna")
    Path("photos.zip").write_bytes(packed({"a.png": photo()}))
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            served.work.step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with running(served.app()) as url:
            exec(compile(example.replace("http://127.0.0.1:8000", url), "client.md", "exec"), {})
    finally:
        ended.set()
        thread.join()
    assert zipfile.ZipFile("pictures.zip").namelist() == ["a.png"]


def test_without_the_setting_there_are_none(request_app: Callable[..., httpx.Response]) -> None:
    for method, path in (("POST", ""), ("GET", "/" + "0" * 32), ("DELETE", "/" + "0" * 32)):
        assert "batches.dir" in problem_of(request_app(method, f"/v1/batches{path}"), 404)


@pytest.fixture
def in_bucket(bundle: Any, tmp_path: Path, bucket: str) -> Served:
    return Served(bundle, tmp_path, bucket=bucket)


@pytest.mark.slow
def test_photographs_of_a_bucket_and_answers_into_it(in_bucket: Served, bucket: str) -> None:
    from visage.infra.remote_store import Store

    mine, others = Store(f"{bucket}/anna"), Store(f"{bucket}/ben")
    mine.write("in/a.png", photo())
    others.write("b.png", photo(1))
    with running(in_bucket.app()) as url:
        anna = Caller(url, "anna")

        def send(*names: str, answers: str = "bucket") -> httpx.Response:
            body = json.dumps({"addresses": list(names)})
            return anna.send(body, f"{HAPPY}&answers={answers}", "application/json; charset=utf-8")

        for bad in (
            f"{bucket}/ben/b.png",
            f"{bucket}/anna/../ben/b.png",
            f"{bucket}/anna/%2e%2e/ben/b.png",
            f"{bucket}/annabel/b.png",
            f"{bucket}/anna/answers/{'0' * 32}/a.png",
            "s3://other/anna/a.png",
            "http://169.254.169.254/latest/a.png",
            "file:///etc/a.png",
            "/etc/a.png",
            f"{bucket}/anna//a.png",
            f"{bucket}/anna/a.png?versionId=1",
            f"{bucket}@evil.example/anna/a.png",
            f"{bucket}/anna/notes.txt",
            "",
        ):
            refused = problem_of(send(f"{bucket}/anna/in/a.png", bad), 422)
            assert "no address of a photograph" in refused or "no photograph by its name" in refused
        for body in ("[]", "{}", "nothing", '{"addresses": "a"}', '{"addresses": [1]}', '{"addresses": []}'):
            problem_of(anna.send(body, HAPPY, "application/json"), 422)
        id = send(f"{bucket}/anna/in/a.png", f"{bucket}/anna/gone.png").json()["id"]
        zipped = send(f"{bucket}/anna/in/a.png", answers="zip").json()["id"]
        in_bucket.finish()
        shown = anna.ask(id).json()
        assert (shown["state"], shown["done"], shown["failed"]) == ("done", 1, 1)
        assert shown["answers"] == f"{bucket}/anna/answers/{id}"
        assert opened(Store(shown["answers"]).read("in/a.png") or b"").shape == (256, 256, 3)
        assert "in the bucket" in shown["faults"][0]["fault"]
        problem_of(anna.ask(f"{id}/result"), 404)
        assert set(pictures(anna.ask(f"{zipped}/result"))) == {"in/a.png"}


@pytest.mark.slow
def test_batches_may_lie_in_a_bucket_themselves(bundle: Any, tmp_path: Path, bucket: str) -> None:
    served = Served(bundle, tmp_path, dir=f"{bucket}/batches")
    with running(served.app()) as url:
        anna = Caller(url, "anna")
        id = anna.send(packed({"a.png": photo(), "empty.png": b""}), Idempotency_Key="k").json()["id"]
        served.finish()
        shown = anna.ask(id).json()
        assert (shown["state"], shown["done"], shown["failed"]) == ("done", 1, 1)
        assert set(pictures(anna.ask(f"{id}/result"))) == {"a.png"}
        assert anna.ask(id, "DELETE").status_code == 204
        problem_of(anna.ask(id), 404)
    assert not served.folder.exists()
