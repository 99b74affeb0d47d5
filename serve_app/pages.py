"""The page at /: files beside this one, and sample faces that are drawn when they are asked for."""

import asyncio
from functools import lru_cache
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from serve_app.problems import Problem
from visage.faces.facs import EXPRESSIONS

FOLDER = Path(__file__).parent / "page"
# People of the procedural world in none of the project's face sets, and the sides they are drawn at.
SEED, PEOPLE, SIDES = 4711, 6, (16, 512)
# Nothing from elsewhere, nothing inline, no frame around the page. blob: holds pictures on their way to the screen.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """The page's routes. They need no model, so that the page can say what is missing."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(FOLDER / "index.html", headers=HEADERS)

    @app.get("/page/samples/{person}.png", include_in_schema=False)
    async def sample(person: int, size: int, expression: str = "neutral") -> Response:
        if not (0 <= person < PEOPLE and SIDES[0] <= size <= SIDES[1] and expression in EXPRESSIONS):
            known = f"0 to {PEOPLE - 1}, of {SIDES[0]} to {SIDES[1]} pixels, {', '.join(EXPRESSIONS)}"
            raise Problem(404, f"There are sample faces {known}.")
        file = await asyncio.to_thread(_sample, person, size, expression)
        return Response(file, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    app.mount("/page", StaticFiles(directory=FOLDER), name="page")


@lru_cache(maxsize=4 * PEOPLE)
def _sample(person: int, size: int, expression: str) -> bytes:
    from visage.faces.picture import write_png
    from visage.faces.synthetic.people import picture_of

    return write_png(None, picture_of(person, expression, 0, size, SEED)[1])
