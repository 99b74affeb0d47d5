"""Files that several processes use: written as a whole, and locked."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visage.errors import NotWritten


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it, so that nothing half-written stays. Raises NotWritten."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise NotWritten(f"{path}: cannot be written ({error.strerror}); give another path or make room.") from None
    finally:
        with suppress(OSError):  # of a folder that is none, or a name that is too long
            partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it stands in. Raises NotWritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(f"{folder}: cannot be made ({error.strerror}); give another path or make room.") from None


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Alone among the processes of this machine, by the lock file `path`, as long as the block lasts.

    The lock goes with its process, so a killed one blocks nobody. wait: for another process that has it; without,
    BlockingIOError is raised. Raises OSError when the file cannot be opened.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def replace_folder(part: Path, out: Path) -> None:
    """Put the finished folder `part` at `out`; what stood there stays whole until then."""
    if not out.exists():
        part.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
    out.rename(old / out.name)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)
