"""Where batches are handed in, asked about and fetched: any replica can, as all that is known of them is in files."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serve_app.batches import archive
from serve_app.batches.records import ENDED, RESULT, Batch, Records, new_id
from serve_app.bodies import announced, in_time, pieces
from serve_app.logs import logger
from serve_app.problems import Problem
from serve_app.request_form import VIEWS, choice, intensity
from visage.api.schema import Batch as Shown
from visage.api.schema import BatchFault, ModelReference
from visage.config.serving import Batches
from visage.editing.expression import expression_index
from visage.errors import NotWritten, UserError
from visage.infra.remote_store import address_fault

ZIP, ADDRESSES = "application/zip", "application/json"
LONGEST_LIST = 2_000_000  # bytes of a list of addresses
KEY = re.compile(r"[\x21-\x7e]{1,255}")
ARRIVING, OF_ONE_CALLER = 8, 2  # batches that a replica takes in at once
CHUNK = 1 << 20
FREE = 2  # times a batch's bytes, that its disk must have
NONE = "There is no batch of this name among those of your key; see its address in the answer that took it."


class Desk:
    """The batches of all callers. Methods raise Problem."""

    def __init__(self, settings: Batches, wake: Callable[[], object] = lambda: None) -> None:
        self._settings, self._records, self._wake = settings, Records(settings), wake
        self._arriving = Counter[str]()

    async def take(self, request: Request, caller: str, asked: Mapping[str, str], known: tuple[str, ...]) -> Shown:
        """Take a batch in, or find the one that its Idempotency-Key named before. asked: expression, intensity, view,
        answers, as the caller gave them. known: the model's expressions."""
        key = request.headers.get("idempotency-key")
        if key is not None and not KEY.fullmatch(key):
            raise Problem(422, "Idempotency-Key: takes 1 to 255 letters, digits and signs, without blanks.")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (ZIP, ADDRESSES):
            given = kind[:80] or "none"
            raise Problem(415, f"Content-Type {given}: send {ZIP} with photographs, or {ADDRESSES} with addresses.")
        wanted = _wanted(asked, known)
        to_bucket = choice("answers", asked["answers"], ("zip", "bucket")) == "bucket"
        if (to_bucket or kind == ADDRESSES) and not self._settings.bucket:
            raise Problem(422, "The endpoint reads and writes no bucket; send a ZIP, and take one.")
        if (to_bucket or kind == ADDRESSES) and address_fault(f"{self._settings.bucket}/{caller}"):
            raise Problem(422, f"{caller}: names no folder of a bucket; use a key of another name.")
        if self._arriving.total() >= ARRIVING or self._arriving[caller] >= OF_ONE_CALLER:
            raise Problem(429, "Too many batches are being sent at once; ask again in a moment.", {"Retry-After": "10"})
        self._arriving[caller] += 1
        try:
            with _store_faults(), tempfile.NamedTemporaryFile(dir=await self._here(), prefix=".arriving-") as file:
                body = cast(IO[bytes], file)
                digest = await self._receive(request, body, kind)
                batch = Batch(
                    id=new_id(caller, key),
                    caller=caller,
                    digest=_digest(digest, kind, wanted, to_bucket),
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    asked=wanted,
                    names=(),
                    from_bucket=kind == ADDRESSES,
                    to_bucket=to_bucket,
                )
                taken = await to_thread.run_sync(self._add, batch, body)
        finally:
            self._arriving[caller] -= 1
        self._wake()
        return taken

    async def show(self, caller: str, id: str) -> Shown:
        """How far a batch is."""
        with _store_faults():
            return await to_thread.run_sync(lambda: self._show(self._find(caller, id)))

    async def remove(self, caller: str, id: str) -> None:
        """Forget a batch, with its photographs and answers; in work, it is ended."""
        with _store_faults():
            await to_thread.run_sync(lambda: self._records.remove(caller, self._find(caller, id).id))

    async def result(self, caller: str, id: str) -> Response:
        """The ZIP with a batch's pictures."""
        with _store_faults():
            batch = await to_thread.run_sync(self._find, caller, id)
            if batch.to_bucket:
                raise Problem(404, f"The answers are not in a ZIP but at {self._answers_of(batch)}; read them there.")
            try:
                file = await to_thread.run_sync(self._records.store.open, self._records.name(batch, RESULT))
            except FileNotFoundError:
                raise Problem(409, "The batch is not done yet; its own address says how far it is.") from None

            async def chunks() -> AsyncIterator[bytes]:
                with file:
                    while chunk := await to_thread.run_sync(file.read, CHUNK):
                        yield chunk

            named = {
                "Content-Disposition": f'attachment; filename="{batch.id}.zip"',
                "Content-Length": str(file.size()),
            }
            return StreamingResponse(chunks(), headers=named, media_type=ZIP)

    async def _here(self) -> Path | None:
        """Where a body is put while it arrives; the system's folder where the batches are in a bucket."""
        await to_thread.run_sync(lambda: self._records.store)
        return self._records.folder

    async def _receive(self, request: Request, file: IO[bytes], kind: str) -> str:
        """Write the body to a file as it arrives, and return the sha256 of it."""
        most = int(self._settings.megabytes * 1e6) if kind == ZIP else LONGEST_LIST
        too_large = Problem(413, f"The batch has more than {most / 1e6:g} megabytes; send it in several.")
        size = announced(request.headers) or 0
        if size <= most:  # `pieces` refuses a larger one
            _require_room(Path(file.name).parent, size)
        found, chunk = hashlib.sha256(), bytearray()
        async with in_time("batch", self._settings.upload_seconds, "send a smaller one"):
            async for piece in pieces(request, most, too_large):
                chunk += piece
                if len(chunk) >= CHUNK:
                    await to_thread.run_sync(_write, file, bytes(chunk), found)
                    chunk.clear()
        await to_thread.run_sync(_write, file, bytes(chunk), found)
        file.flush()
        return found.hexdigest()

    def _add(self, batch: Batch, file: IO[bytes]) -> Shown:
        if before := self._records.find(batch.caller, batch.id):
            if before.digest != batch.digest:
                raise Problem(422, "Idempotency-Key: was given with another request before; give each batch its own.")
            return self._show(before)
        listing = self._records.listing()
        if len(listing.unfinished(batch.caller)) >= self._settings.of_a_key:
            detail = f"{self._settings.of_a_key} batches of {batch.caller} are not done yet; send more when one is."
            raise Problem(429, detail, {"Retry-After": "30"})
        names, over = self._names(batch, file)
        size = 0 if batch.from_bucket else os.fstat(file.fileno()).st_size
        if listing.bytes + size > self._settings.total_megabytes * 1e6:
            detail = "The endpoint keeps as many batches as it has room for; delete one, or ask again later."
            raise Problem(507, detail, {"Retry-After": "600"})
        batch = replace(batch, names=names, passed_over=over)
        if not batch.from_bucket:
            self._records.store.send(Path(file.name), self._records.name(batch, batch.photographs))
        self._records.add(batch)
        return self._show(batch)

    def _names(self, batch: Batch, file: IO[bytes]) -> tuple[tuple[str, ...], int]:
        """The photographs of a batch, and how many other files there are."""
        file.seek(0)
        if not batch.from_bucket:
            return archive.look(file, self._settings)
        try:
            sent = json.load(file)
        except (ValueError, RecursionError):
            sent = None
        addresses = sent.get("addresses") if isinstance(sent, dict) and len(sent) == 1 else None
        if not isinstance(addresses, list) or not all(isinstance(each, str) for each in addresses):
            raise Problem(422, 'The body is no list of addresses; send {"addresses": ["s3://BUCKET/FOLDER/NAME"]}.')
        if len(addresses) > self._settings.photographs:
            raise archive.too_many(self._settings)
        begin = f"{self._settings.bucket}/{batch.caller}/"
        return archive.names_under(begin, addresses), 0

    def _find(self, caller: str, id: str) -> Batch:
        batch = self._records.find(caller, id)
        if batch is None:
            raise Problem(404, NONE)
        return batch

    def _show(self, batch: Batch) -> Shown:
        progress = self._records.progress(batch)
        ended = self._records.files(batch).keys() & {RESULT, ENDED}
        return Shown(
            id=batch.id,
            state="done" if ended else "running" if progress.model else "waiting",
            created=batch.created,
            expires=self._records.expires(batch).isoformat(timespec="seconds"),
            **batch.asked,
            photographs=len(batch.names),
            passed_over=batch.passed_over,
            done=min(progress.slices * batch.slice_of, len(batch.names)) - len(progress.faults),
            failed=len(progress.faults),
            faults=tuple(BatchFault(photograph=name, fault=fault) for name, fault in progress.faults.items()),
            model=None if progress.model is None else ModelReference(**progress.model),
            answers=self._answers_of(batch) if batch.to_bucket else f"/v1/batches/{batch.id}/result",
        )

    def _answers_of(self, batch: Batch) -> str:
        return answers_at(str(self._settings.bucket), batch)


