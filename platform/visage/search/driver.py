"""One driver a study: a second one would repeat its trials and overwrite their files."""

import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config.experiment import Search
from visage.config.read import without_passwords
from visage.errors import UserError

if TYPE_CHECKING:
    from optuna import Study

CLAIM = "claim"  # attribute of a study: who drives it and how often that one has said so; absent or empty: nobody
BEAT_SECONDS = 5.0
SILENT_BEATS = 4  # after so many without a word a driver on another machine is taken for dead


@contextmanager
def held(folder: Path, search: Search) -> Iterator[None]:
    """The trials' folder of a study, for this process alone as long as the block lasts; made where it is not there.

    Raises UserError when another process holds it or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"search.storage = {without_passwords(search.storage)}: {folder}, where the trials are kept, "
            f"cannot be opened ({error.strerror}); make it writable, or give another address."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with its process, so a killed one blocks nobody
        except BlockingIOError:
            raise _refused(search.name, "another process") from None
        yield


def driver_of(study: "Study") -> tuple[str, int] | None:
    """Host and process id that the claim on a study names; None where there is no claim."""
    claim = study.user_attrs.get(CLAIM, "")
    if not claim:
        return None
    host, process, _ = claim.split(":")
    return host, int(process)


def require_undriven(study: "Study") -> None:
    """Raises UserError when a process on another machine drives the study, by its claim in the database.

    The folder's lock holds among processes that share the folder, and says nothing of machines that share a database
    alone. A claim counts until it was not renewed for `SILENT_BEATS` beats, as seen from here, so that no clocks are
    compared. The caller holds the lock: a claim of this very machine is a dead process's.
    """
    claim, driver = study.user_attrs.get(CLAIM, ""), driver_of(study)
    if driver is None or driver[0] == socket.gethostname():
        return
    for _ in range(SILENT_BEATS):
        time.sleep(BEAT_SECONDS)
        if study.user_attrs.get(CLAIM) != claim:
            raise _refused(study.study_name, f"process {driver[1]} on {driver[0]}")


@contextmanager
def heartbeat(study: "Study") -> Iterator[None]:
    """This process's claim on the study in its database, renewed while the block lasts; see `require_undriven`."""
    own = f"{socket.gethostname()}:{os.getpid()}"
    study.set_user_attr(CLAIM, f"{own}:0")
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT_SECONDS):
            count += 1
            with suppress(Exception):  # a database that is away for a while is the study's matter
                study.set_user_attr(CLAIM, f"{own}:{count}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(Exception):
            study.set_user_attr(CLAIM, "")


def _refused(study: str, who: str) -> UserError:
    return UserError(f"search.name = {study}: {who} runs this study; wait for its end, or stop it first.")
