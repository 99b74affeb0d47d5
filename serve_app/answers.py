"""From a request's form to its answer: steps around one batched forward pass, each tested without a server.

Small faces are decoded and encoded in the thread that runs the networks, with their batch: a change of threads costs
more than the decoding. Larger pictures get threads of their own, so that nobody's batch waits for them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from starlette.responses import Response

from serve_app.form import Form
from serve_app.model import Model
from serve_app.problems import Problem
from serve_app.written import document, encode, require_few_pixels, transfer_document
from visage.editing import Edited, Located, expression_index, locate, on_the_way
from visage.errors import UserError
from visage.faces.align import Detector
from visage.faces.facs import AUS
from visage.faces.picture import TooManyPixels, read_picture
from visage.transfer import Transferer

ORIGIN = "image"
SMALL_BYTES = 64 * 1024
SMALL_SIDE = 128
# Of one request, in its one forward pass: what a replica's memory must hold, and what others wait for.
MOST_FACES = 64


@dataclass(frozen=True)
class Job:
    """One request's part of a batch: a face as each (expression, intensity) of `wanted`. `checked` is how many of them,
    from the end, get self-check values. `located` is None for a small picture, which is decoded and encoded with the
    batch. Of a transfer, `wanted` names places of `drivers`, uint8 N,S,S,3, or there are none and `units`, float32
    1,len(AUS), are asked for in their place, as of `Transferer.run`.
    """

    model: Model
    form: Form
    wanted: tuple[tuple[int, float], ...]
    checked: int
    megapixels: float
    located: Located | None = None
    drivers: np.ndarray | None = None
    units: np.ndarray | None = None


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
            mine = edited.take(part)
            files = None
            if job.located is None:
                files = encode(job.form, job.model, located, mine)
            results[number] = Done(located, mine, files)
    return results  # type: ignore[return-value]  # every job has got its own by now


def _run(group: Sequence[tuple[int, Job, Located]]) -> Edited:
    """One forward pass for jobs of one model."""
    jobs, editor = [job for _, job, _ in group], group[0][1].model.editor
    faces = np.stack([located.face for _, _, located in group])
    source = [place for place, job in enumerate(jobs) for _ in job.wanted]
    checks = [place >= len(job.wanted) - job.checked for job in jobs for place in range(len(job.wanted))]
    if isinstance(editor, Transferer):
        return _run_transfers(editor, jobs, faces, source, checks)
    expressions = [index for job in jobs for index, _ in job.wanted]
    return editor.run(faces, source, expressions, [intensity for job in jobs for _, intensity in job.wanted], checks)


def _run_transfers(
    editor: Transferer, jobs: Sequence[Job], faces: np.ndarray, source: list[int], checks: list[bool]
) -> Edited:
    """One forward pass for jobs with drivers and jobs with action units, each of those on its own face."""
    driver: list[int] = []
    more, units = [faces], np.full((len(source), len(AUS)), np.nan, np.float32)
    count = len(faces)
    for place, job in enumerate(jobs):
        if job.drivers is None:
            units[len(driver)] = job.units
            driver.append(place)
        else:
            driver += range(count, count := count + len(job.drivers))
            more.append(job.drivers)
    return editor.run(np.concatenate(more), source, driver, checks, units)


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
        if form.drivers or form.units is not None:
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
            require_few_pixels(form, located, len(frames))
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
                files = await loop.run_in_executor(self._pictures, encode, form, model, done.located, done.edited)
            return Response(files[0], headers=headers, media_type=f"image/{form.format}")
        body = await loop.run_in_executor(self._pictures, document, form, model, wanted, done)
        return Response(body, headers=headers, media_type="application/json")

    async def _transfer(self, form: Form, model: Model, *, as_image: bool) -> Response:
        """As `answer`, to a form with drivers or action units: the face of its picture with each driver's expression,
        or with those units, in one pass."""
        carrier = model.editor
        assert isinstance(carrier, Transferer)
        try:
            units = None if form.units is None else carrier.asked(form.units)[None]
        except UserError as error:
            raise Problem(422, str(error)) from None
        wanted = tuple((place, 1.0) for place in range(max(1, len(form.drivers))))
        alone = as_image and len(wanted) == 1
        located = await self._located(form, carrier.size)
        driving = []
        for place, image in enumerate(form.drivers, 1):
            found = await self._located(replace(form, image=image), carrier.size, f"driver {place}")
            driving.append(replace(found, photo=found.face))  # a whole photograph may be large, and there may be many
        if form.view == "photo":
            require_few_pixels(form, located, len(wanted))
        checked = len(wanted) if self._self_check and not alone else 0
        faces = np.stack([driver.face for driver in driving]) if driving else None
        done = await self._forward(Job(model, form, wanted, checked, self._megapixels, located, faces, units))
        if isinstance(done, Problem):
            raise done
        loop, headers = asyncio.get_running_loop(), {"Visage-Model": model.label}
        files = await loop.run_in_executor(self._pictures, encode, form, model, done.located, done.edited)
        if alone:
            return Response(files[0], headers=headers, media_type="image/png")
        body = transfer_document(model, carrier.action_units, driving, files, done)
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
