"""Faces on their way to a face set, kept on disk so that a preparation that was cut off goes on where it stopped."""

import fcntl
import glob
import hashlib
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from visage.errors import UserError

HEAD = struct.Struct("<32s?Q")  # key, whether there is no face, length of the content
LONGEST = 512 * 512 * 3


class Spool:
    """What became of pictures, under 32-byte keys, in any order: an aligned face of one size, or why there is none.

    A record is a hash of the rest, the key, the length of the content, and the content: pixels, or the reason. What a
    kill cut short ends the file when it is read.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._shape = file, (size, size, 3)
        self._places: dict[bytes, int] = {}
        self._reasons: dict[bytes, str] = {}
        place = 0
        while (record := self._record(place)) is not None:
            self._note(place, *record)
            place = file.tell()
        file.seek(place)
        file.truncate()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def write(self, key: bytes, face: np.ndarray, reason: str) -> None:
        """Keep a face, uint8 size,size,3, or the reason why there is none; a kill of the process loses it no more."""
        content = reason.encode() if reason else np.ascontiguousarray(face).tobytes()
        rest = HEAD.pack(key, bool(reason), len(content)) + content
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(hashlib.sha256(rest).digest() + rest)
        self._file.flush()
        self._note(place, key, reason, content)

    def reason(self, key: bytes) -> str:
        """Why there is no face; empty where there is one."""
        return self._reasons.get(key, "")

    def faces(self, keys: Iterable[bytes]) -> Iterator[np.ndarray]:
        """The faces of `keys`, uint8 size,size,3, in their order."""
        for key in keys:
            record = self._record(self._places[key])
            assert record is not None, "the disk lost what was written"
            yield np.frombuffer(record[2], np.uint8).reshape(self._shape)

    def _note(self, place: int, key: bytes, reason: str, _: bytes) -> None:
        self._places[key] = place
        self._reasons.pop(key, None)
        if reason:
            self._reasons[key] = reason

    def _record(self, place: int) -> tuple[bytes, str, bytes] | None:
        """Key, reason and content at a place; None where no whole record of this size stands there."""
        self._file.seek(place)
        check, head = self._file.read(32), self._file.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        key, failed, length = HEAD.unpack(head)
        content = self._file.read(min(length, LONGEST))
        if len(content) != length or hashlib.sha256(head + content).digest() != check:
            return None
        if not failed and length != np.prod(self._shape):
            return None
        return key, content.decode() if failed else "", content


@contextmanager
def spool(out: Path, size: int, total: int, *, keep: bool) -> Iterator[Spool]:
    """The spool beside `out`, with what an earlier run left there; removed at the end, with `keep` not when it fails.

    Waits for another process that is making the same face set. Shows before the long work whether `total` faces fit on
    the disk. Raises UserError when they do not, and when the place cannot be written.
    """
    path = out.parent / f".{out.name}.spool"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # goes with its process, so a killed one blocks nobody
            for left in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            kept = Spool(file, size)
            try:
                _room(out, total, len(kept), size)
                yield kept
            finally:
                if not (keep and len(kept)):
                    path.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{out}: cannot be written ({reason}); make room or give another --out.") from None


def _room(out: Path, total: int, kept: int, size: int) -> None:
    needed = (3 * total - kept) * size * size * 3  # spool, faces.npy and PNGs
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise UserError(
            f"{out}: {total} faces of {size} px need up to {needed / 1e9:.3g} GB and the disk has {free / 1e9:.3g} "
            "GB free; make room, or ask for fewer or smaller ones."
        )
