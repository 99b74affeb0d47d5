"""The servers of pages, on this machine alone: of a study's, and of one that shows faces to choose from.

The routes read Optuna's database and MLflow; what people choose is all that they write.
"""

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query, Request
from starlette.responses import FileResponse, Response

from visage.errors import UserError
from visage.search.study.records import load_study, names_in
from visage.search.watch.eyes import add_eyes, build_eyes
from visage.search.watch.guard import FOLDER, address, as_json, guarded
from visage.search.watch.looks import Studies
from visage.search.watch.pairs import Pairs, TrialPairs

HOST = "127.0.0.1"
MOST = 20  # trials whose faces are looked at together
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


def build_app(storage: str, token: str) -> FastAPI:
    """The pages of all studies of a database. token: what whoever opens one must know, as other users of the machine
    reach its ports too; a cookie keeps it."""
    app = guarded(token)
    studies = Studies(storage)
    add_eyes(app, lru_cache(16)(lambda name: TrialPairs(studies.look(name))))

    @app.get("/")
    async def page() -> Response:
        return FileResponse(FOLDER / "index.html")

    @app.get("/studies")
    def names() -> Response:
        return as_json(studies.names())

    @app.get("/study")
    def study(request: Request, name: str) -> Response:
        content, tag = studies.look(name).content()
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(content, media_type="application/json", headers={"ETag": tag})

    @app.get("/curves")
    def curves(name: str, since: int = 0) -> Response:
        return as_json(studies.look(name).curves(since))

    @app.get("/pictures")
    def pictures(name: str, trials: str) -> Response:
        return as_json(studies.look(name).pictures(trials.split(",")[:MOST]))

    @app.get("/face")
    def face(name: str, trial: int, images: Annotated[int, Query(ge=0, le=10**12)]) -> Response:
        # A trial that goes on from its checkpoint makes the same picture again.
        kept = {"Cache-Control": "private, max-age=3600"}
        return Response(studies.look(name).face(trial, images), media_type="image/png", headers=kept)

    @app.get("/seeds")
    def seeds(name: str) -> Response:
        return as_json(studies.look(name).seeds())

    @app.get("/lineage")
    def lineage(name: str) -> Response:
        return as_json(studies.look(name).lineage())

    return app
