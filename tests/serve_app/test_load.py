"""Load and faults: replicas that come, go and die, more requests than can be answered, and callers who mean no good."""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app import app
from serve_app.ingress import free_ports, haproxy_available
from tests.serve_app.hostile import ALLOWED, Hostile, hostile
from tests.serve_app.samples import face, make_bundle, png
from visage.config import Serving, validated

pytestmark = [
    pytest.mark.serve,
    pytest.mark.skipif(not haproxy_available(), reason="without HAProxy the ingress has none of these limits"),
]
QUEUE = 8
UPLOAD_SECONDS = 3.0
ONE = {"expression": (None, "happy"), "aligned": (None, "true")}
PATIENCE = 240  # seconds for what takes a machine of its own a few


@pytest.fixture(scope="module")
def url(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An endpoint of none to two replicas with a short queue, of a network that takes some time."""
    folder = tmp_path_factory.mktemp("load")
    make_bundle(folder / "bundle", size=64, width=32)
    tree = {
        "model": str(folder / "bundle"),
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "port": free_ports(1)[0],
        "replicas": {"min": 0, "max": 2, "target_ongoing_requests": 2, "upscale_seconds": 0, "downscale_seconds": 5},
        "limits": {"queue": QUEUE, "upload_seconds": UPLOAD_SECONDS, "seconds": PATIENCE - 20},
    }
    url = app.serve(validated(Serving, {**tree, "access": {"required": False}}, "test"), block=False)
    yield url
    app.stop()


def replicas() -> list[int]:
    """Process ids of the replicas that answer."""
    from ray.serve.context import _get_global_client

    details = _get_global_client().get_serve_details()
    found = details["applications"]["visage"]["deployments"]["Endpoint"]["replicas"]
    return [each["pid"] for each in found if each["state"] == "RUNNING"]


def wait_for(condition: Callable[[], Any], what: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.1)


def edit(url: str, client: httpx.Client, intensities: int = 1) -> httpx.Response:
    fields = [("image", ("face.png", png(face(size=64)))), *ONE.items()]
    fields += [("intensity", (None, str(1 + step / 100))) for step in range(intensities)]
    return client.post(f"{url}/v1/expressions", files=fields)


class Load:
    """Clients that ask again and again until the block ends, and wait when told to; `answers` is what they got."""

    def __init__(self, url: str, clients: int, intensities: int = 1) -> None:
        self.url, self.clients, self.intensities = url, clients, intensities
        self.answers: list[httpx.Response] = []
        self.ended = threading.Event()

    def _ask(self) -> None:
        with httpx.Client(timeout=PATIENCE) as client:
            while not self.ended.is_set():
                self.answers.append(answer := edit(self.url, client, self.intensities))
                if answer.status_code == 429:
                    self.ended.wait(int(answer.headers["retry-after"]))

    def __enter__(self) -> "Load":
        self.threads = ThreadPoolExecutor(self.clients)
        self.running = [self.threads.submit(self._ask) for _ in range(self.clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for each in self.running:
            each.result()  # raises what a broken connection raised

    def statuses(self) -> Counter[int]:
        return Counter(answer.status_code for answer in self.answers)

    def others(self, *expected: int) -> list[tuple[int, str]]:
        """Answers of other statuses than expected."""
        return [(each.status_code, each.text) for each in self.answers if each.status_code not in expected]


@pytest.mark.soak
def test_a_second_replica_comes_with_load_and_its_end_costs_no_request(url: str) -> None:
    with Load(url, QUEUE // 2) as load:
        wait_for(lambda: len(replicas()) == 2 and len(load.answers) > 2 * QUEUE, "no second replica")
        killed, before = replicas()[0], len(load.answers)
        os.kill(killed, 9)
        wait_for(lambda: killed not in replicas(), "it is not missed")
        wait_for(lambda: len(load.answers) > before + 4 * QUEUE, "no answers after the kill")
    assert not load.others(200)


@pytest.mark.soak
def test_beyond_the_queue_is_a_429_and_nothing_below_is_lost(url: str) -> None:
    with httpx.Client(timeout=PATIENCE) as client:
        edit(url, client)
    with Load(url, 4 * QUEUE, intensities=16) as load:
        wait_for(lambda: load.statuses()[429] and load.statuses()[200] > QUEUE, load.statuses)
    assert not load.others(200, 429)
    for answer in load.answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"].endswith(".")
    with Load(url, QUEUE - 1, intensities=8) as load:
        wait_for(lambda: len(load.answers) > 2 * QUEUE, "no answers")
    assert not load.others(200)


@pytest.mark.parametrize("sent", [100, 100_000])  # held back by HAProxy; and past its buffer, by a replica
def test_slow_callers_hold_nobody_up(url: str, sent: int) -> None:
    with httpx.Client(timeout=PATIENCE) as client:
        edit(url, client)
        slow = [connection(url) for _ in range(4 * QUEUE)]
        head = b"POST /v1/expressions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        for each in slow:
            each.sendall(head + b"Content-Length: 200000\r\n\r\n" + b"-" * sent)
        for _ in range(QUEUE):
            assert edit(url, client).status_code == 200
    for each in slow:
        with each:
            status, _ = answer_of(each)
            assert status == 408


def connection(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def answer_of(source: socket.socket) -> tuple[int, bytes]:
    """The status and the whole of an answer, read until the server closes; 0 when it closes without one."""
    content = b""
    with suppress(ConnectionResetError):
        while chunk := source.recv(65536):
            content += chunk
    while content.startswith(b"HTTP/1.1 100"):
        content = content.split(b"\r\n\r\n", 1)[1]
    return int(content.split(b" ", 2)[1]) if content.startswith(b"HTTP/1.") else 0, content


def send(url: str, request: Hostile) -> tuple[int, bytes]:
    headers = {"host": "x", "connection": "close", "content-length": str(len(request.body)), **request.headers}
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    with connection(url) as target:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was read
            target.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body)
        return answer_of(target)


def resident() -> int:
    """Megabytes of memory that the largest replica holds."""
    pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in replicas()]
    return max(pages) * os.sysconf("SC_PAGE_SIZE") // 10**6


def attack(url: str, count: int, seed: int) -> Counter[tuple[str, int]]:
    """Send so many hostile requests from four threads; what they were and what came back."""
    found: Counter[tuple[str, int]] = Counter()

    def one(request: Hostile) -> None:
        status, content = send(url, request)
        assert b"Traceback" not in content, request.kind
        assert b"/serve_app/" not in content, request.kind
        assert status in ALLOWED or (status == 0 and request.kind.startswith("header")), (request.kind, status, content)
        if request.kind == "good":
            assert status in (200, 429), content
        found[request.kind, status] += 1

    with ThreadPoolExecutor(4) as threads:
        for _ in threads.map(one, hostile(count, seed)):
            pass
    return found


def test_hostile_requests_are_refused_one_by_one(url: str) -> None:
    found = attack(url, 306, seed=1)
    assert found["good", 200] > 10
    with httpx.Client(timeout=PATIENCE) as client:
        assert edit(url, client).status_code == 200


@pytest.mark.soak
def test_without_load_all_replicas_go_and_only_a_request_brings_one_back(url: str) -> None:
    with httpx.Client(timeout=PATIENCE) as client:
        edit(url, client)
        wait_for(lambda: not replicas(), "the replicas stay")
        wait_for(lambda: client.get(f"{url}/healthz").json() == {"status": "asleep"}, "not asleep")
        for _ in range(20):
            assert client.get(f"{url}/healthz").json() == {"status": "asleep"}
            time.sleep(0.1)
        assert not replicas()
        assert edit(url, client).status_code == 200
    assert replicas()


@pytest.mark.soak
def test_ten_thousand_hostile_requests_leave_memory_as_it_was(url: str) -> None:
    with httpx.Client(timeout=PATIENCE) as client:
        edit(url, client)
        attack(url, 1000, seed=2)
        before = resident()
        found = attack(url, 10_000, seed=3)
        after = resident()
        print(f"{before} MB before, {after} MB after; {sorted(found.items())}")
        assert edit(url, client).status_code == 200
    assert after < 1.1 * before + 50
