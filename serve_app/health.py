"""Whether a replica's networks still make what they made when its model was loaded. Serve asks, and replaces a replica
that fails; a device that a CUDA error has left unusable ends the process at once.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import torch

from serve_app.challenger.contest import Held
from serve_app.inference import Done, Job
from serve_app.loaded_model import Model
from serve_app.logs import logger
from serve_app.request_form import Form
from visage.editing.expression import Located
from visage.methods.requests import DRIVER

GOLDEN_SECONDS = 60.0
Run = Callable[[Sequence[Job]], Sequence[Done]]


class Health:
    """Watches the networks of a replica. `fault` says what is wrong with them; empty while nothing is.

    A failed batch may be the fault of what was asked, so it decides nothing: the next check runs a golden face, which
    no caller has chosen. Without a failed batch one is run every minute. seconds: the longest that the check
    may take while no other batch is finished either.
    """

    def __init__(self, held: Held, seconds: float) -> None:
        self._held, self._seconds = held, seconds
        self._failed, self._finished = False, 0
        self._due = time.monotonic() + GOLDEN_SECONDS
        self.fault = ""

    def watched(self, run: Run) -> Run:
        """`run` as it is, with what becomes of each batch noted, in the thread of the networks."""

        def run_and_note(jobs: Sequence[Job]) -> Sequence[Done]:
            try:
                results = run(jobs)
            except Exception as error:
                end_if_unusable(error)
                self._failed = True
                raise
            self._finished += 1
            return results

        return run_and_note

    async def check(self, forward: Callable[[Job], Awaitable[Done]]) -> None:
        """Raise RuntimeError when the networks do not do. forward: runs a job in a batch with those of callers."""
        model = self._held.model
        if model is None or not (self._failed or self.fault or time.monotonic() > self._due):
            return
        self._failed = False
        self.fault = await self._ask(model, forward)
        if self.fault:
            logger().error(self.fault)
            raise RuntimeError(self.fault)
        self._due = time.monotonic() + GOLDEN_SECONDS

    async def _ask(self, model: Model, forward: Callable[[Job], Awaitable[Done]]) -> str:
        """What is wrong with the first golden picture as it is made now."""
        before = self._finished
        try:
            async with asyncio.timeout(self._seconds):
                done = await forward(golden_job(model))
        except TimeoutError:
            # Others were first. Where none of them was done either, the networks hang.
            return "" if self._finished > before else f"The networks make no face within {self._seconds:g} seconds."
        except Exception:
            logger().exception("A golden face could not be made")
            return "The networks make no face any more."
        levels = model.golden.first().difference(done.edited.faces)
        return "" if levels <= model.golden.levels else f"A golden picture differs by {levels:.1f} levels of 255."


def golden_job(model: Model) -> Job:
    """The first golden picture, as a caller would ask for it."""
    golden = model.golden
    face = golden.faces[golden.source[0]]
    located = Located(face, face, np.eye(2, 3), (0.0, 0.0, *face.shape[:2]), np.zeros((0, 2)))
    form = Form(image=b"", expressions=(), intensities=(1.0,), view="face", format="png", aligned=True)
    if model.editor.request is DRIVER:
        driver = golden.faces[golden.asked["driver"][:1]]
        return Job(model, form, ((0, 1.0),), checked=0, located=located, drivers=driver)
    wanted = (int(golden.asked["expression"][0]), float(golden.asked["intensity"][0]))
    return Job(model, form, (wanted,), checked=0, located=located)


def end_if_unusable(error: Exception) -> None:
    """End this process for an error after which CUDA does nothing more in it; Serve then starts another replica.

    What it had in work HAProxy asks of others, where it fits in a buffer.
    """
    if isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and "CUDA error" in str(error)):
        logger().critical("The device cannot be used any more, and so the process ends: %s", error)
        os._exit(1)
