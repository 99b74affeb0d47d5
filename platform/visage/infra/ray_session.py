"""The Ray that a command runs on: the one that is there, the one at RAY_ADDRESS, or a local one of its own."""

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from visage.errors import UserError, one_line
from visage.infra.signals import sigterm_kept

KNOCK_SECONDS = 10
MODE, TOKEN, TOKEN_PATH, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"


def start_ray(*, dashboard: bool = True) -> bool:
    """Connect to Ray; true when this did it, and `ray.shutdown` is due later.

    With Ray initialised already it is used as it is; with RAY_ADDRESS set that cluster is used, with the token that it
    asks for; else a local one over all cores starts, with a dashboard, as Train inside Tune asks it which workers to
    free, or quicker without one. That one listens on loopback and asks for the token in ~/.ray/auth_token, as Ray runs
    whatever it is sent.
    Raises UserError when no Ray answers or starts, and for a token that is missing.
    """
    import ray

    if ray.is_initialized():
        return False
    # Ray would run its workers at nice 15, behind all else that the machine does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray would print each task that it means to try again, as the one in which Serve's controller ends itself.
    os.environ.setdefault("RAY_enable_output_error_log_if_still_retry", "0")
    address = os.environ.get("RAY_ADDRESS")
    _take_addresses_as_written()
    try:
        if address:
            _knock(address)
            _bring_token(address)
        else:
            _keep_token()
        quick = None if dashboard else False
        with sigterm_kept():  # Ray's would end the process at once, with a stack of its C++
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=quick)
    except UserError:
        raise
    except Exception as error:  # of a machine that is too busy to start it, Ray raises a bare one
        if address:
            fault = f"RAY_ADDRESS = {address}: no Ray answers ({one_line(error)}); start one there, or unset it."
        else:
            mend = "free memory and disk for it, or try again when the machine has less to do"
            fault = f"Ray does not start on this machine ({one_line(error)}); {mend}."
        raise UserError(fault) from None
    return True


@contextmanager
def local_ray(*, dashboard: bool = True) -> Iterator[None]:
    """Ray, as `start_ray` finds it, for the time of the block; what this started, and only that, is stopped after."""
    import ray

    started = start_ray(dashboard=dashboard)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nothing listens: Ray would try for ten minutes. `auto` has no port to try."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.port:
        socket.create_connection((parts.hostname or "", parts.port), KNOCK_SECONDS).close()


def _take_addresses_as_written() -> None:
    """By itself Ray puts this machine's outward address in the place of loopback, and listens there, on all interfaces.

    Its switch for systems without clusters leaves loopback as it is. It is read at Ray's import, which may be over.
    """
    from ray._private import ray_constants

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that this one starts
    ray_constants.ENABLE_RAY_CLUSTER = False


def _keep_token() -> None:
    """Make the token of this user's local Rays where there is none.

    Ray would make it readable for everybody, and two that start at once would make two.
    """
    if os.environ.get(MODE, "token") != "token" or token():
        return
    path = Path(TOKEN_FILE).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with NamedTemporaryFile(dir=path.parent) as draft, suppress(FileExistsError):
                draft.write(secrets.token_hex(32).encode())
                draft.flush()
                os.link(draft.name, path)
    except OSError as error:
        fault = f"{path}: the token of Ray cannot be kept here ({error.strerror}); set {TOKEN} to a secret of your own."
        raise UserError(fault) from None


def token() -> str | None:
    """The token of the environment, or else of the user, as Ray itself looks for it. Raises UserError."""
    if given := os.environ.get(TOKEN, "").strip():
        return given
    named = os.environ.get(TOKEN_PATH)
    path = Path(named or TOKEN_FILE).expanduser()
    try:
        return path.read_text().strip() or None
    except OSError as error:
        if named:
            raise UserError(
                f"{TOKEN_PATH} = {named}: cannot be read ({error.strerror}); give a readable file."
            ) from None
        return None


def _bring_token(address: str) -> None:
    """Have Ray send its token to a cluster that asks for one, which by itself it does only where no address is given.

    To one that asks for none it must not be sent: actors do not start then. Raises UserError when there is no token or
    another one.
    """
    named = "://" not in address and ":" in address  # for `auto` Ray does so by itself
    if MODE in os.environ or not named or not _refuses(address, None):
        return
    held = token()
    if held is None:
        raise UserError(f"RAY_ADDRESS = {address}: asks for a token; set {TOKEN}, or {TOKEN_PATH} to its file.")
    if _refuses(address, held):
        raise UserError(f"RAY_ADDRESS = {address}: refuses the token; set {TOKEN} to the cluster's.")
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    logging.getLogger("ray").setLevel(logging.ERROR)  # it would warn of what is wanted here
    maybe_enable_token_auth_if_token_available()


def _refuses(address: str, held: str | None) -> bool:
    """Whether the GCS at HOST:PORT refuses a call with this token. False where no such GCS is found."""
    import grpc

    headers = [("authorization", f"Bearer {held}")] if held else []
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            call(b"", timeout=KNOCK_SECONDS, metadata=headers)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def root(error: BaseException) -> BaseException:
    """The error itself, without the layers that Ray Core, Train and Tune wrap around it."""
    workers = getattr(error, "worker_failures", None)
    inner = next(iter(workers.values())) if workers else None
    inner = inner or getattr(error, "cause", None) or getattr(error, "controller_failure", None) or error.__cause__
    return root(inner) if isinstance(inner, BaseException) and inner is not error else error