def answers_at(bucket: str, batch: Batch) -> str:
    """Where in the bucket a batch's answers are put: no caller can choose, so that nothing is written over."""
    return f"{bucket}/{batch.caller}/{archive.ANSWERS}/{batch.id}"


def _wanted(asked: Mapping[str, str], known: tuple[str, ...]) -> dict[str, Any]:
    try:
        expression_index(known, asked["expression"])
    except UserError as error:
        raise Problem(422, str(error)[:400]) from None
    view = choice("view", asked["view"], VIEWS)
    return {"expression": asked["expression"], "intensity": intensity(asked["intensity"]), "view": view}


def _digest(body: str, kind: str, wanted: Mapping[str, Any], to_bucket: bool) -> str:
    """Of all that decides a batch."""
    return hashlib.sha256(json.dumps([body, kind, wanted, to_bucket], sort_keys=True).encode()).hexdigest()


def _write(file: IO[bytes], content: bytes, found: Any) -> None:
    found.update(content)
    archive.write(file, content)


def _require_room(folder: Path, size: int) -> None:
    with suppress(OSError):
        if shutil.disk_usage(folder).free < FREE * size:
            raise _no_room()


def _no_room() -> Problem:
    return Problem(507, "There is no room for the batch on the endpoint's disk; ask again later.")


@contextmanager
def _store_faults() -> Iterator[None]:
    """What the store says holds paths and addresses, so it goes into the log alone."""
    try:
        yield
    except (NotWritten, OSError) as error:
        logger().error("The batches' store: %s", error)
        if os.strerror(errno.ENOSPC) in str(error):
            raise _no_room() from None
        detail = "The endpoint's store of batches is away; ask again in a moment."
        raise Problem(503, detail, {"Retry-After": "10"}) from None
