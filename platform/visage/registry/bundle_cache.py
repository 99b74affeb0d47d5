"""The bundles that were fetched last, as folders on this machine."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config.data import HOME
from visage.errors import UserError
from visage.registry.bundle import Bundle, ModelFacts, read_bundle
from visage.registry.card import CARD
from visage.registry.store import database_of, store_faults

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CACHE_GB, DEFAULT_GB = "VISAGE_CACHE_GB", 2.0
HALF = ".fetch-"  # of a download's folder
UNUSED_SECONDS = 3600.0  # after which what cannot be asked is taken for unused
CARD_HASH = "visage.card_sha256"


class BundleCache:
    """Bundles of the store at `uri`: beside its database, or for a server in runs/, of VISAGE_HOME where that is set,
    as a pod's own folder is read-only.

    It holds VISAGE_CACHE_GB gigabytes, and more only while more is in use: what was used longest ago goes first.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        database = database_of(uri)
        self.dir = (database.parent if database else Path(os.environ.get(HOME, ""), "runs")) / "cache"

    def fetch(self, found: "ModelVersion", facts: ModelFacts) -> Bundle:
        """The checked bundle of a version; from the store where it is not here already."""
        target = self.dir / f"{found.name}-{found.version}-{found.tags.get(CARD_HASH, '')[:16]}"
        if target.is_dir():
            with suppress(UserError):
                bundle = _in_use(target, found, facts)
                with suppress(OSError):  # somebody else's cache, which we may read
                    os.utime(target)
                return bundle
            shutil.rmtree(target, ignore_errors=True)  # a cache may be thrown away
        most = _most()
        self._download(found, target)
        bundle = _in_use(target, found, facts)
        self._prune(most)
        return bundle

    def _download(self, found: "ModelVersion", target: Path) -> None:
        """Put the version's files at `target`; a download that is cut off leaves nothing there."""
        from mlflow.artifacts import download_artifacts

        try:
            self.dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=HALF, dir=self.dir) as part:
                with store_faults(self.uri):
                    got = Path(download_artifacts(found.source, dst_path=part, tracking_uri=self.uri))
                try:
                    got.rename(target)
                except OSError:
                    if not target.is_dir():  # else another process was quicker
                        raise
        except OSError as error:
            mend = "mend permissions" if database_of(self.uri) else f"name a folder that can be written in {HOME}"
            raise UserError(f"{target}: cannot be written ({error}); free space or {mend}.") from None

    def _prune(self, most: float) -> None:
        """Keep what was used last, by whichever process, to `most` bytes, and what one is using.

        What one was killed in the middle of goes too, an hour later.
        """
        with suppress(OSError):  # another process prunes as well
            held = 0
            for path in sorted(self.dir.iterdir(), key=lambda path: -path.stat().st_mtime):
                held += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                if path.name.startswith(HALF):
                    if _long_ago(path):
                        shutil.rmtree(path, ignore_errors=True)
                elif held > most:
                    _remove_unused(path)


def _most() -> float:
    """Bytes that the cache may hold."""
    given = os.environ.get(CACHE_GB, "") or str(DEFAULT_GB)
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = 0
    if not gigabytes > 0:
        raise UserError(f"{CACHE_GB} = {given}: is no size; give gigabytes above 0, such as {DEFAULT_GB:g}.")
    return gigabytes * 1e9


def _in_use(folder: Path, found: "ModelVersion", facts: ModelFacts) -> Bundle:
    """The checked bundle of a folder, which must be the one that was registered, and which no process removes as long
    as the bundle is there to be read."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        raise UserError(f"{folder}: was removed meanwhile; fetch the model again.") from None
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_SH)
        bundle = read_bundle(folder, facts)
        if card_hash(folder) != found.tags.get(CARD_HASH):
            raise UserError(
                f"{found.name}/{found.version}: its {CARD} is not the one that was registered; register it again."
            )
    except BaseException:
        os.close(lock)
        raise
    weakref.finalize(bundle, os.close, lock)
    return bundle


def _remove_unused(folder: Path) -> None:
    """Remove a folder, unless a process uses its bundle."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:  # a file system without locks
            if not _long_ago(folder):
                return
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _long_ago(folder: Path) -> bool:
    return folder.stat().st_mtime < time.time() - UNUSED_SECONDS


def card_hash(folder: Path) -> str:
    """The sha256 of a bundle's card, by which a version is known again."""
    return hashlib.sha256((folder / CARD).read_bytes()).hexdigest()
