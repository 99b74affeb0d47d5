"""Where a face set's shards are read from: its folder, or its address, of which the folder keeps the last ones read."""

import hashlib
import os
import threading
from contextlib import suppress

from visage.errors import NotWritten, UserError
from visage.faces.faceset import FaceSet
from visage.faces.shards import FOLDER, Shard
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
        path, store = self.folder / shard.name, self.store
        if not store:
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
            fetched = patiently(lambda: store.read(shard.name), self.closed.wait)
            if fetched is None:
                raise self._fault(shard, "is missing")
            content = self._checked(fetched, shard)
            if shard.bytes <= self.cache:
                self._make_room(shard.bytes)
                with suppress(NotWritten):  # a full disk costs time, not the run
                    write_whole(path, content)
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
        if len(content) < shard.bytes:
            raise self._fault(shard, f"is cut off: it has {len(content)} of its {shard.bytes} bytes")
        if (found := hashlib.sha256(content).hexdigest()) != shard.sha256:
            same = next((other.name for other in self.shards if other.sha256 == found), None)
            what = f"is a second copy of {same}" if same else "is not as it was written, or of another set"
            raise self._fault(shard, what)
        return content

    def _fault(self, shard: Shard, what: str) -> UserError:
        return UserError(
            f"{self.place}/{shard.name}: {what}; put the shard of this face set there again, or make the set anew with "
            "`visage prepare`."
        )
