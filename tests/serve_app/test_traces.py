"""Traces of requests: a real endpoint with HAProxy before it, and a receiver that reads what it is sent."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from test_cli import ROOT, visage

from k8s.servers import Server
from serve_app.ingress import free_ports, haproxy_available
from tests.faces.photos import face as drawn
from tests.faces.photos import photograph
from tests.otlp import Receiver, receiver
from tests.serve_app.samples import face, make_bundle, png

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def served(folder: Path, *, needs_key: bool = False, **more: str) -> Iterator[str]:
    """`visage serve` as a process with a Ray of its own; its address."""
    (port,) = free_ports(1)
    make_bundle(folder / "bundle")
    settings: dict[str, Any] = {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "port": port, "model": "bundle"}
    settings |= {"replicas": {"max": 1}, "access": {"required": False}}
    if needs_key:
        settings["access"] = {"keys": str(folder / "keys")}
    (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
    log, command = folder / "serve.log", [sys.executable, "-m", "visage.cli", "serve", "serve.yaml"]
    own = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    own.pop("RAY_ADDRESS", None)
    environment = own | {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}", **more}
    with Server(folder, "serve", command, lambda: "answers at" in log.read_text(), environment, cwd=folder):
        yield f"http://127.0.0.1:{port}"


def ask(url: str, image: bytes, aligned: str = "false", **headers: str) -> httpx.Response:
    files, asked = {"image": ("anna-smith.png", image)}, {"expression": "happy", "aligned": aligned}
    return httpx.post(f"{url}/v1/expressions", files=files, data=asked, headers=headers, timeout=120)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, str, str]]:
    """What was received, the endpoint's address and a key that opens it."""
    folder = tmp_path_factory.mktemp("traced")
    made = visage("key", "anna-smith", "--keys", "keys", folder=folder)
    key = next(word for word in made.stdout.split() if word.startswith("visage_"))
    with receiver() as received, served(folder, needs_key=True, **received.variables) as url:
        yield received, url, key


@pytest.mark.serve
@pytest.mark.slow
@pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy")
def test_a_request_is_a_tree_from_haproxy_to_its_answer(traced: tuple[Receiver, str, str]) -> None:
    received, url, key = traced
    told = {"Authorization": f"Bearer {key}", "traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "by=anna-smith"}
    answer = ask(url, png(photograph(drawn(1, "neutral"))), **told)
    assert answer.status_code == 200, answer.text
    received.wait(lambda: bool(received.named("POST /v1/expressions") and received.named("networks")))
    (request,) = [span for span in received.spans if span.trace == TRACE and span.parent == CALLER]
    assert (request.name, request.service) == ("POST /v1/expressions", "visage")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/expressions",
        "http.response.status_code": 200,
    }
    assert received.under(request) == ["ingress", "form", "picture", "face", "align", "queue", "networks", "encode"]
    for span in received.spans:
        if span.trace == TRACE and span.name != "encode":
            assert request.start <= span.start <= span.end <= request.end + 1_000_000
    (ingress,) = [span for span in received.named("ingress") if span.trace == TRACE]
    assert ingress.start == request.start
    # The batch is a trace of its own, and each links to the other.
    (batch,) = [span for span in received.named("networks") if request.id in span.links]
    assert batch.trace != TRACE
    assert not batch.parent
    assert batch.attributes == {"visage.requests": 1, "visage.faces": 1}
    assert received.under(batch) == ["forward", "encode"]
    (within,) = [span for span in received.named("networks") if span.trace == TRACE]
    assert within.links == (batch.id,)


@pytest.mark.serve
@pytest.mark.slow
def test_a_batch_links_all_its_requests_and_a_refusal_is_a_trace_too(traced: tuple[Receiver, str, str]) -> None:
    received, url, key = traced
    before = len(received.named("POST /v1/expressions"))
    with ThreadPoolExecutor(16) as threads:
        image, told = png(face()), {"Authorization": f"Bearer {key}"}
        answers = list(threads.map(lambda _: ask(url, image, "true", **told), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    refused = ask(url, png(face()))
    assert refused.status_code == 401
    unsampled = ask(url, png(face()), traceparent=f"00-{'1' * 32}-{'2' * 16}-00")
    malformed = ask(url, png(face()), traceparent="anna-smith")
    assert unsampled.status_code == malformed.status_code == 401
    received.wait(lambda: len(received.named("POST /v1/expressions")) == before + 66)
    roots = received.named("POST /v1/expressions")[before:]
    assert sum(span.attributes["http.response.status_code"] == 401 for span in roots) == 2
    assert not [span for span in roots if span.trace == "1" * 32]
    assert len({span.trace for span in roots}) == 66
    batches = [span for span in received.named("networks") if not span.parent]
    assert all(len(span.links) == span.attributes["visage.requests"] for span in batches)
    assert {span.id for span in roots if span.attributes["http.response.status_code"] == 200} <= {
        link for span in batches for link in span.links
    }


@pytest.mark.serve
@pytest.mark.slow
def test_nothing_of_a_caller_is_in_it(traced: tuple[Receiver, str, str]) -> None:
    received, url, key = traced
    httpx.get(f"{url}/v1/anna-smith?key={key}", headers={"X-Request-Id": "anna-smith"})
    httpx.request("PROPFIND", f"{url}/v1/model")
    httpx.get(f"{url}/healthz")
    received.wait(lambda: bool(received.named("_OTHER /v1/model") and received.named("GET other")))
    assert not [span for span in received.spans if "healthz" in span.name]
    whole = b"".join(received.raw)
    for secret in (b"anna", b"PROPFIND", key.encode(), key.encode()[-20:], b"PNG", b"IHDR"):
        assert secret not in whole
    assert {span.scope for span in received.spans} == {"visage"}  # MLflow's and Ray's own stay off


@pytest.mark.slow
def test_without_the_variable_nothing_is_imported_and_a_span_costs_nothing() -> None:
    script = """
import sys, time
from visage.infra import traces
assert not traces.is_on()
with traces.root("a", "00-%s-%s-01") as span:
    assert span is None
with traces.span("b"), traces.within("c", None), traces.batch("d", [traces.asked()]):
    pass
assert traces.begin("e") is traces.here() is traces.asked() is None
traces.past("f", 1)
traces.flush()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]

import numpy as np
from visage.faces.picture import encode_picture
def best(work):
    times = []
    for _ in range(20):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
def spans():
    for _ in range(10):  # as many as a request has
        with traces.span("b"):
            pass
picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
print(best(spans) / best(lambda: encode_picture(picture, xmp=b"")))
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment = {**kept, "PYTHONPATH": f"{ROOT / 'platform'}"}
    command = [sys.executable, "-c", script % (TRACE, CALLER)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.05  # of the time that one face of 64 px takes to become a PNG


def test_other_variables_switch_it_off() -> None:
    script = "from visage.infra import traces; print(traces.is_on())"
    for more, on in (({}, True), ({"OTEL_SDK_DISABLED": "true"}, False), ({"OTEL_TRACES_EXPORTER": "none"}, False)):
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **more}
        environment["PYTHONPATH"] = str(ROOT / "platform")
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == str(on)
