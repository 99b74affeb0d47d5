"""The bundles that were fetched last, as folders on this machine."""

import hashlib
import os
import shutil
import tempfile
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

KEPT = 8  # bundles; more than are judged or served at once
CARD_HASH = "visage.card_sha256"


class BundleCache:
    """Bundles of the store at `uri`: beside its database, or for a server in runs/, of VISAGE_HOME where that is set,
    as a pod's own folder is read-only."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        database = database_of(uri)
        self.dir = (database.parent if database else Path(os.environ.get(HOME, ""), "runs")) / "cache"

    def fetch(self, found: "ModelVersion", facts: ModelFacts) -> Bundle:
        """The checked bundle of a version; from the store where it is not here already."""
        target = self.dir / f"{found.name}-{found.version}-{found.tags.get(CARD_HASH, '')[:16]}"
        if target.is_dir():
            try:
                bundle = _checked(target, found, facts)
                with suppress(OSError):  # somebody else's cache, which we may read
                    os.utime(target)
                return bundle
            except UserError:  # a cache may be thrown away
                shutil.rmtree(target, ignore_errors=True)
        self._download(found, target)
        self._prune()
        return _checked(target, found, facts)

    def _download(self, found: "ModelVersion", target: Path) -> None:
        """Put the version's files at `target`; a download that is cut off leaves nothing there."""
        from mlflow.artifacts import download_artifacts

        try:
            self.dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self.dir) as part:
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

    def _prune(self) -> None:
        """Keep what was fetched last, by whichever process; what one was killed in the middle of goes too."""
        with suppress(OSError):  # another process prunes as well
            for old in sorted(self.dir.iterdir(), key=lambda path: -path.stat().st_mtime)[KEPT:]:
                shutil.rmtree(old, ignore_errors=True)


def _checked(folder: Path, found: "ModelVersion", facts: ModelFacts) -> Bundle:
    """The bundle, which must be the one that was registered."""
    bundle = read_bundle(folder, facts)
    if card_hash(folder) != found.tags.get(CARD_HASH):
        raise UserError(
            f"{found.name}/{found.version}: its {CARD} is not the one that was registered; register it again."
        )
    return bundle


def card_hash(folder: Path) -> str:
    """The sha256 of a bundle's card, by which a version is known again."""
    return hashlib.sha256((folder / CARD).read_bytes()).hexdigest()
