"""From a request's form to its answer: steps around one batched forward pass, each tested without a server.

Small faces are decoded and encoded in the thread that runs the networks, with their batch: a change of threads costs
more than the decoding. Larger pictures get threads of their own, so that nobody's batch waits for them.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from starlette.responses import Response

from serve_app.form import Form
from serve_app.model import Model
from serve_app.problems import Problem
from visage.editing import Edited, Located, expression_index, locate, on_the_way
from visage.errors import UserError
from visage.faces.align import Detector
from visage.faces.picture import TooManyPixels, encode_animation, read_picture, write_png
from visage.transfer import Transferer

ORIGIN = "image"
SMALL_BYTES = 64 * 1024
SMALL_SIDE = 128
# Of one request, in its one forward pass: what a replica's memory must hold, and what others wait for.
MOST_FACES = 64
# Of one answer; an animation's pictures are all in memory at once.
WRITTEN_MEGAPIXELS = {"png": 400.0, "webp": 48.0}


@dataclass(frozen=True)
class Job:
    """One request's part of a batch: a face as each (expression, intensity) of `wanted`. `checked` is how many of them,
    from the end, get self-check values. `located` is None for a small picture, which is decoded and encoded with the
    batch. Of a transfer, `wanted` names places of `drivers`, uint8 N,S,S,3.
    """

    model: Model
    form: Form
    wanted: tuple[tuple[int, float], ...]
    checked: int
    megapixels: float
    located: Located | None = None
    drivers: np.ndarray | None = None


@dataclass(frozen=True)
class Done:
    """What became of a job; the files of its faces are there when it was a small one."""

    located: Located
    edited: Edited
    files: tuple[bytes, ...] | None = None


Seen = Callable[[Form, tuple[tuple[int, float], ...], Done], None]


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
        edited = _run(group)
        start = 0
        for number, job, located in group:
            part = slice(start, start := start + len(job.wanted))
            mine = Edited(edited.faces[part], edited.similarity[part], edited.confidence[part])
            files = None
            if job.located is None:
                files = _encode(job.form, job.model, located, mine)
            results[number] = Done(located, mine, files)
    return results  # type: ignore[return-value]  # every job has got its own by now


def _run(group: Sequence[tuple[int, Job, Located]]) -> Edited:
    """One forward pass for jobs of one model."""
    jobs, editor = [job for _, job, _ in group], group[0][1].model.editor
    faces = np.stack([located.face for _, _, located in group])
    source = [place for place, job in enumerate(jobs) for _ in job.wanted]
    checks = [place >= len(job.wanted) - job.checked for job in jobs for place in range(len(job.wanted))]
    if isinstance(editor, Transferer):
        drivers = np.concatenate([job.drivers for job in jobs if job.drivers is not None])
        return editor.run(
            np.concatenate([faces, drivers]), source, range(len(faces), len(faces) + len(drivers)), checks
        )
    expressions = [index for job in jobs for index, _ in job.wanted]
    return editor.run(faces, source, expressions, [intensity for job in jobs for _, intensity in job.wanted], checks)


def faces_of(job: Job) -> int:
    """A job's weight in a batch: the faces that come out of the networks for it."""
    return len(job.wanted)


def read_photo(form: Form, megapixels: float, origin: str = ORIGIN) -> np.ndarray:
    """The form's picture, uint8 H,W,3. Raises Problem 400 or 413, which name it by `origin`."""
    try:
        return read_picture(form.image, megapixels=megapixels, name=origin)
    except TooManyPixels as error:
        raise Problem(413, str(error)) from None
    except UserError as error:
        raise Problem(400, str(error)) from None


