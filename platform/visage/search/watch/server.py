"""`visage study --web`: the server of the pages, on this machine alone."""

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from visage.errors import UserError
from visage.search.study.records import load_study, names_in
from visage.search.watch.app import address, build_app

HOST = "127.0.0.1"


def serve(storage: str, name: str | None, port: int, say: Callable[[str], None]) -> None:
    """Serve the pages until Ctrl-C, behind a new token. port: 0 takes a free one.

    Raises UserError for a study that is not there, a database that is away, and a port that is in use.
    """
    if name is None:
        names_in(storage)
    else:
        load_study(name, storage)
    token = secrets.token_urlsafe(24)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # whoever opens at once what is printed now waits for an answer, and is not refused
        except (OSError, OverflowError):
            raise UserError(f"port {port}: is in use or not allowed; give another one with --port.") from None
        say(f"{address(listening.getsockname()[1], token, name)}\nCtrl-C ends the page, and no study.")
        config = uvicorn.Config(build_app(storage, token), log_level="warning", access_log=False, lifespan="off")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
