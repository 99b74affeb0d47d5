"""Batches: jobs that come one by one, run together in a thread, or in several.

`serve.batch` does the same on the event loop, where each arrival wakes it to count the batch anew; beside small models
that costs as much as reading the request. Here the loop only leaves a job, and the thread takes what is there as soon
as it is free. A job whose caller has given up in the meantime is not run.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Batches(Generic[J, R]):
    """Runs jobs together up to `size` in weight; the first of a batch waits `wait_s` for others.

    A job heavier than `size` runs alone. What `run` raises reaches all callers of its batch. threads: batches side by
    side. begin: called in each thread before its first batch. name: of the threads.
    """

    def __init__(
        self, run: Callable[[Sequence[J]], Sequence[R]], *, size: int, wait_s: float, weight: Callable[[J], int],
        threads: int = 1, begin: Callable[[], object] = lambda: None, name: str = "networks",
    ) -> None:  # fmt: skip
        self._run, self._size, self._wait_s, self._weight = run, size, wait_s, weight
        self._changed = threading.Condition()
        self._waiting: deque[tuple[J, int, asyncio.Future[R]]] = deque()
        self._total = 0
        self._idle = 0
        self._begin = begin
        for _ in range(threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def waiting(self) -> int:
        """Jobs that no batch has taken yet."""
        return len(self._waiting)

    async def __call__(self, job: J) -> R:
        """The job's result. Call it on one event loop only."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        weight = self._weight(job)
        with self._changed:
            self._waiting.append((job, weight, future))
            self._total += weight
            if self._idle and (len(self._waiting) == 1 or self._total >= self._size):
                self._changed.notify()
        return await future

    def _work(self) -> None:
        self._begin()
        while True:
            batch = self._next()
            if not batch:
                continue
            loop = batch[0][1].get_loop()
            try:
                results = self._run([job for job, _ in batch])
            except Exception as error:
                loop.call_soon_threadsafe(_fail, [future for _, future in batch], error)
            else:
                loop.call_soon_threadsafe(_deliver, [future for _, future in batch], results)
            del batch

    def _next(self) -> list[tuple[J, asyncio.Future[R]]]:
        with self._changed:
            self._idle += 1
            while not self._waiting:
                self._changed.wait()
            until = time.monotonic() + self._wait_s
            while self._total < self._size and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            self._idle -= 1
            batch: list[tuple[J, asyncio.Future[R]]] = []
            total = 0
            while self._waiting and (not batch or total + self._waiting[0][1] <= self._size):
                job, weight, future = self._waiting.popleft()
                self._total -= weight
                if not future.cancelled():
                    batch.append((job, future))
                    total += weight
            return batch


def _deliver(futures: Sequence["asyncio.Future[R]"], results: Sequence[R]) -> None:
    for future, result in zip(futures, results, strict=True):
        if not future.done():
            future.set_result(result)


def _fail(futures: Sequence["asyncio.Future[R]"], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
