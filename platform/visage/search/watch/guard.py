"""The door of every page that a command serves on this machine: who is answered, and what each answer carries."""

import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from visage.errors import UserError
from visage.search.watch.schema import Fault

FOLDER = Path(__file__).parent / "page"
# A page elsewhere whose name was pointed to this machine asks by that name.
NAMES = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
COOKIE = "visage-study"
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


def address(port: int, token: str, name: str | None, page: str = "") -> str:
    """What to open: the page of a study, or without a name the list of all. page: another one."""
    asked = f"&study={quote(name, safe='')}" if name else ""
    return f"http://127.0.0.1:{port}/{page}?token={quote(token, safe='')}{asked}"


def guarded(token: str) -> FastAPI:
    """A server without routes but the pages' own files. token: what whoever opens one must know, as other users of the
    machine reach its ports too; a cookie keeps it."""
    app = FastAPI(title="Visage", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, go_on: Next) -> Response:
        host = NAMES.fullmatch(request.headers.get("host", ""))
        if not host:
            return PlainTextResponse("This server answers to 127.0.0.1 and localhost alone.", 421, HEADERS)
        given = request.query_params.get("token")
        cookie = f"{COOKIE}{(host[2] or '').replace(':', '-')}"  # browsers hand one port's cookies to another
        known = request.cookies.get(cookie, "") if given is None else given
        # Pages of other ports of this machine are of the same site, so that a browser hands them the cookie.
        if request.method != "GET" and request.headers.get("origin") != f"http://{host[0]}":
            return PlainTextResponse("Choices are taken from this server's own page alone.", 403, HEADERS)
        if not secrets.compare_digest(known.encode(), token.encode()):
            said = "Open the address that `visage study --web` or `visage compare --eyes` printed, with its token."
            return PlainTextResponse(said, 401, HEADERS)
        if given is not None:  # out of the address, so that it stands in no history and no picture of the screen
            answer: Response = RedirectResponse(str(request.url.remove_query_params("token")), 303)
            # Not strict: a link from MLflow's pages at `localhost`, for a browser another site, opens it.
            answer.set_cookie(cookie, token, httponly=True, samesite="lax")
        else:
            answer = await go_on(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    @app.exception_handler(UserError)
    async def away(request: Request, error: UserError) -> Response:
        return as_json(Fault(fault=" ".join(str(error).split())), 503)

    app.mount("/page", StaticFiles(directory=FOLDER), name="page")
    return app


def as_json(found: BaseModel, status: int = 200) -> Response:
    return Response(found.model_dump_json(), status, media_type="application/json")
