"""What a replica takes on, and how it runs it: the gate and the batches, without a server."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest

from serve_app.admission import LARGEST_BODIES, OF_ONE_CALLER, Gate
from serve_app.batcher import Batches
from serve_app.inference import Answers
from serve_app.problems import Problem
from serve_app.routes import build_app
from tests.serve_app.samples import face, held, png, run_alone
from visage.config.serving import Limits


class Recorder:
    """Runs batches of numbers, holds the first one back until `go`, and remembers them all."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started, self.go = threading.Event(), threading.Event()

    def run(self, jobs: Sequence[int]) -> list[int]:
        self.batches.append(list(jobs))
        self.started.set()
        assert self.go.wait(60)
        if 13 in jobs:
            raise ValueError("13")
        return [-job for job in jobs]


def run_batches(jobs: Sequence[int], *, cancelled: Sequence[int] = ()) -> tuple[list[list[int]], list[Any]]:
    """Job 1 at first, alone; the others while it runs. The batches of size 8, and the results. A job is its weight."""
    recorder = Recorder()

    async def work() -> list[Any]:
        batches = Batches(recorder.run, size=8, wait_s=0, weight=lambda job: job)
        first = asyncio.create_task(batches(1))
        await asyncio.to_thread(recorder.started.wait, 60)
        others = [asyncio.create_task(batches(job)) for job in jobs]
        await asyncio.sleep(0)
        for place in cancelled:
            others[place].cancel()
        await asyncio.sleep(0)
        recorder.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    return recorder.batches, asyncio.run(work())


def test_jobs_that_wait_run_together_up_to_the_size() -> None:
    batches, results = run_batches([3, 5, 2, 20, 4])
    assert batches == [[1], [3, 5], [2], [20], [4]]
    assert results == [-1, -3, -5, -2, -20, -4]


def test_a_job_whose_caller_has_left_is_not_run() -> None:
    batches, results = run_batches([2, 3, 4], cancelled=[1])
    assert batches == [[1], [2, 4]]
    assert [result for result in results if isinstance(result, int)] == [-1, -2, -4]


def test_what_fails_fails_for_its_batch_alone() -> None:
    batches, results = run_batches([13, 2])
    assert batches == [[1], [13], [2]]
    assert isinstance(results[1], ValueError)
    assert results[2] == -2


def test_the_gate_holds_so_many_and_no_more() -> None:
    gate = Gate(Limits(queue=2, megabytes=1))
    with gate.place():
        with gate.place(), pytest.raises(Problem) as refused, gate.place():
            pass
        assert refused.value.status == 429
        assert refused.value.headers == {"Retry-After": "1"}
        with gate.place():  # one has left
            pass


def test_bodies_are_counted_as_they_arrive_and_no_caller_gets_all() -> None:
    gate = Gate(Limits(megabytes=1))
    with ExitStack() as bodies:
        for number in range(LARGEST_BODIES):
            bodies.enter_context(gate.body(None))(10**6)
            assert gate.held == (number + 1) * 10**6
        with pytest.raises(Problem, match="at once") as refused, gate.body("anna") as arrived:
            arrived(1)
        assert refused.value.status == 429
    assert gate.held == 0
    with ExitStack() as bodies:
        annas = [bodies.enter_context(gate.body("anna")) for _ in range(2 * LARGEST_BODIES)]  # and nothing arrives
        for arrived in annas[:OF_ONE_CALLER]:
            arrived(10**6)
        with pytest.raises(Problem, match="anna is sending") as refused:
            annas[-1](1)
        assert refused.value.status == 429
        with gate.body("ben") as arrived:
            arrived(10**6)


def test_bodies_that_are_announced_and_do_not_come_keep_nobody_out(bundle: Any) -> None:
    """One caller's requests of the largest size, of which the first bytes come; another one's is answered."""
    answers = Answers(run_alone, megapixels=1, self_check=False)
    app = build_app(held(bundle), answers, Limits(megabytes=1, upload_seconds=60))

    async def ask() -> httpx.Response:
        stopped = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"--x\r\n"
            await stopped.wait()

        headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(10**6)}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            post = partial(client.post, "/v1/expressions")
            others = [asyncio.create_task(post(content=slow(), headers=headers)) for _ in range(2 * LARGEST_BODIES)]
            await asyncio.sleep(0.1)
            answer = await post(files={"image": png(face())}, data={"aligned": "true"})
            stopped.set()
            assert {(await other).status_code for other in others} == {400}  # they were waited for, and broke off
            return answer

    assert asyncio.run(ask()).status_code == 200


def test_a_slow_body_is_a_408(request_app: Callable[..., httpx.Response]) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.sleep(60)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = request_app("POST", "/v1/expressions", content=slow(), headers=headers, upload_seconds=0.2)
    assert answer.status_code == 408
    assert "0.2 seconds" in answer.json()["detail"]
