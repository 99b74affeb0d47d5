"""The servers of pages: of a study's, and of one that shows faces to choose from, on this machine alone."""

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from visage.errors import UserError
from visage.search.study.records import load_study, names_in
from visage.search.watch.app import build_app
from visage.search.watch.eyes import build_eyes
from visage.search.watch.guard import address
from visage.search.watch.pairs import Pairs

HOST = "127.0.0.1"
Say = Callable[[str], None]


def serve(storage: str, name: str | None, port: int, say: Say) -> None:
    """Serve the pages until Ctrl-C, behind a new token. port: 0 takes a free one.

    Raises UserError for a study that is not there, a database that is away, and a port that is in use.
    """
    if name is None:
        names_in(storage)
    else:
        load_study(name, storage)
    _serve(lambda token: build_app(storage, token), name, "", port, say, "Ctrl-C ends the page, and no study.")


def serve_eyes(pairs: Pairs, name: str, port: int, say: Say) -> None:
    """Serve the page that shows pairs of faces until Ctrl-C. name: what it calls them. port: as of `serve`."""
    ending = "Choose there; Ctrl-C ends the page and tells what was chosen."
    _serve(lambda token: build_eyes(token, pairs), name, "eyes", port, say, ending)


def _serve(build: Callable[[str], FastAPI], name: str | None, page: str, port: int, say: Say, ending: str) -> None:
    token = secrets.token_urlsafe(24)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # whoever opens at once what is printed now waits for an answer, and is not refused
        except (OSError, OverflowError):
            raise UserError(f"port {port}: is in use or not allowed; give another one with --port.") from None
        say(f"{address(listening.getsockname()[1], token, name, page)}\n{ending}")
        config = uvicorn.Config(build(token), log_level="warning", access_log=False, lifespan="off")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
