"""Files at an address, for nodes that share no file system: `s3://BUCKET/FOLDER`, or `file:///FOLDER`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from visage.errors import NotWritten, UserError, one_line

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "file")


def is_address(place: object) -> bool:
    return "://" in str(place)


def address_fault(address: str) -> str:
    """What is wrong with an address, as the end of a sentence; empty where it can be used."""
    scheme, _, rest = address.partition("://")
    parts = rest.rstrip("/").split("/")
    whole = not {"", ".", ".."} & set(parts) if scheme == "s3" else rest.startswith("/")
    if scheme not in SCHEMES or not rest.strip("/") or not whole:
        return "is no address that can be used; write s3://BUCKET/FOLDER or file:///FOLDER"
    if set("@?#") & set(rest):
        return "holds more than a place; the keys of a bucket go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return ""


class Store:
    """The folder at an address.

    An S3 bucket's keys, region and server are those of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_DEFAULT_REGION, AWS_ENDPOINT_URL) or of the machine's role. Each file is replaced as a whole. Methods raise
    NotWritten when the store refuses or is away; what was there before is whole.
    """

    def __init__(self, address: str) -> None:
        if fault := address_fault(address):
            raise UserError(f"{address}: {fault}.")
        self.address = address.rstrip("/")
        self._sent: dict[Path, tuple[int, int]] = {}

    def __truediv__(self, name: str) -> "Store":
        return Store(f"{self.address}/{name}")

    @property
    def uri(self) -> str:
        """The address as other libraries take it, with blanks, accents and the like escaped."""
        return quote(self.address, safe=":/")

    @cached_property
    def _place(self) -> "tuple[FileSystem, str]":
        from pyarrow.fs import FileSystem

        found: tuple[FileSystem, str] = FileSystem.from_uri(self.uri)
        return found

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none."""
        with self._faults():
            files, path = self._place
            try:
                with files.open_input_stream(f"{path}/{name}") as stream:
                    content: bytes = stream.read()
                    return content
            except FileNotFoundError:
                return None

    def push(self, folder: Path, *, skip: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> None:
        """Copy the files of a local folder here, those written first first; those unchanged since they were
        last sent, or came from here, stay.

        skip: names in `folder` that are left out, as are hidden ones and `*.part`. last: names in
        `folder` that go after all others, in this order.
        """
        found = []
        for path in folder.rglob("*"):
            parts = path.relative_to(folder).parts
            if parts[0] in skip or path.suffix == ".part" or any(part.startswith(".") for part in parts):
                continue
            if path.is_file():
                turn = last.index(parts[0]) if parts[0] in last else -1
                found.append((turn, path.stat().st_mtime_ns, path))
        with self._faults():
            for _, _, path in sorted(found):
                mark = _mark(path)
                if self._sent.get(path) != mark:
                    self.send(path, path.relative_to(folder).as_posix())
                    self._sent[path] = mark

    def get(self, folder: Path, *, skip: tuple[str, ...] = ()) -> bool:
        """Copy all that is here into a local folder, each file as a whole, over what is there; false without any.

        skip: names that are left out.
        """
        from pyarrow.fs import FileSelector, FileType, LocalFileSystem, copy_files

        with self._faults():
            files, path = self._place
            found = files.get_file_info(FileSelector(path, allow_not_found=True))
            found = [each for each in found if each.base_name not in skip]
            if not found:
                return False
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".got-") as got:
                for one in found:
                    there = Path(got) / one.base_name
                    if one.type is FileType.Directory:
                        there.mkdir()
                    copy_files(one.path, str(there), source_filesystem=files, destination_filesystem=LocalFileSystem())
                for each in sorted(Path(got).rglob("*")):
                    if each.is_file():
                        place = folder / each.relative_to(got)
                        place.parent.mkdir(parents=True, exist_ok=True)
                        os.replace(each, place)
                        self._sent[place] = _mark(place)
        return True

    def write(self, name: str, content: bytes) -> None:
        """Put a small file here."""
        with self._faults(), self._target(name) as (files, target), files.open_output_stream(target) as stream:
            stream.write(content)

    def send(self, path: Path, name: str) -> None:
        """Copy a local file here."""
        from pyarrow.fs import LocalFileSystem, copy_files

        with self._faults(), self._target(name) as (files, target):
            source = str(path.absolute())
            copy_files(source, target, source_filesystem=LocalFileSystem(), destination_filesystem=files)

    def open(self, name: str) -> "NativeFile":
        """A file that is here, to read and seek in. Raises FileNotFoundError where there is none."""
        files, path = self._place
        try:
            return files.open_input_file(f"{path}/{name}")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._refused(error) from None

    def sizes(self) -> dict[str, int]:
        """The bytes of each file that is here, by its name."""
        from pyarrow.fs import FileSelector, FileType

        with self._faults():
            files, path = self._place
            found = files.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
        return {each.path.removeprefix(f"{path}/"): each.size for each in found if each.type is FileType.File}

    def holds(self, path: Path) -> bool:
        """Whether a local file is here as it is now: it was sent from this object, or came to it."""
        return path.is_file() and self._sent.get(path) == _mark(path)

    def delete(self, name: str) -> None:
        """Delete a file, where it is here."""
        with self._faults(), suppress(FileNotFoundError):
            files, path = self._place
            files.delete_file(f"{path}/{name}")

    def drop(self) -> None:
        """Delete all that is here."""
        with self._faults():
            files, path = self._place
            files.delete_dir_contents(path, missing_dir_ok=True)
        self._sent.clear()

    @contextmanager
    def _target(self, name: str) -> "Iterator[tuple[FileSystem, str]]":
        """Where to write a file that is to be here as a whole when the block ends."""
        files, root = self._place
        there = target = f"{root}/{name}"
        if self.address.startswith("file:"):  # a bucket has no folders, and takes an object as a whole
            files.create_dir(there.rpartition("/")[0], recursive=True)
            target = f"{there}.{os.getpid()}.part"
        try:
            yield files, target
            if target != there:
                files.move(target, there)
        except BaseException:
            if target != there:
                with suppress(OSError):
                    files.delete_file(target)
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        import pyarrow

        try:
            yield
        except (OSError, pyarrow.ArrowException) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> NotWritten:
        mend = "see that the bucket is there, and that AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID are right"
        if self.address.startswith("file:"):
            mend = "see that it is there and can be written"
        return NotWritten(f"{self.address}: is away or refuses ({one_line(error)}); {mend}.")


def _mark(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def content(place: str) -> bytes:
    """The content of a file, by its path or its address. Raises UserError where there is none."""
    if not is_address(place):
        return Path(place).read_bytes()
    folder, _, name = place.rpartition("/")
    found = Store(folder).read(name)
    if found is None:
        raise UserError(f"{place}: is not there; see whether it was deleted.")
    return found


def local(place: str, folder: Path) -> Path:
    """The folder that a path names, or a copy in `folder` of the one that an address names."""
    if not is_address(place):
        return Path(place)
    if not Store(place).get(folder):
        raise UserError(f"{place}: holds nothing; see whether it was deleted.")
    return folder
