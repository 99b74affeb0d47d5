"""A load generator that costs little beside what it measures: one process, one event loop, requests made beforehand.

    python benchmarks/load.py URL [--clients 32] [--seconds 20]

Each client has a connection of its own and asks again as soon as it is answered: an aligned PNG face and one
expression as a form, `Accept: image/png`. It prints one line of JSON: requests a second, percentiles of their times,
and the CPU time that the server (`--server PID`, with its descendants) and this process spent on one request. Every
answer must be a picture, or JSON with one; anything else ends the run.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.served import EXPRESSIONS, sample_faces

BOUNDARY = b"visage-benchmark"
# What an answer begins with: the picture, or the JSON around it.
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b'{"results"')


def request_of(face: bytes, expression: str, host: str, path: str, accept: str) -> bytes:
    """A whole HTTP request, headers and form."""
    parts = [
        b'Content-Disposition: form-data; name="image"; filename="face.png"\r\nContent-Type: image/png\r\n\r\n' + face,
        b'Content-Disposition: form-data; name="expression"\r\n\r\n' + expression.encode(),
        b'Content-Disposition: form-data; name="aligned"\r\n\r\ntrue',
    ]
    body = b"".join(b"--" + BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + BOUNDARY + b"--\r\n"
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"Accept: {accept}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Client(asyncio.Protocol):
    """One connection: writes a request, reads its answer, and goes on until `until`."""

    def __init__(self, requests: list[bytes], first: int, step: int, times: list[float], until: float) -> None:
        self.requests, self.number, self.step, self.times, self.until = requests, first, step, times, until
        self.buffer = bytearray()
        self.expected = -1
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.buffer.clear()
        self.expected = -1
        self.start = time.perf_counter()
        self.transport.write(self.requests[self.number % len(self.requests)])  # type: ignore[attr-defined]
        self.number += self.step

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.expected < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            if not head.startswith(b"http/1.1 200") or (place := head.find(b"content-length:")) < 0:
                self.fail(f"{bytes(self.buffer[:600])!r}")
                return
            self.start_of_body = end + 4
            self.expected = end + 4 + int(head[place + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < self.expected:
            return
        now = time.perf_counter()
        if not self.buffer.startswith(SIGNATURES, self.start_of_body):
            self.fail("the answer is no picture")
            return
        self.times.append(now - self.start)
        if now < self.until:
            self.ask()
        else:
            self.ended.set_result(None)
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"the connection broke ({error})")

    def fail(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(reason))


def cpu_of(root: int) -> float:
    """Seconds of CPU that a process and its descendants have used so far, this one left out; 0 where /proc is not."""
    used: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        process = int(path.parent.name)
        used[process] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        children.setdefault(int(words[1]), []).append(process)
    found, total = [root], 0.0
    while found:
        process = found.pop()
        if process != os.getpid():
            total += used.get(process, 0.0)
            found += children.get(process, [])
    return total


async def load(url: str, clients: int, seconds: float, warm_up: float, accept: str, server: int) -> dict[str, float]:
    """So many clients for so long, after a warm-up that is not counted. server: its process."""
    parts = urlsplit(url)
    faces = sample_faces(64)
    requests = [
        request_of(face, EXPRESSIONS[number % len(EXPRESSIONS)], parts.netloc, parts.path, accept)
        for number, face in enumerate(faces)
    ]
    loop = asyncio.get_running_loop()
    times: list[float] = []
    for length in (warm_up, seconds):
        times.clear()
        start, spent, served = time.perf_counter(), time.process_time(), cpu_of(server)
        made = [
            await loop.create_connection(
                lambda number=number, until=start + length: Client(requests, number, clients, times, until),  # type: ignore[misc]
                parts.hostname,
                parts.port,
            )
            for number in range(clients)
        ]
        await asyncio.gather(*(client.ended for _, client in made))
        took, spent = time.perf_counter() - start, time.process_time() - spent
        served = cpu_of(server) - served
    p50, p95, p99 = (round(float(value) * 1000, 1) for value in np.percentile(times, (50, 95, 99)))
    return {
        "requests_per_s": round(len(times) / took, 1),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "server_cpu_ms": round(1000 * served / len(times), 3),
        "generator_cpu_ms": round(1000 * spent / len(times), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--server", type=int, default=0)
    parser.add_argument("--accept", default="image/png")
    parser.add_argument("--warm-up", type=float, default=3)
    arguments = parser.parse_args()
    times = (arguments.seconds, arguments.warm_up)
    work = load(arguments.url, arguments.clients, *times, arguments.accept, arguments.server)
    print(json.dumps(uvloop.run(work)))


if __name__ == "__main__":
    main()
