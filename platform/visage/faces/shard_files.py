"""Where a face set's shards are read from: its folder, or its address, of which the folder keeps the last ones read."""

import os
import threading
from contextlib import suppress

from visage.errors import NotWritten, UserError
from visage.faces.faceset import FaceSet
from visage.faces.shards import FOLDER, Shard, check
from visage.infra.files import locked, write_whole
from visage.infra.patience import patiently
from visage.infra.remote_store import Store

LOCKS = 16  # so many shards may be fetched at once by the processes of a machine


class ShardFiles:
    """The shards of a face set, each checked whenever it is read.

    cache: bytes that those of an address may take of this machine's disk, where they are read more than once and by
    several processes; the ones not read for longest go. Raises UserError when some are missing or cut off, as far as
    their names and lengths tell.
    """

    def __init__(self, faces: FaceSet, cache: float) -> None:
        self.shards, self.cache, self.folder = faces.shards, cache, faces.dir / FOLDER
        self.store = Store(faces.address) / FOLDER if faces.address else None
        self.closed = threading.Event()
        self.place = self.store.address if self.store else str(self.folder)
        if self.store:
            there = self.store.sizes()
        else:
            there = {path.name: path.stat().st_size for path in self.folder.glob("*.parquet")}
        for shard in self.shards:
            if (size := there.get(shard.name)) is None:
                raise self._fault(shard, "is missing")
            if size != shard.bytes:
                raise self._fault(shard, f"has {size} bytes and was written with {shard.bytes}")

    def read(self, shard: Shard) -> bytes:
        """The content of a shard. Waits while the bucket is away, as a run does. Raises UserError for what is missing,
        cut off, or another's."""
        path = self.folder / shard.name
        if not self.store:
            try:
                return self._checked(path.read_bytes(), shard)
            except FileNotFoundError:
                raise self._fault(shard, "is missing") from None
        self.folder.mkdir(exist_ok=True)
        # One fetches for all processes of a machine.
        with locked(self.folder / f".{int(shard.sha256, 16) % LOCKS}.lock"):
            with suppress(OSError, UserError):  # a copy that the disk lost is fetched again
                content = self._checked(path.read_bytes(), shard)
                os.utime(path)
                return content
            content = self._checked(self._fetched(shard), shard)
            if shard.bytes <= self.cache:
                self._make_room(shard.bytes)
                with suppress(NotWritten):  # a full disk costs time, not the run
                    write_whole(path, content)
        return content

    def _fetched(self, shard: Shard) -> bytes:
        assert self.store
        store = self.store
        content = patiently(lambda: store.read(shard.name), self.closed.wait)
        if content is None:
            raise self._fault(shard, "is missing")
        return content

    def _make_room(self, wanted: int) -> None:
        """Remove the copies that were not read for longest, so that `wanted` bytes more stay in the cache's size."""
        kept = []
        for path in self.folder.glob("*.parquet"):
            with suppress(FileNotFoundError):  # another process makes room too
                kept.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        whole = sum(size for _, size, _ in kept) + wanted
        for _, size, path in sorted(kept):
            if whole <= self.cache:
                break
            path.unlink(missing_ok=True)
            whole -= size

    def _checked(self, content: bytes, shard: Shard) -> bytes:
        try:
            check(content, shard, self.shards)
        except ValueError as error:
            raise self._fault(shard, str(error)) from None
        return content

    def _fault(self, shard: Shard, what: str) -> UserError:
        return UserError(
            f"{self.place}/{shard.name}: {what}; put the shard of this face set there again, or make the set anew with "
            "`visage prepare`."
        )
