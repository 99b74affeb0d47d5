"""From a request's form to its answer. Pure steps around one batched forward pass, each tested without a server."""

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


@dataclass(frozen=True)
class Job:
    """One request's part of a batch: a face, uint8 S,S,3, under some expressions."""

    model: Model
    face: np.ndarray
    expressions: tuple[int, ...]
    intensity: float
    check: bool


def run_jobs(jobs: Sequence[Job]) -> list[Edited]:
    """All jobs in one forward pass, or one for each model when a batch falls into a change of models."""
    results: dict[int, Edited] = {}
    for model in {id(job.model): job.model for job in jobs}.values():
        mine = [number for number, job in enumerate(jobs) if job.model is model]
        rows = [(place, index) for place, number in enumerate(mine) for index in jobs[number].expressions]
        source, expression = [place for place, _ in rows], [index for _, index in rows]
        edited = model.editor.run(
            np.stack([jobs[number].face for number in mine]),
            source,
            expression,
            [jobs[mine[place]].intensity for place in source],
            [jobs[mine[place]].check for place in source],
        )
        start = 0
        for number in mine:
            end = start + len(jobs[number].expressions)
            part = slice(start, end)
            results[number] = Edited(edited.faces[part], edited.similarity[part], edited.confidence[part])
            start = end
    return [results[number] for number in range(len(jobs))]


class Answers:
    """Answers forms with a model. `forward` runs a job in a batch with others; all else runs in threads of its own, so
    that the event loop never waits for a picture.
    """

    def __init__(
        self, forward: Callable[[Job], Awaitable[Edited]], *, megapixels: float, self_check: bool, threads: int = 2
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
            chosen = [expression_index(editor.expressions, name) for name in form.expressions]
        except UserError as error:
            raise Problem(422, str(error)) from None
        expressions = tuple(chosen or range(len(editor.expressions)))
        alone = as_image and len(expressions) == 1
        loop = asyncio.get_running_loop()
        if form.aligned:
            located = await loop.run_in_executor(self._pictures, self._open_aligned, form, editor.size)
        else:
            photo = await loop.run_in_executor(self._pictures, self._read, form)
            located = await loop.run_in_executor(self._finder, self._find, photo, editor.size)
        # The answer of a picture alone has no place for the values, so they are not computed.
        job = Job(model, located.face, expressions, form.intensity, self._self_check and not alone)
        edited = await self._forward(job)
        if alone:
            png = await loop.run_in_executor(self._pictures, self._encode, form, located, edited.faces[0])
            return Response(png, media_type="image/png")
        body = await loop.run_in_executor(self._pictures, self._document, form, model, job, located, edited)
        return Response(body, media_type="application/json")

    def load_detector(self) -> None:
        """Load the face detector now rather than with the first photograph."""
        self._finder.submit(self._load).result()

    def _load(self) -> Detector:
        if self._detector is None:
            self._detector = Detector()
        return self._detector

    def _read(self, form: Form) -> np.ndarray:
        try:
            return read_picture(form.image, megapixels=self._megapixels, name=ORIGIN)
        except TooManyPixels as error:
            raise Problem(413, str(error)) from None
        except UserError as error:
            raise Problem(400, str(error)) from None

    def _open_aligned(self, form: Form, size: int) -> Located:
        photo = self._read(form)
        try:
            return locate(photo, size, None, ORIGIN)
        except UserError as error:
            raise Problem(422, str(error)) from None

    def _find(self, photo: np.ndarray, size: int) -> Located:
        try:
            return locate(photo, size, self._load(), ORIGIN)
        except UserError as error:
            raise Problem(422, str(error)) from None

    @staticmethod
    def _encode(form: Form, located: Located, face: np.ndarray) -> bytes:
        return write_png(None, located.view(face, form.view))

    def _document(self, form: Form, model: Model, job: Job, located: Located, edited: Edited) -> bytes:
        results: list[dict[str, Any]] = []
        for place, index in enumerate(job.expressions):
            results.append(
                {
                    "expression": model.editor.expressions[index],
                    "intensity": form.intensity,
                    "image": base64.b64encode(self._encode(form, located, edited.faces[place])).decode("ascii"),
                    "identity_similarity": float(edited.similarity[place]) if job.check else None,
                    "expression_confidence": float(edited.confidence[place]) if job.check else None,
                }
            )
        face = {
            "box": [round(float(value), 2) for value in located.box],
            "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in located.landmarks],
        }
        return json.dumps({"results": results, "face": face, "model": model.reference()}).encode()
