"""From a request's form to its answer: steps around one batched forward pass, each tested without a server.

Small faces are decoded and encoded in the thread that runs the networks, with their batch: a change of threads costs
more than the decoding. Larger pictures get threads of their own, so that nobody's batch waits for them.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.responses import Response

from serve_app.form import Form
from serve_app.model import Model
from serve_app.problems import Problem
from visage.editing import Edited, Located, expression_index, locate
from visage.errors import UserError
from visage.faces.align import Detector
from visage.faces.picture import TooManyPixels, read_picture, write_png

ORIGIN = "image"
SMALL_BYTES = 64 * 1024
SMALL_SIDE = 128


@dataclass(frozen=True)
class Job:
    """One request's part of a batch: a face under some expressions. `located` is None for a small picture, which is
    decoded and encoded with the batch.
    """

    model: Model
    form: Form
    expressions: tuple[int, ...]
    check: bool
    megapixels: float
    located: Located | None = None


@dataclass(frozen=True)
class Done:
    """What became of a job; the PNG files of its faces are there when it was a small one."""

    located: Located
    edited: Edited
    files: tuple[bytes, ...] | None = None


def run_jobs(jobs: Sequence[Job]) -> list[Done | Problem]:
    """All jobs in one forward pass, or one for each model when a batch falls into a change of models. A picture that
    does not do spoils its own job alone.
    """
    results: list[Done | Problem | None] = [None] * len(jobs)
    groups: dict[int, list[tuple[int, Job, Located]]] = {}
    for number, job in enumerate(jobs):
        try:
            located = job.located or open_aligned(job.form, job.model.editor.size, job.megapixels)
            groups.setdefault(id(job.model), []).append((number, job, located))
        except Problem as problem:
            results[number] = problem
    for group in groups.values():
        rows = [(place, job, index) for place, (_, job, _) in enumerate(group) for index in job.expressions]
        edited = group[0][1].model.editor.run(
            np.stack([located.face for _, _, located in group]),
            [place for place, _, _ in rows],
            [index for _, _, index in rows],
            [job.form.intensity for _, job, _ in rows],
            [job.check for _, job, _ in rows],
        )
        start = 0
        for number, job, located in group:
            part = slice(start, start := start + len(job.expressions))
            mine = Edited(edited.faces[part], edited.similarity[part], edited.confidence[part])
            files = None
            if job.located is None:
                files = tuple(write_png(None, located.view(face, job.form.view)) for face in mine.faces)
            results[number] = Done(located, mine, files)
    return results  # type: ignore[return-value]  # every job has got its own by now


def read_photo(form: Form, megapixels: float) -> np.ndarray:
    """The form's picture, uint8 H,W,3. Raises Problem 400 or 413."""
    try:
        return read_picture(form.image, megapixels=megapixels, name=ORIGIN)
    except TooManyPixels as error:
        raise Problem(413, str(error)) from None
    except UserError as error:
        raise Problem(400, str(error)) from None


def open_aligned(form: Form, size: int, megapixels: float) -> Located:
    """The form's aligned face at the model's size. Raises Problem 400, 413 or 422."""
    photo = read_photo(form, megapixels)
    try:
        return locate(photo, size, None, ORIGIN)
    except UserError as error:
        raise Problem(422, str(error)) from None


class Answers:
    """Answers forms with a model. `forward` runs a job in a batch with others, as `run_jobs` does."""

    def __init__(
        self,
        forward: Callable[[Job], Awaitable[Done | Problem]],
        *,
        megapixels: float,
        self_check: bool,
        threads: int = 2,
    ) -> None:
        self._forward = forward
        self._megapixels, self._self_check = megapixels, self_check
        self._pictures = ThreadPoolExecutor(threads, "pictures")
        # One thread, as the detector is not made for several; loaded when the first photograph comes.
        self._finder = ThreadPoolExecutor(1, "detector")
        self._detector: Detector | None = None

    async def answer(self, form: Form, model: Model, *, as_image: bool) -> Response:
        """The response to a form: the picture itself when `as_image` is set and one expression is asked for, else
        JSON. Raises Problem 400, 413 or 422.
        """
        editor = model.editor
        try:
            chosen = tuple(expression_index(editor.expressions, name) for name in form.expressions)
        except UserError as error:
            raise Problem(422, str(error)) from None
        expressions = chosen or tuple(range(len(editor.expressions)))
        alone = as_image and len(expressions) == 1
        loop = asyncio.get_running_loop()
        located = None
        if not form.aligned:
            photo = await loop.run_in_executor(self._pictures, read_photo, form, self._megapixels)
            located = await loop.run_in_executor(self._finder, self._find, photo, editor.size)
        elif len(form.image) > SMALL_BYTES or editor.size > SMALL_SIDE or form.view == "photo":
            located = await loop.run_in_executor(self._pictures, open_aligned, form, editor.size, self._megapixels)
        # The answer of a picture alone has no place for the values, so they are not computed.
        check = self._self_check and not alone
        done = await self._forward(Job(model, form, expressions, check, self._megapixels, located))
        if isinstance(done, Problem):
            raise done
        if alone:
            file = done.files[0] if done.files else (await loop.run_in_executor(self._pictures, _encode, form, done))[0]
            return Response(file, media_type="image/png")
        body = await loop.run_in_executor(self._pictures, _document, form, model, expressions, done, check)
        return Response(body, media_type="application/json")

    def _find(self, photo: np.ndarray, size: int) -> Located:
        if self._detector is None:
            self._detector = Detector()
        try:
            return locate(photo, size, self._detector, ORIGIN)
        except UserError as error:
            raise Problem(422, str(error)) from None


def _encode(form: Form, done: Done) -> tuple[bytes, ...]:
    return tuple(write_png(None, done.located.view(face, form.view)) for face in done.edited.faces)


def _document(form: Form, model: Model, expressions: tuple[int, ...], done: Done, check: bool) -> bytes:
    """The JSON answer."""
    results: list[dict[str, Any]] = []
    for place, file in enumerate(done.files or _encode(form, done)):
        results.append(
            {
                "expression": model.editor.expressions[expressions[place]],
                "intensity": form.intensity,
                "image": base64.b64encode(file).decode("ascii"),
                "identity_similarity": float(done.edited.similarity[place]) if check else None,
                "expression_confidence": float(done.edited.confidence[place]) if check else None,
            }
        )
    face = {
        "box": [round(float(value), 2) for value in done.located.box],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in done.located.landmarks],
    }
    return json.dumps({"results": results, "face": face, "model": model.reference()}).encode()
