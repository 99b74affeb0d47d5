"""The page at /: files beside this one, and sample faces, the model's own or drawn when they are first asked for."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from serve_app.loaded_model import Model
from serve_app.problems import Problem
from visage.faces.facs import EXPRESSIONS

FOLDER = Path(__file__).parent / "page"
# People of the procedural world in none of the project's face sets, and the sides that a model may have. Whoever asks
# needs no key, so each is drawn once: half a minute of one core for all of them, and 30 MB.
SEED, PEOPLE, SIDES = 4711, 6, (32, 64, 128, 256, 512)
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


def add_page(app: FastAPI, models: Callable[[], Iterable[Model]]) -> None:
    """The page's routes. They need no model, so that the page can say what is missing. models: those that answer now;
    the first one of a size gives the samples of that size, if it has any."""
    drawing = ThreadPoolExecutor(1, "samples")  # one, so that two who ask at once do not have it drawn twice

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(FOLDER / "index.html", headers=HEADERS)

    @app.get("/page/samples/{person}.png", include_in_schema=False)
    async def sample(person: int, size: int, expression: str = "neutral") -> Response:
        if not (0 <= person < PEOPLE and size in SIDES and expression in EXPRESSIONS):
            known = f"0 to {PEOPLE - 1}, of {', '.join(map(str, SIDES))} pixels, {', '.join(EXPRESSIONS)}"
            raise Problem(404, f"There are sample faces {known}.")

        def file_of() -> bytes:
            for model in models():
                if model.samples and model.editor.size == size and (own := model.samples.png(person, expression)):
                    return own
            return _sample(person, size, expression)

        file = await asyncio.get_running_loop().run_in_executor(drawing, file_of)
        return Response(file, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    app.mount("/page", StaticFiles(directory=FOLDER), name="page")


@cache
def _sample(person: int, size: int, expression: str) -> bytes:
    from visage.faces.picture import encode_picture
    from visage.faces.synthetic.people import picture_of

    return encode_picture(picture_of(person, expression, 0, size, SEED)[1])
