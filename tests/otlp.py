"""A receiver of OpenTelemetry's traces on loopback, for tests."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECONDS = 120  # of a machine that is busy otherwise


@dataclass(frozen=True)
class Span:
    """A span as it arrived; ids in hex. links: of spans elsewhere."""

    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    links: tuple[str, ...]
    scope: str
    service: str


@dataclass
class Receiver:
    """variables: those of a process that is to send here. raw: the bodies as they arrived."""

    variables: dict[str, str]
    spans: list[Span] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def under(self, span: Span) -> list[str]:
        """Names of what lies within a span, in the order of their beginnings."""
        return [each.name for each in sorted(self.spans, key=lambda each: each.start) if each.parent == span.id]

    def wait(self, there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not there():
            assert time.monotonic() < deadline, [(span.name, span.trace[:6]) for span in self.spans]
            time.sleep(0.1)


@contextmanager
def receiver() -> Iterator[Receiver]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            received.raw.append(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = _attributes(resource.resource)["service.name"]
                for scope in resource.scope_spans:
                    received.spans += [_span(each, scope.scope.name, service) for each in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = f"http://127.0.0.1:{server.server_port}"
    received = Receiver({"OTEL_EXPORTER_OTLP_ENDPOINT": here, "OTEL_BSP_SCHEDULE_DELAY": "200"})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield received
    server.shutdown()
    server.server_close()


def _span(each: Any, scope: str, service: str) -> Span:
    ids = (each.trace_id.hex(), each.span_id.hex(), each.parent_span_id.hex())
    links = tuple(link.span_id.hex() for link in each.links)
    times = (each.start_time_unix_nano, each.end_time_unix_nano)
    return Span(each.name, *ids, *times, _attributes(each), links, scope, service)


def _attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}
