"""Traces for OpenTelemetry: what a request, and a trial of a study, spends its time on.

OpenTelemetry's own variables switch them on, and nothing is imported until then. The provider is Visage's own and never
the process's, so that MLflow and Ray find theirs as if there were none here. Attributes are numbers and words of this
code: no picture, no key, no name of anybody, no text of an error, and of what callers send only `traceparent`.
"""

import atexit
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SERVICE = "visage"  # unless OTEL_SERVICE_NAME says another
LAST_SECONDS = 1.0  # that an end waits for a receiver
NOTHING: AbstractContextManager[None] = nullcontext()
Attribute = bool | int | float | str


class _Tracers(NamedTuple):
    """usual: by the sampler of OTEL_TRACES_SAMPLER. always: for what is only begun for a trace that is kept."""

    usual: "Tracer"
    always: "Tracer"
    flush: Any


@dataclass(frozen=True)
class Asked:
    """Who waits for a batch: the context of a span, and since when, in nanoseconds."""

    context: "Context"
    since: int


class Long:
    """A span that no block of code is, until `end`. traceparent: what others in it are told."""

    def __init__(self, span: "Span") -> None:
        self._span, self.traceparent = span, _told(span)

    def end(self, **attributes: Attribute) -> None:
        self._span.set_attributes(_named(attributes))
        self._span.end()


def root(
    name: str, traceparent: str | None = None, *, since: int | None = None, served: bool = False, **more: Attribute
) -> AbstractContextManager["Span | None"]:
    """A span that begins a trace, or goes on with another process's. Yields None where traces are off.

    traceparent: W3C's, of any origin; one that is malformed begins a trace. since: when it began, in nanoseconds, if
    that is earlier. served: it answers a request.
    """
    tracers = _tracers()
    if tracers is None:
        return NOTHING
    return _opened(tracers.usual, name, _context(traceparent), since, served, more)


def within(name: str, traceparent: str | None, **attributes: Attribute) -> AbstractContextManager["Span | None"]:
    """A span of the trace that another process, or thread, is in; nothing where that told of none."""
    tracers = _tracers() if traceparent else None
    if tracers is None:
        return NOTHING
    return _opened(tracers.usual, name, _context(traceparent), None, False, attributes)


def span(name: str, **attributes: Attribute) -> AbstractContextManager["Span | None"]:
    """A span within the one around it, in this thread or task; nothing where there is none."""
    tracers = _tracers()
    if tracers is None or not _recording():
        return NOTHING
    return _opened(tracers.usual, name, None, None, False, attributes)


def begin(name: str, **attributes: Attribute) -> Long | None:
    """A trace that others go on with, and that ends when `end` is called. None where traces are off."""
    tracers = _tracers()
    return tracers and Long(tracers.usual.start_span(name, _context(None), attributes=_named(attributes)))


def here() -> str | None:
    """The traceparent of the span around, for another process. None where there is none."""
    if _tracers() is None or not _recording():
        return None
    from opentelemetry.trace import get_current_span

    return _told(get_current_span())


def asked() -> Asked | None:
    """What a job keeps of the span around it, until a batch takes it. None where there is none."""
    if _tracers() is None or not _recording():
        return None
    from opentelemetry.context import get_current

    return Asked(get_current(), time.time_ns())


@contextmanager
def batch(name: str, waited: Iterable[Asked | None], **attributes: Attribute) -> Iterator[None]:
    """A batch as a trace of its own, linked to all whose jobs are in it. Each of these gets a span `queue`, from its
    `since` to here, and one of the batch's name, linked to the batch. Nothing where nobody in it is traced."""
    tracers = _tracers()
    theirs = [each for each in waited if each] if tracers else []
    if tracers is None or not theirs:
        yield
        return
    from opentelemetry.trace import Link, get_current_span

    links = [Link(get_current_span(each.context).get_span_context()) for each in theirs]
    started = time.time_ns()
    try:
        with _opened(tracers.always, name, _context(None), started, False, attributes, links) as whole:
            back = [Link(whole.get_span_context())]
            yield
    finally:
        ended = time.time_ns()
        for each in theirs:
            tracers.usual.start_span("queue", each.context, start_time=each.since).end(started)
            tracers.usual.start_span(name, each.context, links=back, start_time=started).end(ended)


def past(name: str, since: int) -> None:
    """A span within the one around it that ends now. since: when it began, in nanoseconds."""
    tracers = _tracers()
    if tracers is not None and _recording():
        tracers.usual.start_span(name, start_time=since).end()


def flush() -> None:
    """Send what is there; a receiver that is away is waited for a second."""
    tracers = _tracers()
    if tracers is not None:
        sender = threading.Thread(target=tracers.flush, daemon=True)
        with suppress(RuntimeError):  # Python 3.12 starts none at its own end
            sender.start()
            sender.join(LAST_SECONDS)


@cache
def is_on() -> bool:
    """Whether the variables of this process name a receiver, and none switches traces off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    none = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return any(os.environ.get(name) for name in WHERE) and not off and not none


@cache
def _tracers() -> _Tracers | None:
    if not is_on():
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

    named = SERVICE_NAME in OTELResourceDetector().detect().attributes
    resource = Resource.create({} if named else {SERVICE_NAME: SERVICE})
    sender = BatchSpanProcessor(OTLPSpanExporter())

    def tracer(sampler: Sampler | None) -> "Tracer":
        # Its own end would wait half a minute for a receiver that is away.
        provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        provider.add_span_processor(sender)
        return provider.get_tracer(SERVICE)

    atexit.register(flush)
    return _Tracers(tracer(None), tracer(ALWAYS_ON), sender.force_flush)


def _recording() -> bool:
    from opentelemetry.trace import get_current_span

    return get_current_span().is_recording()


@contextmanager
def _opened(
    tracer: "Tracer", name: str, context: "Context | None", since: int | None, served: bool,
    attributes: dict[str, Attribute], links: Any = (),
) -> Iterator["Span"]:  # fmt: skip
    """The span as the one around the block. Of an error it holds the class alone."""
    from opentelemetry.trace import SpanKind, StatusCode

    with tracer.start_as_current_span(
        name, context, SpanKind.SERVER if served else SpanKind.INTERNAL, _named(attributes), links, since,
        record_exception=False, set_status_on_exception=False,
    ) as opened:  # fmt: skip
        try:
            yield opened
        except Exception as error:
            opened.set_attribute("error.type", type(error).__name__)
            opened.set_status(StatusCode.ERROR)
            raise


def _context(traceparent: str | None) -> "Context":
    """What a trace begins in: what another process told, or nothing. Of `tracestate` nothing is taken over, as callers
    may put anything into it."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent or ""}, Context())


def _told(span: "Span") -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _named(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    return {f"visage.{name}": value for name, value in attributes.items()}
