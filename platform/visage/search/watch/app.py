"""The routes of a study's page. They read Optuna's database and MLflow; what people choose is all that they write."""

from functools import lru_cache
from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.responses import FileResponse, Response

from visage.search.watch.eyes import add_eyes
from visage.search.watch.guard import FOLDER, as_json, guarded
from visage.search.watch.looks import Studies
from visage.search.watch.pairs import TrialPairs

MOST = 20  # trials whose faces are looked at together


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
