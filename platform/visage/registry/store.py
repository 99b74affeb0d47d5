"""Opening MLflow's store: the schema made once, the library kept quiet, each fault one sentence."""

import logging
import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from visage.config.experiment import Registry
from visage.errors import StoreRefused, UserError, one_line
from visage.infra.files import locked
from visage.infra.signals import uninterrupted

if TYPE_CHECKING:
    import httpx
    from mlflow import MlflowClient

T = TypeVar("T")
SQLITE = "sqlite:///"
PROBE_SECONDS, FILES_SECONDS = 5, 30
FILES = "api/2.0/mlflow-artifacts/artifacts"
MENDS = {
    "RESOURCE_DOES_NOT_EXIST": "make that bucket, or start the server with one that is there",
    "UNAUTHENTICATED": "start the server with the keys of the store",
    "PERMISSION_DENIED": "let the server's keys read, write and list there",
}
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default of 7 waits four minutes for a server that is gone
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By itself MLflow sends clients to its server's bucket, by addresses that are the server's alone to reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}


def open_store(uri: str) -> "MlflowClient":
    """A client of the store at `uri`: `sqlite:///PATH`, or the http(s) address of an MLflow server.

    A new SQLite database gets its folder and schema here, under a lock, as processes that make the schema side by
    side crash. Raises UserError when the store cannot be reached, opened or written.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    address = absolute(uri)
    database = database_of(address)
    if database is None:
        _probe_server(address)
        return _client(address, uri)
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with locked(database.with_name(f"{database.name}.lock")):
            new = not database.exists()
            _probe_database(database)
            try:
                return _client(address, uri)
            except UserError:
                if new:  # half a schema, as on a full disk, could never be opened again
                    database.unlink(missing_ok=True)
                raise
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"tracking_uri = {uri}: the database cannot be opened ({error}); give a path that can be written."
        ) from None


def absolute(uri: str) -> str:
    """The same store, whatever the working directory. Raises UserError for an address of another kind."""
    if uri.startswith(SQLITE) and len(uri) > len(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}"
    if urlsplit(uri).scheme in ("http", "https") and urlsplit(uri).hostname:
        return uri.rstrip("/")
    raise UserError(
        f"tracking_uri = {uri}: is no store that Visage knows; give sqlite:///PATH or the http address of a server."
    )


def in_store(uri: str, option: str = "--registry ") -> str:
    """What a command needs besides to find this store; nothing where it looks there by itself. option: how it takes
    it."""
    return "" if uri == Registry().tracking_uri else f" {option}{shlex.quote(uri)}"


def database_of(uri: str) -> Path | None:
    """The file of an SQLite store, None for a server."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


@contextmanager
def store_faults(uri: str) -> Iterator[None]:
    """Turns what MLflow raises into the one sentence, and holds Ctrl-C until the store has answered.

    An interrupted write would leave its transaction open, and with it SQLite locked for this process's next write.
    """
    try:
        with uninterrupted():
            yield
    except _raised_by_mlflow() as error:
        raise StoreRefused(f"tracking_uri = {uri}: {_fault(error, uri)}.") from None


def if_there(ask: Callable[[], T]) -> T | None:
    """What MLflow answers to a question for one thing; None where the store has no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def every(search: Callable[..., Any], **query: Any) -> list[Any]:
    """All that one of MLflow's searches finds, which gives a page at a time."""
    page = search(**query)
    found = list(page)
    while page.token:
        page = search(**query, page_token=page.token)
        found += page
    return found


def _raised_by_mlflow() -> tuple[type[Exception], ...]:
    """Asked for when something was raised; boto's are of runs whose files lie in S3, with no server between."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, OSError, Boto3Error, BotoCoreError, ClientError


def _fault(error: Exception, uri: str) -> str:
    """What happened and how to mend it. Of a request in vain MLflow tells the address first and the cause last."""
    text = one_line(error, longest=10_000)
    if "/mlflow-artifacts/" in text:
        with suppress(UserError):
            _probe_server(uri)
            return _files_fault(uri)
    caused = re.search(r"Caused by \w+\((.+)\)", text)
    reason = caused[1].strip("'\"() ")[-200:] if caused else text[:200]
    return f"MLflow's store refused ({reason}); mend it or give another one"


def _files_fault(uri: str) -> str:
    """Why the object store of MLflow's server refuses a file, and how to mend it.

    Of the file the server says nothing but that it failed; asked for a list, it hands on what the store says.
    """
    import httpx

    with suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
        told = _ask(f"{uri}/{FILES}?path=visage", FILES_SECONDS).json()
        reason = " ".join(told["message"].split())[:200].rstrip(".")
        return f"the object store of MLflow's server refuses ({reason}); {MENDS[told['error_code']]}"
    return (
        "MLflow's server answers, and its object store does not take or give a file; see in its log whether the bucket "
        "is there and its keys are right, and mend that"
    )


def _client(address: str, uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # of a fault they log the traceback and raise it too
    try:
        client = MlflowClient(address)
        client.search_experiments(max_results=1)
    except Exception as error:  # a foreign database or server can fail in any way
        raise UserError(
            f"tracking_uri = {uri}: holds no store that this MLflow can use ({one_line(error)}); give another one."
        ) from None
    return client


def _probe_database(database: Path) -> None:
    """Raise what SQLite raises for a file that is no database, is another program's, or cannot be written.

    MLflow would retry for minutes, and put its tables beside the other program's.
    """
    connection = sqlite3.connect(database, timeout=30)
    try:
        connection.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "alembic_version" not in tables:
            raise sqlite3.DatabaseError(f"it holds another program's tables, such as {min(tables)}")
        connection.rollback()
    finally:
        connection.close()


def _ask(address: str, seconds: float) -> "httpx.Response":
    """By the authorities that the system trusts, where a company's own may be; httpx would ask certifi alone."""
    import ssl

    import httpx

    return httpx.get(address, timeout=seconds, verify=ssl.create_default_context(), follow_redirects=True)


def _probe_server(address: str) -> None:
    """Raise UserError when nothing answers at the address; MLflow's own calls would retry first."""
    import httpx

    try:
        _ask(f"{address}/health", PROBE_SECONDS)  # what it is that answers shows at the first call
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(
            f"tracking_uri = {address}: no MLflow server answers ({one_line(error)}); start it or give sqlite:///PATH."
        ) from None
