"""The challenger, unseen: it runs what the champion has answered, when the networks have nothing else to do.

What is kept of a request until then is its aligned face, in memory; what is sent on are two numbers a model.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np

from serve_app.challenger.records import Record, Values
from serve_app.inference import Done, Job
from serve_app.loaded_model import Model
from serve_app.logs import logger
from visage.methods.base import Edited

# Requests that wait for their unseen run; more are skipped, as they must take neither memory nor time from answers.
WAITING = 32
SEND_SECONDS = 1.0


class Quiet:
    """Runs jobs as `forward` does, and knows when none of the callers' jobs is with the networks."""

    def __init__(self, forward: Callable[[Job], Awaitable[Done]]) -> None:
        self._forward = forward
        self._busy = 0
        self._idle = asyncio.Event()

    async def __call__(self, job: Job) -> Done:
        self._busy += 1
        self._idle.clear()
        try:
            return await self._forward(job)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def unseen(self, job: Job) -> Done:
        """As a caller's job, but not before there is none. One that comes meanwhile waits for this pass at most."""
        while self._busy:
            await self._idle.wait()
        return await self._forward(job)


class Watch:
    """Records the self-check values of answers, and of unseen runs. For one event loop; starts with its first record.

    send: takes records and the number of skipped requests. most_faces: of one unseen run, as no answer shall wait for
    long behind one.
    """

    def __init__(self, quiet: Quiet, send: Callable[[list[Record], int], Awaitable[object]], most_faces: int) -> None:
        self._quiet, self._send, self._most_faces = quiet, send, most_faces
        self._waiting: asyncio.Queue[tuple[Job, Model, Values | None]] = asyncio.Queue(WAITING)
        self._records: list[Record] = []
        self._skipped = 0
        self._tasks: list[asyncio.Task[None]] = []

    def answered(self, champion: Model, challenger: Model, job: Job, done: Done) -> None:
        """An answer of one of the two; without values, as of a picture alone, it leaves no record."""
        values = _values(done.edited, len(job.wanted))
        if values:
            mine = job.model is champion
            self._note(Record(champion.label, challenger.label, values if mine else None, None if mine else values))

    def shadow(self, champion: Model, challenger: Model, job: Job, done: Done) -> None:
        """Have the challenger run what the champion has answered, later."""
        wanted = job.wanted[: self._most_faces]
        ours = _values(done.edited, len(wanted)) if wanted == job.wanted else None
        # Neither the file nor the whole photograph, which may be large, has to wait in memory. And nobody waits for it.
        form, located = replace(job.form, image=b""), replace(job.located, photo=job.located.face)
        later = replace(job, form=form, wanted=wanted, checked=len(wanted), located=located, small=False, asked=None)
        self._start()
        try:
            self._waiting.put_nowait((later, challenger, ours))
        except asyncio.QueueFull:
            self._skipped += 1
            if ours:
                self._note(Record(champion.label, challenger.label, ours, None))

    def _note(self, record: Record) -> None:
        self._records.append(record)
        self._start()

    def _start(self) -> None:
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._run_unseen()), loop.create_task(self._send_on())]

    async def _run_unseen(self) -> None:
        while True:
            job, challenger, ours = await self._waiting.get()
            try:
                ours = ours or await self._unseen(job)
                theirs = await self._unseen(replace(job, model=challenger))
            except Exception:
                logger().exception("An unseen run of the challenger failed")
                continue
            if ours and theirs:
                self._note(Record(job.model.label, challenger.label, ours, theirs))

    async def _unseen(self, job: Job) -> Values | None:
        return _values((await self._quiet.unseen(job)).edited, len(job.wanted))

    async def _send_on(self) -> None:
        while True:
            await asyncio.sleep(SEND_SECONDS)
            if not self._records and not self._skipped:
                continue
            records, self._records = self._records, []
            skipped, self._skipped = self._skipped, 0
            try:
                await self._send(records, skipped)
            except Exception:  # they are lost, and the next ones may arrive
                logger().exception("%d records of the comparison were not kept", len(records))


def _values(edited: Edited, wanted: int) -> Values | None:
    """Means of both values over the faces that were asked for, which are the last ones; None if none was computed."""
    means = [float(values[-wanted:].mean()) for values in (edited.similarity, edited.confidence)]
    return (means[0], means[1]) if np.isfinite(means).all() else None
