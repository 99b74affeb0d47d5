"""One driver a study: a second one would repeat its trials and overwrite their files.

Three things see to it. The lock of the trials' folder holds among processes that share the folder, as all do that
share an SQLite database. PostgreSQL's lock holds among all that use the database, whatever else they share. And a claim
in the database, another one each time that a study is driven, is read in every transaction that writes: a driver that
was away from its database for so long that another one took its place can write nothing any more, and stops.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from visage.config.experiment import Search
from visage.config.read import without_passwords
from visage.errors import Overtaken, UserError
from visage.infra import files
from visage.search import private
from visage.search.study.database import open_database

if TYPE_CHECKING:
    from optuna import Study
    from sqlalchemy import Connection, Engine

CLAIM = "claim"  # attribute of a study, "HOST:PROCESS:TOKEN" of its driver; absent or empty: nobody
BEAT_SECONDS = 5.0
NOTICE_SECONDS = 20.0  # within which a driver's claim is known to be gone: to itself, and to PostgreSQL when it is dead


@contextmanager
def lock_folder(folder: Path, search: Search) -> Iterator[None]:
    """The trials' folder of a study, for this process alone as long as the block lasts; made where it is not there.

    Raises UserError when another process holds it or it cannot be made.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(files.locked(folder / ".lock", wait=False))
        except BlockingIOError:
            raise _refused(search.name, "another process") from None
        except OSError as error:
            raise UserError(
                f"search.storage = {without_passwords(search.storage)}: {folder}, where the trials are kept, "
                f"cannot be opened ({error.strerror}); make it writable, or give another address."
            ) from None
        yield


class Lock:
    """A study's lock in PostgreSQL, on a connection of its own, with which it goes."""

    def __init__(self, search: Search) -> None:
        self.key = int.from_bytes(sha256(f"visage study {search.name}".encode()).digest()[:8], signed=True)
        self.engine = open_database(search.storage).engine
        self.connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def take(self) -> bool:
        """Whether this process holds it; where the connection broke, it is taken again if nobody else has it.

        Raises SQLAlchemyError while the database is away.
        """
        from sqlalchemy import func, select
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return bool(self.connection.scalar(select(func.pg_try_advisory_lock(self.key))))
        except SQLAlchemyError:
            self.connection.rollback()  # so that the next call connects anew
            raise

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()  # a pool would keep the connection, and with it the lock


@contextmanager
def locked(search: Search) -> Iterator[Lock | None]:
    """The study's lock in PostgreSQL as long as the block lasts; None of SQLite, whose folder is locked.

    Raises UserError when another process holds it, also `NOTICE_SECONDS` later: that of a machine that died is gone.
    """
    if not search.storage.startswith("postgresql"):
        yield None
        return
    with closing(Lock(search)) as lock:
        until = time.monotonic() + NOTICE_SECONDS
        while not lock.take():
            if time.monotonic() > until:
                raise _refused(search.name, _driver(search))
            time.sleep(BEAT_SECONDS / 5)
        yield lock


class Claim:
    """What says in a study's database that this process drives it. fault: that it does so no more, once it is seen.

    The row is read in the transaction that writes, and held until its end, so that no claim of another comes between.
    """

    fault: Overtaken | None = None

    def __init__(self, study: "Study", engine: "Engine", lock: Lock | None) -> None:
        from sqlalchemy import func

        self.study, self.engine, self.lock = study, engine, lock
        self.name = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
        self.query = self.fence = private.attribute(study, CLAIM)
        if engine.name == "postgresql":  # SQLite's transactions that write are one at a time
            self.fence = self.query.where(func.txid_current_if_assigned().is_not(None)).with_for_update(read=True)

    def before_commit(self, connection: "Connection") -> None:
        """Raises Overtaken when the claim is another's."""
        self._compare(connection.scalar(self.fence))

    def look(self) -> None:
        """See that the claim stands, and PostgreSQL's lock, which is taken anew where it went with its connection.

        Raises Overtaken, and SQLAlchemyError while the database is away.
        """
        if self.lock:
            self.lock.take()
        with self.engine.connect() as connection:
            self._compare(connection.scalar(self.query))

    def release(self) -> None:
        """Nobody's claim, where it is still this one."""
        change = private.attribute_changed(self.study, CLAIM, json.dumps(self.name), json.dumps(""))
        with self.engine.begin() as connection:
            connection.execute(change)

    def _compare(self, found: str | None) -> None:
        if found in (None, json.dumps(self.name)):  # without one the study is not there, which whoever asks is told
            return
        who = _who(json.loads(found)) or "another process"
        raise Overtaken(
            f"search.name = {self.study.study_name}: {who} took the study over while its database was out of reach "
            "from here; wait for its end, or stop it."
        )


@contextmanager
def claimed(study: "Study", lock: Lock | None, *, shared: bool) -> Iterator[Claim]:
    """This process's claim on a study, looked at while the block lasts.

    From now on whoever had a claim can write nothing. shared: trials keep files where another machine's driver does;
    one that may still be alive is given the time to see that its claim is gone.
    """
    from sqlalchemy import event
    from sqlalchemy.exc import SQLAlchemyError

    engine = private.engine_of(study)
    claim, ended, alive = Claim(study, engine, lock), threading.Event(), runs_now(study)
    study.set_user_attr(CLAIM, claim.name)
    event.listen(engine, "commit", claim.before_commit)

    def watch() -> None:
        while not ended.wait(BEAT_SECONDS) and not claim.fault:
            try:
                claim.look()
            except Overtaken as gone:
                claim.fault = gone
            except SQLAlchemyError:
                pass  # a database that is away for a while is the study's matter

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        if alive and shared:
            time.sleep(NOTICE_SECONDS)
        yield claim
    finally:
        ended.set()
        thread.join()
        event.remove(engine, "commit", claim.before_commit)
        with suppress(SQLAlchemyError):
            claim.release()


def runs_now(study: "Study") -> bool:
    """Whether a process works at the study, by its claim; one on another machine is taken at its word."""
    claim = study.user_attrs.get(CLAIM, "")
    host, process, _ = claim.split(":") if claim else ("", "", "")
    return bool(host) and (host != socket.gethostname() or Path(f"/proc/{process}").exists())


def _who(claim: str) -> str:
    """The process that a claim names, for people; empty where it names none."""
    host, process, _ = claim.split(":") if claim else ("", "", "")
    return f"process {process} on {host}" if host else ""


def _driver(search: Search) -> str:
    """Who drives a study whose lock is taken."""
    import optuna

    claim = ""
    with suppress(KeyError):  # it is being made
        study = optuna.load_study(study_name=search.name, storage=open_database(search.storage))
        claim = study.user_attrs.get(CLAIM, "")
    return _who(claim) or "another process"


def _refused(study: str, who: str) -> UserError:
    return UserError(f"search.name = {study}: {who} runs this study; wait for its end, or stop it first.")
