"""From a request's form to its answer: steps around one batched forward pass, each tested without a server.

Pictures are decoded in threads of their own, as a small file may hold very many pixels, and nobody's batch waits for
them. Faces are found in batches, too (`finder`). Small faces are encoded in the thread that runs the networks, with
their batch: a change of threads costs more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from starlette.responses import Response

from serve_app.admission import Pixels
from serve_app.finder import finding
from serve_app.loaded_model import Model
from serve_app.opening import ORIGIN, Opening
from serve_app.problems import Problem
from serve_app.request_form import Form
from serve_app.responses import document, encode, transfer_document
from visage.editing.expression import Located, expression_index, on_the_way
from visage.errors import UserError
from visage.faces.facs import AUS
from visage.infra import traces
from visage.methods.base import Edited, Editor
from visage.methods.requests import DRIVER

SMALL_SIDE = 128
# Of one request, in its one forward pass: what a replica's memory must hold, and what others wait for.
MOST_FACES = 64
Wanted = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Job:
    """One request's part of a batch: a face as each (expression, intensity) of `wanted`. `checked` is how many of them,
    from the end, get self-check values. Of a transfer, `wanted` names places of `drivers`, uint8 N,S,S,3, or there are
    none and `units`, float32 1,len(AUS), are asked for in their place, where NaN is a unit that stays. mixed: float32
    len(wanted),K, how much of each expression is asked for in place of `wanted`. small: its faces are encoded with the
    batch. asked: the trace of the request that waits for it.
    """

    model: Model
    form: Form
    wanted: Wanted
    checked: int
    located: Located
    drivers: np.ndarray | None = None
    units: np.ndarray | None = None
    mixed: np.ndarray | None = None
    small: bool = False
    asked: traces.Asked | None = field(default_factory=traces.asked)


@dataclass(frozen=True)
class Done:
    """What became of a job; the files of its faces are there when it was a small one."""

    edited: Edited
    files: tuple[bytes, ...] | None = None


Seen = Callable[[Job, Done], None]


def run_jobs(jobs: Sequence[Job]) -> list[Done]:
    """All jobs in one forward pass, or one for each model when a batch falls into a change of models."""
    done: dict[int, Done] = {}
    with traces.batch("networks", [job.asked for job in jobs], requests=len(jobs), faces=sum(map(faces_of, jobs))):
        for model in {id(job.model): job.model for job in jobs}.values():
            places = [place for place, job in enumerate(jobs) if job.model is model]
            with traces.span("forward"):
                edited = _run([jobs[place] for place in places])
            start = 0
            for place in places:
                job = jobs[place]
                mine = edited.take(slice(start, start := start + len(job.wanted)))
                with traces.span("encode") if job.small else traces.NOTHING:
                    done[place] = Done(mine, encode(job, mine) if job.small else None)
    return [done[place] for place in range(len(jobs))]


def _run(jobs: Sequence[Job]) -> Edited:
    """One forward pass for jobs of one model."""
    editor = jobs[0].model.editor
    faces = np.stack([job.located.face for job in jobs])
    source = [place for place, job in enumerate(jobs) for _ in job.wanted]
    checks = [place >= len(job.wanted) - job.checked for job in jobs for place in range(len(job.wanted))]
    if editor.request is DRIVER:
        return _run_transfers(editor, jobs, faces, source, checks)
    expressions = [index for job in jobs for index, _ in job.wanted]
    intensities = [intensity for job in jobs for _, intensity in job.wanted]
    if all(job.mixed is None for job in jobs):
        return editor.run(faces, source, expressions, intensities, checks)
    plain = np.full((1, len(editor.expressions)), np.nan, np.float32)
    mixed = [plain.repeat(len(job.wanted), 0) if job.mixed is None else job.mixed for job in jobs]
    return editor.run(faces, source, expressions, intensities, checks, np.concatenate(mixed))


def _run_transfers(
    editor: Editor, jobs: Sequence[Job], faces: np.ndarray, source: list[int], checks: list[bool]
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


def _asked(form: Form, editor: Editor) -> tuple[Wanted, Wanted, dict[str, Any]]:
    """What a form asks of a model, as a job has it: `wanted` of the answer, `wanted` of the pictures that are made for
    it, and further fields. Raises Problem 422."""
    try:
        if form.drivers or form.units is not None:
            units = None if form.units is None else editor.asked(form.units)[None]
            wanted = tuple((place, 1.0) for place in range(max(1, len(form.drivers))))
            return wanted, wanted, {"units": units}
        chosen = tuple(expression_index(editor.expressions, name) for name in form.mix or form.expressions)
    except UserError as error:
        raise Problem(422, str(error)) from None
    expressions = chosen or tuple(range(len(editor.expressions)))
    wanted = tuple((index, intensity) for index in expressions for intensity in form.intensities)
    mixed = None
    if form.mix is not None:  # named by the one of which there is most
        weights = np.zeros(len(editor.expressions), np.float32)
        weights[list(chosen)] = list(form.mix.values())
        wanted = ((int(weights.argmax()), float(weights.max())),)
        mixed = np.outer(on_the_way(1.0) if form.format == "webp" else [1.0], weights).astype(np.float32)
    if len(wanted) > MOST_FACES:
        raise Problem(422, f"{len(wanted)} faces: are more than {MOST_FACES} in one request; ask in several.")
    frames = wanted
    if form.format == "webp":
        ((index, intensity),) = wanted
        frames = tuple((index, share) for share in on_the_way(intensity))
    return wanted, frames, {"mixed": mixed}


class Answers:
    """Answers forms with a model. `forward` runs a job in a batch with others, as `run_jobs` does.

    cores: of the replica.
    """

    def __init__(
        self,
        forward: Callable[[Job], Awaitable[Done]],
        *,
        megapixels: float,
        self_check: bool,
        cores: int = 1,
    ) -> None:
        self._forward = forward
        self._megapixels, self._self_check = megapixels, self_check
        self._pixels = Pixels()
        self._pictures = ThreadPoolExecutor(max(2, cores), "pictures")
        self._find = finding(cores)

    async def answer(self, form: Form, model: Model, *, as_image: bool, seen: Seen | None = None) -> Response:
        """The response to a form: the picture itself when `as_image` is set and one is asked for, else JSON. Raises
        Problem 400, 413, 422 or 429.

        seen: is handed what was asked of the networks and came out of them; it must not take long.
        """
        size = model.editor.size
        wanted, frames, columns = _asked(form, model.editor)
        alone = as_image and len(wanted) == 1
        whole = form.view == "photo"
        with self._pixels.share() as take:
            located = await self._located(form, Opening(size, self._megapixels, take, len(frames) if whole else 0))
            driving, opening = [], Opening(size, self._megapixels, take)
            for place, image in enumerate(form.drivers, 1):
                driving.append(await self._located(replace(form, image=image, face=None), opening, f"driver {place}"))
            if driving:
                columns["drivers"] = np.stack([driver.face for driver in driving])
            # The answer of a picture alone has no place for the values, so they are not computed.
            checked = len(wanted) if self._self_check and not alone else 0
            small = size <= SMALL_SIDE and not whole
            job = Job(model, form, frames, checked, located, small=small, **columns)
            done = await self._forward(job)
            if seen:  # of an animation its last picture, of a mixture what there is most of, which has a probability
                seen(replace(job, wanted=wanted, mixed=None), done)
            if alone:
                files = done.files or await self._run("encode", encode, job, done.edited)
                body, kind = files[0], f"image/{form.format}"
            else:
                transfer = model.editor.request is DRIVER
                answer = partial(transfer_document, job, driving) if transfer else partial(document, job, wanted)
                body, kind = await self._run("encode", answer, done), "application/json"
            return Response(body, headers={"Visage-Model": model.label}, media_type=kind)

    async def _located(self, form: Form, opening: Opening, origin: str = ORIGIN) -> Located:
        """The face of the form's picture. Raises Problem 400, 413, 422 or 429, which name the picture by `origin`."""
        if form.aligned:
            return await self._run("picture", opening.open_aligned, form, origin)
        photo, header = await self._run("picture", opening.read, form, origin)
        with traces.span("face"):
            found = await self._find(photo)
        return await self._run("align", opening.locate, photo, header, found, origin, form.face)

    async def _run(self, name: str, work: Callable[..., Any], *given: Any) -> Any:
        """What the work returns, done in a thread of the pictures; a span of this name."""
        with traces.span(name):
            return await asyncio.get_running_loop().run_in_executor(self._pictures, work, *given)
