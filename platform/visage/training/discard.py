"""Checkpoints that are kept no more: removed from a disk or a bucket, with a word for whoever looks for them later."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from visage.errors import NotWritten
from visage.infra.files import write_whole
from visage.infra.remote_store import Store, is_address
from visage.training.checkpoint import FILE, REMOVED
from visage.training.run_folder import CHECKPOINT, RAY

TRIAL = re.compile(rf"/trial-\d+/{CHECKPOINT}$")


def is_of_trial(place: str) -> bool:
    """Whether a place is where a trial of a study keeps its checkpoint: nothing else is ever removed."""
    return TRIAL.search(place) is not None


def sizes(places: Iterable[str]) -> dict[str, int]:
    """The bytes that checkpoints take, by place: a folder's path or its address; without those that are not there.

    What Ray Train keeps beside a checkpoint counts as its own. Raises NotWritten when a bucket is away.
    """
    found: dict[str, int] = {}
    far: dict[str, dict[str, str]] = {}  # by the address of a study: place by the name of a trial's folder
    for place in filter(is_of_trial, places):
        if is_address(place):
            study, trial, _ = place.rsplit("/", 2)
            far.setdefault(study, {})[trial] = place
        elif size := sum(file.stat().st_size for file in _files(Path(place))):
            found[place] = size
    for address, trials in far.items():
        for name, size in Store(address).sizes().items():
            trial, _, file = name.partition("/")
            if trial in trials and _of_checkpoint(file):
                found[trials[trial]] = found.get(trials[trial], 0) + size
    return found


def discard(place: str, why: str) -> None:
    """Remove the checkpoint at a place, where there is one. why: the sentence for who asks for it.

    A run that still writes there is not disturbed: the folder stays. Raises NotWritten when disk or bucket refuse.
    """
    if not is_of_trial(place):
        return
    if is_address(place):
        folder = Store(place.rpartition("/")[0])
        folder.write(f"{CHECKPOINT}/{REMOVED}", why.encode())
        folder.delete(f"{CHECKPOINT}/{FILE}")
        (folder / RAY).drop()
        return
    checkpoint = Path(place)
    if not checkpoint.is_dir():
        return
    write_whole(checkpoint / REMOVED, why.encode())
    try:
        (checkpoint / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise NotWritten(f"{checkpoint}: cannot be removed ({error.strerror}); mend permissions.") from None
    shutil.rmtree(checkpoint.parent / RAY, ignore_errors=True)


def _files(checkpoint: Path) -> list[Path]:
    ray = checkpoint.parent / RAY
    own = [checkpoint / FILE] if (checkpoint / FILE).is_file() else []
    return own + [file for file in ray.rglob("*") if file.is_file()] if ray.is_dir() else own


def _of_checkpoint(name: str) -> bool:
    """Whether a file of a trial's folder goes with its checkpoint."""
    return name == f"{CHECKPOINT}/{FILE}" or name.startswith(f"{RAY}/")
