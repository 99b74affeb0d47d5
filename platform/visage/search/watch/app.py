"""The routes of a study's page. They read Optuna's database and MLflow; nobody can change a thing through them."""

import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from visage.errors import UserError
from visage.search.watch.schema import Fault
from visage.search.watch.studies import Studies

FOLDER = Path(__file__).parent / "page"
# A page elsewhere whose name was pointed to this machine asks by that name.
NAMES = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
COOKIE = "visage-study"
MOST = 20  # trials whose faces are looked at together
# Nothing from elsewhere, nothing inline, no frame around the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
Next = Callable[[Request], Awaitable[Response]]


def address(port: int, token: str, name: str | None) -> str:
    """What to open: the page of a study, or without a name the list of all."""
    asked = f"&study={quote(name, safe='')}" if name else ""
    return f"http://127.0.0.1:{port}/?token={quote(token, safe='')}{asked}"


def build_app(storage: str, token: str) -> FastAPI:
    """The pages of all studies of a database. token: what whoever opens one must know, as other users of the machine
    reach its ports too; a cookie keeps it."""
    app = FastAPI(title="Visage", docs_url=None, redoc_url=None, openapi_url=None)
    studies = Studies(storage)

    @app.middleware("http")
    async def guard(request: Request, go_on: Next) -> Response:
        host = NAMES.fullmatch(request.headers.get("host", ""))
        if not host:
            return PlainTextResponse("This server answers to 127.0.0.1 and localhost alone.", 421, HEADERS)
        given = request.query_params.get("token")
        cookie = f"{COOKIE}{(host[2] or '').replace(':', '-')}"  # browsers hand one port's cookies to another
        known = request.cookies.get(cookie, "") if given is None else given
        if not secrets.compare_digest(known.encode(), token.encode()):
            return PlainTextResponse(
                "Open the address that `visage study --web` printed, with its token.", 401, HEADERS
            )
        if given is not None:  # out of the address, so that it stands in no history and no picture of the screen
            answer: Response = RedirectResponse(str(request.url.remove_query_params("token")), 303)
            answer.set_cookie(cookie, token, httponly=True, samesite="strict")
        else:
            answer = await go_on(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    @app.exception_handler(UserError)
    async def away(request: Request, error: UserError) -> Response:
        return _json(Fault(fault=" ".join(str(error).split())), 503)

    @app.get("/")
    async def page() -> Response:
        return FileResponse(FOLDER / "index.html")

    @app.get("/studies")
    def names() -> Response:
        return _json(studies.names())

    @app.get("/study")
    def study(request: Request, name: str) -> Response:
        content, tag = studies.look(name).content()
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(content, media_type="application/json", headers={"ETag": tag})

    @app.get("/curves")
    def curves(name: str, since: int = 0) -> Response:
        return _json(studies.curves(name, since))

    @app.get("/pictures")
    def pictures(name: str, trials: str) -> Response:
        numbers = [
            int(each) for each in trials.split(",")[:MOST] if each.isascii() and each.isdigit() and len(each) < 10
        ]
        return _json(studies.pictures(name, numbers))

    @app.get("/face")
    def face(name: str, trial: int, images: Annotated[int, Query(ge=0, le=10**12)]) -> Response:
        # A trial that goes on from its checkpoint makes the same picture again.
        kept = {"Cache-Control": "private, max-age=3600"}
        return Response(studies.face(name, trial, images), media_type="image/png", headers=kept)

    @app.get("/seeds")
    def seeds(name: str) -> Response:
        return _json(studies.seeds(name))

    @app.get("/lineage")
    def lineage(name: str) -> Response:
        return _json(studies.lineage(name))

    app.mount("/page", StaticFiles(directory=FOLDER), name="page")
    return app


def _json(found: BaseModel, status: int = 200) -> Response:
    return Response(found.model_dump_json(), status, media_type="application/json")
