"""What is kept of a batch: files under the configured folder or bucket, and nothing in any process's memory.

    of-CALLER/ID/batch.json        what was asked, by whom; written last, so that it makes the batch
                 photographs-DIGEST.zip   until all are done; none of a batch of addresses
                 progress.json     how far it is, with the faults so far
                 part-00000.zip    the pictures of each slice of photographs, until all are done
                 result.zip        all pictures; or `result`, empty, where they are in the bucket

Each file is written whole, and making a slice twice makes the same files: a worker that dies, or two at once while
the code is rolled, do no harm.
"""

import hashlib
import json
import re
import shutil
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from visage.config.serving import Batches
from visage.errors import NotWritten
from visage.infra.remote_store import Store, is_address

BATCH, PROGRESS, RESULT, ENDED = "batch.json", "progress.json", "result.zip", "result"
ID = re.compile(r"[0-9a-f]{32}")
SLICE = 64  # photographs that are lost when the worker dies
Asked = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """digest: of all that was sent. names: of the photographs in the ZIP, or under the caller's folder of the bucket.
    asked: expression, intensity, view. to_bucket: the answers go there. slice_of: so many photographs."""

    id: str
    caller: str
    digest: str
    created: str
    asked: Asked
    names: tuple[str, ...]
    passed_over: int = 0
    from_bucket: bool = False
    to_bucket: bool = False
    slice_of: int = field(default_factory=lambda: SLICE)

    @property
    def photographs(self) -> str:
        """Its ZIP: of two that come at once with one key and differ, the batch has its own."""
        return f"photographs-{self.digest[:16]}.zip"

    def slices(self) -> int:
        return -(-len(self.names) // self.slice_of)

    def slice(self, number: int) -> tuple[str, ...]:
        return self.names[number * self.slice_of : (number + 1) * self.slice_of]


@dataclass(frozen=True)
class Progress:
    """slices: that are done. tries: of the next one. faults: sentences by photograph. model: what edits the batch, as
    `ModelReference`, and where to fetch it again."""

    slices: int = 0
    tries: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] | None = None
    fetched: str = ""


def new_id(caller: str, key: str | None) -> str:
    """A batch's id: the same for the same caller and Idempotency-Key, which so needs no list of its own."""
    if key is None:
        return uuid.uuid4().hex
    return hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()[:32]


class Records:
    """The batches of all callers, in files. Methods raise NotWritten when the store refuses."""

    def __init__(self, settings: Batches) -> None:
        self.settings = settings

    @cached_property
    def store(self) -> Store:
        place = self.settings.dir
        if not is_address(place):
            try:
                Path(place).mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise NotWritten(f"batches.dir = {place}: cannot be made ({error.strerror}); give another.") from None
            place = f"file://{Path(place).resolve()}"
        return Store(place)

    @property
    def folder(self) -> Path | None:
        """Where to put what is arriving: the folder itself, so that its disk is the one that fills."""
        return None if is_address(self.settings.dir) else Path(self.settings.dir)

    def add(self, batch: Batch) -> None:
        self.store.write(f"{_of(batch.caller, batch.id)}/{BATCH}", json.dumps(asdict(batch)).encode())

    def find(self, caller: str, id: str) -> Batch | None:
        """None where there is none of this caller."""
        content = self.store.read(f"{_of(caller, id)}/{BATCH}") if ID.fullmatch(id) else None
        return None if content is None else _batch(content)

    def progress(self, batch: Batch) -> Progress:
        content = self.store.read(self.name(batch, PROGRESS))
        return Progress(**json.loads(content)) if content else Progress()

    def keep(self, batch: Batch, progress: Progress) -> None:
        self.store.write(self.name(batch, PROGRESS), json.dumps(asdict(progress)).encode())

    def name(self, batch: Batch, file: str) -> str:
        """Of one of its files in the store."""
        return f"{_of(batch.caller, batch.id)}/{file}"

    def files(self, batch: Batch) -> dict[str, int]:
        """Those that a batch has, with their bytes."""
        return (self.store / _of(batch.caller, batch.id)).sizes()

    def listing(self) -> "Listing":
        """All that is there, asked for at once."""
        return Listing(self.store.sizes())

    def remove(self, caller: str, id: str) -> None:
        """Remove a batch with all its files, the one that makes it a batch first."""
        place = _of(caller, id)
        self.store.delete(f"{place}/{BATCH}")
        (self.store / place).drop()
        if self.folder:
            shutil.rmtree(self.folder / place, ignore_errors=True)

    def expires(self, batch: Batch) -> datetime:
        return datetime.fromisoformat(batch.created) + timedelta(days=self.settings.days)

    def unfinished(self) -> list[Batch]:
        """The batches that are to be worked on, the oldest first."""
        found = (self.find(caller, id) for caller, id in self.listing().unfinished())
        return sorted((batch for batch in found if batch), key=lambda batch: batch.created)

    def ended(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Callers and ids of what is kept no longer; and of what is no batch: it is arriving, or was removed while a
        worker wrote to it."""
        found = {key: self.find(*key) for key in self.listing().batches}
        old = {key for key, batch in found.items() if batch and self.expires(batch) < datetime.now(UTC)}
        return old, {key for key, batch in found.items() if batch is None}


class Listing:
    """The files of all batches with their bytes."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.bytes = sum(size for path, size in sizes.items() if path.startswith("of-"))
        self.batches = dict[tuple[str, str], set[str]]()
        for path in sizes:
            caller, _, rest = path.partition("/")
            id, _, file = rest.partition("/")
            if caller.startswith("of-") and ID.fullmatch(id):
                self.batches.setdefault((caller.removeprefix("of-"), id), set()).add(file)

    def left_over(self) -> list[str]:
        """Files of batches that are done, which a worker had no time to remove."""
        return [
            f"{_of(caller, id)}/{file}"
            for (caller, id), files in self.batches.items()
            if files & {RESULT, ENDED}
            for file in files
            if passing(file)
        ]

    def unfinished(self, caller: str | None = None) -> list[tuple[str, str]]:
        """Caller and id of the batches, of one caller or of all, that have no result yet."""
        return [
            (whose, id)
            for (whose, id), files in self.batches.items()
            if BATCH in files and not files & {RESULT, ENDED} and caller in (None, whose)
        ]


def _of(caller: str, id: str) -> str:
    return f"of-{caller}/{id}"  # a key's name may be "..", which alone would be another folder


def _batch(content: bytes) -> Batch:
    values = json.loads(content)
    return Batch(**{**values, "names": tuple(values["names"])})


def part(number: int) -> str:
    return f"part-{number:05d}.zip"


def passing(file: str) -> bool:
    """Whether a file of a batch goes when the batch is done."""
    return file.startswith(("photographs-", "part-"))