def open_aligned(form: Form, size: int, megapixels: float, origin: str = ORIGIN) -> Located:
    """The form's aligned face at the model's size. Raises Problem 400, 413 or 422, which name it by `origin`."""
    photo = read_photo(form, megapixels, origin)
    try:
        return locate(photo, size, None, origin)
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

    async def answer(self, form: Form, model: Model, *, as_image: bool, seen: Seen | None = None) -> Response:
        """The response to a form: the picture itself when `as_image` is set and one is asked for, else JSON. Raises
        Problem 400, 413 or 422.

        seen: is handed what came out of the networks; it must not take long.
        """
        editor = model.editor
        if form.drivers:
            return await self._transfer(form, model, as_image=as_image)
        try:
            chosen = tuple(expression_index(editor.expressions, name) for name in form.expressions)
        except UserError as error:
            raise Problem(422, str(error)) from None
        expressions = chosen or tuple(range(len(editor.expressions)))
        wanted = tuple((index, intensity) for index in expressions for intensity in form.intensities)
        if len(wanted) > MOST_FACES:
            raise Problem(422, f"{len(wanted)} faces: are more than {MOST_FACES} in one request; ask in several.")
        alone = as_image and len(wanted) == 1
        frames = wanted
        if form.format == "webp":
            ((index, intensity),) = wanted
            frames = tuple((index, share) for share in on_the_way(intensity))
        loop = asyncio.get_running_loop()
        located = None
        if not form.aligned or len(form.image) > SMALL_BYTES or editor.size > SMALL_SIDE or form.view == "photo":
            located = await self._located(form, editor.size)
        if located is not None and form.view == "photo":
            _require_few_pixels(form, located, len(frames))
        # The answer of a picture alone has no place for the values, so they are not computed.
        checked = len(wanted) if self._self_check and not alone else 0
        done = await self._forward(Job(model, form, frames, checked, self._megapixels, located))
        if isinstance(done, Problem):
            raise done
        if seen:
            seen(form, wanted, done)
        headers = {"Visage-Model": model.label}
        if alone:
            files = done.files
            if files is None:
                files = await loop.run_in_executor(self._pictures, _encode, form, model, done.located, done.edited)
            return Response(files[0], headers=headers, media_type=f"image/{form.format}")
        body = await loop.run_in_executor(self._pictures, _document, form, model, wanted, done)
        return Response(body, headers=headers, media_type="application/json")

    async def _transfer(self, form: Form, model: Model, *, as_image: bool) -> Response:
        """As `answer`, to a form with drivers: the face of its picture with the expression of each, in one pass."""
        wanted = tuple((place, 1.0) for place in range(len(form.drivers)))
        alone = as_image and len(wanted) == 1
        located = await self._located(form, model.editor.size)
        driving = []
        for place, image in enumerate(form.drivers, 1):
            found = await self._located(replace(form, image=image), model.editor.size, f"driver {place}")
            driving.append(replace(found, photo=found.face))  # a whole photograph may be large, and there may be many
        if form.view == "photo":
            _require_few_pixels(form, located, len(wanted))
        checked = len(wanted) if self._self_check and not alone else 0
        faces = np.stack([driver.face for driver in driving])
        done = await self._forward(Job(model, form, wanted, checked, self._megapixels, located, faces))
        if isinstance(done, Problem):
            raise done
        loop, headers = asyncio.get_running_loop(), {"Visage-Model": model.label}
        files = await loop.run_in_executor(self._pictures, _encode, form, model, done.located, done.edited)
        if alone:
            return Response(files[0], headers=headers, media_type="image/png")
        likeness = _numbers(done.edited.similarity)
        results = [
            {"image": base64.b64encode(file).decode("ascii"), "identity_similarity": like, "driver": _place(driver)}
            for file, like, driver in zip(files, likeness, driving, strict=True)
        ]
        body = json.dumps({"results": results, "face": _place(done.located), "model": model.reference()})
        return Response(body, headers=headers, media_type="application/json")

    async def _located(self, form: Form, size: int, origin: str = ORIGIN) -> Located:
        """The face of the form's picture. Raises Problem 400, 413 or 422, which name the picture by `origin`."""
        run = asyncio.get_running_loop().run_in_executor
        if form.aligned:
            return await run(self._pictures, open_aligned, form, size, self._megapixels, origin)
        photo = await run(self._pictures, read_photo, form, self._megapixels, origin)
        return await run(self._finder, self._find, photo, size, origin)

    def _find(self, photo: np.ndarray, size: int, origin: str) -> Located:
        if self._detector is None:
            self._detector = Detector()
        try:
            return locate(photo, size, self._detector, origin)
        except UserError as error:
            raise Problem(422, str(error)) from None


def _encode(form: Form, model: Model, located: Located, edited: Edited) -> tuple[bytes, ...]:
    """The files of a job's faces: a PNG for each, or one WebP with all as its frames; with their provenance."""
    pictures = (located.view(face, form.view) for face in edited.faces)
    xmp = model.xmp(form.view)
    if form.format == "webp":
        return (encode_animation(pictures, xmp=xmp),)
    return tuple(write_png(None, picture, xmp=xmp) for picture in pictures)


def _require_few_pixels(form: Form, located: Located, count: int) -> None:
    height, width = located.photo.shape[:2]
    most = WRITTEN_MEGAPIXELS[form.format]
    if count * height * width > most * 1e6:
        raise Problem(
            422,
            f"{count} pictures of {width} x {height} pixels: are more than {most:g} megapixels in one answer; send a "
            "smaller photograph or ask for view=face.",
        )


def _document(form: Form, model: Model, wanted: Sequence[tuple[int, float]], done: Done) -> bytes:
    """The JSON answer."""
    results: list[dict[str, Any]] = []
    files = done.files or _encode(form, model, done.located, done.edited)
    # Of an animation the values of the last picture, as that is the one asked for.
    similarity = _numbers(done.edited.similarity[-len(wanted) :])
    confidence = _numbers(done.edited.confidence[-len(wanted) :])
    for place, (index, intensity) in enumerate(wanted):
        results.append(
            {
                "expression": model.editor.expressions[index],
                "intensity": intensity,
                "image": base64.b64encode(files[place]).decode("ascii"),
                "identity_similarity": similarity[place],
                "expression_confidence": confidence[place],
            }
        )
    return json.dumps({"results": results, "face": _place(done.located), "model": model.reference()}).encode()


def _place(located: Located) -> dict[str, Any]:
    """Where a face is in its picture."""
    return {
        "box": [round(float(value), 2) for value in located.box],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in located.landmarks],
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    """As JSON has them: null where nothing was computed."""
    return [None if np.isnan(value) else float(value) for value in values]
