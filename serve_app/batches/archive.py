"""ZIP files of callers: looked at before anything is unpacked, and read one photograph at a time, never to a path of
theirs."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from serve_app.problems import Problem
from visage.config.serving import Batches
from visage.errors import NotWritten, UserError
from visage.faces.picture import ENDINGS, SUFFIXES

LONGEST_NAME = 200
ANSWERS = "answers"  # the folder for them beside a key's photographs in a bucket
# A member's entry in the list at the end of a file, with its name and what programs add.
ENTRY = 1024
CHUNK = 1 << 20  # bytes that are read at once
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes of memory to be unpacked
BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, EOFError, ValueError, NotImplementedError,
          UnicodeDecodeError, OverflowError)  # fmt: skip


class _Sparing:
    """A file that gives no more than the list of all photographs of a batch may have at once: that of a hostile ZIP
    would fill the memory, as it is read in one piece."""

    def __init__(self, file: IO[bytes], limits: Batches) -> None:
        self._file, self._limits = file, limits
        self._most = max(2 * limits.photographs * ENTRY, CHUNK)

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size if 0 <= size <= self._most else self._most + 1)
        if len(content) > self._most:
            raise too_many(self._limits)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def opened(file: IO[bytes], limits: Batches) -> Iterator[zipfile.ZipFile]:
    """The ZIP in a file. Raises Problem 400 for what is none, and 413 for one with too many members."""
    try:
        archive = zipfile.ZipFile(cast(IO[bytes], _Sparing(file, limits)))
    except BROKEN:
        raise Problem(400, "The body is no whole ZIP file; send one, with Content-Type: application/zip.") from None
    with archive:
        yield archive


def too_many(limits: Batches) -> Problem:
    return Problem(413, f"The batch has more than {limits.photographs} photographs; send them in several batches.")


def look(file: IO[bytes], limits: Batches) -> tuple[tuple[str, ...], int]:
    """The photographs in a caller's ZIP, as paths, and how many files are none, or hidden: by its list alone. Raises
    Problem 400, 413 or 422 for what is not to be unpacked."""
    with opened(file, limits) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    chosen = [member for member in members if is_photograph(member.filename)]
    for member in chosen:
        _require_harmless(member)
    if len(chosen) > limits.photographs:
        raise too_many(limits)
    if sum(member.file_size for member in chosen) > limits.megabytes * 1e6:
        detail = f"The photographs have more than {limits.megabytes:g} megabytes; send them in several batches."
        raise Problem(413, detail)
    names = tuple(member.filename for member in chosen)
    require_distinct(names)
    return names, len(members) - len(chosen)


def is_photograph(name: str) -> bool:
    """Whether a file counts, by its name: what is hidden and what systems add does not."""
    parts = name.split("/")
    hidden = any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in SUFFIXES


def require_distinct(names: Iterable[str]) -> None:
    """Raise Problem 422 for no name, and where two answers would have one: on some systems A and a are the same."""
    seen = dict[str, str]()
    for name in names:
        if other := seen.get(answer_name(name).casefold()):
            raise Problem(
                422, f"{_shown(name)}: and {_shown(other)} would have answers of one name; rename one of them."
            )
        seen[answer_name(name).casefold()] = name
    for name in seen.values():
        folders = map(str, PurePosixPath(name).parents)
        if inside := next((folder for folder in folders if folder.casefold() in seen), None):
            raise Problem(422, f"{_shown(inside)}: is a photograph's name and a folder's; rename one of them.")
    if not seen:
        raise Problem(422, "There is no photograph in it; send JPEG, PNG, WebP, TIFF or BMP files.")


def answer_name(name: str) -> str:
    """What a photograph's answer is called: as itself, or .png where its kind cannot be written."""
    path = PurePosixPath(name)
    return name if path.suffix.lower() in ENDINGS else str(path.with_suffix(".png"))


def _require_harmless(member: zipfile.ZipInfo) -> None:
    name, mode = member.filename, member.external_attr >> 16
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or ":" in name or {"", ".", ".."} & set(parts):
        raise Problem(422, f"{_shown(name)}: is no name of a file in the ZIP's own folders; rename it.")
    if len(name.encode()) > LONGEST_NAME:
        raise Problem(422, f"{_shown(name)}: has a name of more than {LONGEST_NAME} bytes; rename it.")
    if member.flag_bits & 0x41:  # encrypted, or strongly
        raise Problem(422, f"{_shown(name)}: is encrypted; send a ZIP without a password.")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Problem(422, f"{_shown(name)}: is a link or a device; send the photograph itself.")
    if member.compress_type not in KINDS:
        raise Problem(422, f"{_shown(name)}: is packed in a way that is not read; pack it with deflate, or not at all.")


def _shown(name: str) -> str:
    """A caller's name, fit for a sentence."""
    return "".join(each if each.isprintable() else "?" for each in name)[:80]


def unpack(archive: zipfile.ZipFile, name: str, to: Path, megabytes: float) -> None:
    """Write one photograph to a path that is ours. Raises UserError for one that is too large or damaged."""
    try:
        member = archive.getinfo(name)
        require_small(name, member.file_size, megabytes)
        with archive.open(member) as packed, to.open("wb") as file:
            while chunk := packed.read(CHUNK):  # no more of them than its list says
                write(file, chunk)
    except (*BROKEN, KeyError, RuntimeError, zlib.error):
        raise UserError(f"{name}: is damaged in the ZIP; pack it again.") from None


def require_small(name: str, size: int, megabytes: float) -> None:
    if size > megabytes * 1e6:
        raise UserError(f"{name}: has more than {megabytes:g} megabytes; make it smaller first.")


def write(file: IO[bytes], content: bytes) -> None:
    """Raises NotWritten where the disk is full."""
    try:
        file.write(content)
    except OSError as error:
        raise NotWritten(f"{file.name}: cannot be written ({error.strerror}); make room.") from None


def pack(into: Path, files: Iterable[tuple[str, Path]]) -> None:
    """A ZIP of files by their names in it; pictures are not packed tighter."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for name, file in files:
            archive.write(file, name)


def names_under(begin: str, addresses: Iterable[str]) -> tuple[str, ...]:
    """What stands behind `begin` in each address. Raises Problem 422 for one that begins otherwise or may lead out of
    there: nothing else is ever read."""
    names = []
    for address in addresses:
        name = address.removeprefix(begin)
        parts = name.split("/")
        whole = name.isprintable() and not {"", ".", ".."} & set(parts) and not set("\\?#@%") & set(name)
        if name == address or not whole or len(name.encode()) > LONGEST_NAME or parts[0] == ANSWERS:
            raise Problem(422, f"{_shown(address)}: is no address of a photograph that may be read; give {begin}NAME.")
        if not is_photograph(name):
            raise Problem(422, f"{_shown(address)}: is no photograph by its name; give JPEG, PNG, WebP, TIFF or BMP.")
        names.append(name)
    require_distinct(names)
    return tuple(names)
