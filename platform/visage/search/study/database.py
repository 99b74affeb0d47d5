"""The database of a study: opened, and what it raises told in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config.read import without_passwords
from visage.errors import UserError, one_line
from visage.infra.files import locked

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import URL

SQLITE = "sqlite:///"
CONNECT_SECONDS = 10
# Both ends of a connection to PostgreSQL give it up when the other is silent for 15 s: a machine or a network may go
# without a word, and a lock is held as long as the server takes its connection for alive.
KEEPALIVE = {
    "keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 15_000,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=2",
}  # fmt: skip
LOCKED_SECONDS = 60  # SQLite has one writer at a time; Python's five seconds are little for several studies


def open_database(address: str) -> "RDBStorage":
    """The storage at an SQLAlchemy address. Raises UserError when it cannot be opened.

    A new SQLite database gets its schema under a lock, as studies that make it side by side crash.
    """
    from optuna.storages import RDBStorage

    options: dict[str, Any] = {}
    try:
        url = _url(address)
        lock: Any = nullcontext()
        if address.startswith(SQLITE):
            file = Path(address.removeprefix(SQLITE))
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = locked(file.with_name(f"{file.name}.lock"))
            options = {"connect_args": {"timeout": LOCKED_SECONDS}}
        elif url.get_backend_name() == "postgresql":
            # Asked before each use, as a server may go and come back while trials train.
            options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS, **KEEPALIVE}}
        with lock:
            return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
    except Exception as error:  # the database's driver has errors of its own, and so has a missing driver
        fault = f"search.storage = {address}: cannot be opened ({one_line(error, 400)})"
        raise UserError(f"{without_passwords(fault)}; give the address of a database that can.") from None


def answers(address: str) -> bool:
    """Whether the database at an SQLAlchemy address is there; nothing is made. Raises UserError when it is a server's
    that does not answer."""
    from sqlalchemy import create_engine, text

    if address.startswith(SQLITE):
        return Path(address.removeprefix(SQLITE)).exists()
    try:
        with create_engine(_url(address), connect_args={"connect_timeout": CONNECT_SECONDS}).connect() as connection:
            connection.execute(text("SELECT 1"))
    except Exception as error:  # as in `open_database`
        fault = f"search.storage = {address}: does not answer ({one_line(error, 400)})"
        raise UserError(f"{without_passwords(fault)}; give the address of a database that does.") from None
    return True


def _url(address: str) -> "URL":
    from sqlalchemy import make_url

    url = make_url(address)
    # Whatever SQLAlchemy's own choice of a driver is.
    return url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url


@contextmanager
def database_faults(address: str) -> Iterator[None]:
    """Turns what Optuna raises into the one sentence, when a study's database is lost or away while it is in use."""
    from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
    from sqlalchemy.exc import SQLAlchemyError

    from visage.search.private import is_not_found

    try:
        yield
    except (StorageInternalError, UpdateFinishedTrialError, SQLAlchemyError, KeyError) as error:
        if isinstance(error, KeyError) and not is_not_found(error):
            raise
        cause = error.__cause__ or error  # Optuna's own text is a page of advice
        fault = f"search.storage = {address}: the database is away or holds another study ({one_line(cause)})"
        raise UserError(f"{without_passwords(fault)}; bring it back.") from None
