"""The page that shows two faces blind: which is better, and which is still the same person?

What is shown is told apart by left and right alone, at random; which models made it stays here until it is chosen.
"""

import io
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from fastapi import FastAPI
from PIL import Image
from starlette.responses import FileResponse, Response

from visage.errors import UserError
from visage.judging.choices import Choice
from visage.search.watch.guard import FOLDER, as_json, guarded
from visage.search.watch.pairs import Pairs, Shown
from visage.search.watch.schema import Chosen, Kept, Pair

PENDING = 256  # pairs that were shown and not chosen from; older ones are forgotten
Part = Literal["person", "driver", "left", "right"]


@dataclass(frozen=True)
class Pended:
    """A pair that waits for its choice. turned: whether the second one stands on the left."""

    study: str
    shown: Shown
    turned: bool

    def picture(self, part: Part) -> Image.Image | None:
        if part == "person":
            return self.shown.person
        if part == "driver":
            return self.shown.driver
        return self.shown.faces[(part == "right") != self.turned]

    def choice(self, chosen: Chosen) -> Choice:
        sides = {"left": "second", "right": "first"} if self.turned else {"left": "first", "right": "second"}
        return Choice.model_validate(
            {
                "first": self.shown.first,
                "second": self.shown.second,
                "better": sides.get(chosen.better, chosen.better),
                "person": sides.get(chosen.person, chosen.person),
                "asked": self.shown.asked,
                "who": chosen.who,
                "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
        )


def add_eyes(app: FastAPI, pairs_of: Callable[[str], Pairs]) -> None:
    """Add the page and its routes. pairs_of: a study's, by its name."""
    lock = threading.Lock()
    pending: OrderedDict[str, Pended] = OrderedDict()

    def found(key: str) -> Pended:
        with lock:
            if key not in pending:
                raise UserError("this pair was chosen from already, or is too old; take the next one.")
            return pending[key]

    @app.get("/eyes")
    async def page() -> Response:
        return FileResponse(FOLDER / "eyes.html")

    @app.get("/pair")
    def pair(name: str) -> Response:
        pairs = pairs_of(name)
        shown, key = pairs.next(), secrets.token_urlsafe(12)
        with lock:
            pending[key] = Pended(name, shown, secrets.randbelow(2) == 1)
            if len(pending) > PENDING:
                pending.popitem(last=False)
        return as_json(Pair(key=key, asked=shown.asked, driver=shown.driver is not None, choices=pairs.count()))

    @app.get("/pair/{part}")
    def picture(part: Part, key: str) -> Response:
        image = found(key).picture(part)
        if image is None:
            raise UserError("this pair has no driver.")
        written = io.BytesIO()
        image.save(written, "PNG")
        return Response(written.getvalue(), media_type="image/png", headers={"Cache-Control": "no-store"})

    @app.post("/choice")
    def choose(chosen: Chosen) -> Response:
        waiting = found(chosen.key)
        pairs = pairs_of(waiting.study)
        pairs.keep(waiting.choice(chosen))
        with lock:
            pending.pop(chosen.key, None)
        return as_json(Kept(choices=pairs.count()))


def build_eyes(token: str, pairs: Pairs) -> FastAPI:
    """The page alone, for one source of pairs."""
    app = guarded(token)
    add_eyes(app, lambda name: pairs)
    return app
