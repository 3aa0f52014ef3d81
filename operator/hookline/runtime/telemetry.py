"""Traces, by OpenTelemetry. The only module that imports it, and only where an endpoint is set: see docs/tracing.md.

Decides how a span begins, how it ends and where it goes; what is traced is decided by who does it. An attribute never
holds a body, a secret or the query of a URL. Nothing waits for a span: it is put into a bounded queue, from which a
thread sends. What finds no room there, or cannot be sent, is lost.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext

log = structlog.get_logger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""There are traces where one of these environment variables says where they go."""

_PASSED_ON = (
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
)

LAST_SECONDS = 2.0
"""How long the last spans of a process may take."""

Attributes = Mapping[str, str | int]

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(text: str) -> bool:
    """Whether a text names a span, as version 00 of W3C Trace Context has it."""
    return _TRACEPARENT.fullmatch(text) is not None


class Kind(Enum):
    """What part of a trace a span is, in OpenTelemetry's words."""

    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"
    CLIENT = "CLIENT"


class Span:
    """One that has begun."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: OtelSpan) -> None:
        context = span.get_span_context()
        self._span = span
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        """What goes on to whoever follows."""

    def end(self, attributes: Attributes | None = None, *, failed: str = "") -> None:
        """`failed` is a word for how, empty of what succeeded."""
        from opentelemetry.trace import StatusCode

        for name, value in (attributes or {}).items():
            self._span.set_attribute(name, value)
        if failed:
            self._span.set_attribute("error.type", failed)
            self._span.set_status(StatusCode.ERROR, failed)
        self._span.end()


class Tracing:
    """Begins spans of one process."""

    def __init__(self, provider: TracerProvider, stop_trying: Callable[[], None] = lambda: None) -> None:
        """`stop_trying` ends tries to send what nobody takes."""
        self._provider = provider
        self._stop_trying = stop_trying
        self._tracer = provider.get_tracer("hookline")

    def begin(
        self, name: str, kind: Kind, attributes: Attributes, *, parent: str = "", link: str = "", since_s: float = 0.0
    ) -> Span:
        """A span that follows from the one that `parent` names, or begins a trace. `since_s`: when it began, Unix time,
        if it was not now. What names no span counts as none."""
        from opentelemetry import trace

        before, after = _context_of(link), _context_of(parent) or trace.INVALID_SPAN_CONTEXT
        span = self._tracer.start_span(
            name,
            # Without one it would follow from whatever is under way in this task.
            context=trace.set_span_in_context(trace.NonRecordingSpan(after)),
            kind=trace.SpanKind[kind.value],
            attributes=dict(attributes),
            links=[trace.Link(before)] if before is not None else [],
            start_time=int(since_s * 1e9) if since_s else None,
        )
        return Span(span)

    def flush(self) -> bool:
        """Send what waits to be sent; whether that was done."""
        return self._provider.force_flush(int(LAST_SECONDS * 1000))

    def close(self) -> None:
        """Send what waits, as far as that can be done soon."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(LAST_SECONDS)
        if closing.is_alive():
            self._stop_trying()
            closing.join(LAST_SECONDS)


tracing: Tracing | None = None
"""None where nothing is traced: whoever could trace looks at this, and at nothing else."""


def set_up(service: str) -> None:
    """Trace from now on, if the environment says where to. `service` is what the process is called, unless
    OTEL_SERVICE_NAME says otherwise."""
    global tracing  # one for the process, as logs are
    if tracing is not None or not any(map(os.environ.get, ENDPOINTS)) or _is_disabled():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
        tracing = Tracing(_provider(service, exporter), exporter.shutdown)
    except ImportError:
        log.warning("nothing is traced: OpenTelemetry is not installed; pip install 'hookline[otel]'")
    except Exception as error:  # noqa: BLE001  # whatever stands in the environment
        log.warning("nothing is traced: the environment's OTEL_ settings are not usable", problem=type(error).__name__)


def passed_on() -> dict[str, str]:
    """What an operator tells the pods that it makes, if they are to trace. No headers: those hold a token, and a pod's
    environment is no place for it."""
    if not any(map(os.environ.get, ENDPOINTS)):
        return {}
    return {name: os.environ[name] for name in (*ENDPOINTS, *_PASSED_ON) if os.environ.get(name)}


def shut_down() -> None:
    """Trace no more."""
    global tracing
    if tracing is not None:
        tracing.close()
        tracing = None


def _is_disabled() -> bool:
    kinds = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    return os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or kinds.lower() == "none"


def _provider(service: str, exporter: SpanExporter) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # It tells each try of each batch; here it is said once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    # At the end `close` waits, and not for as long as it takes.
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_saying(exporter)))
    return provider


def _saying(exporter: SpanExporter) -> SpanExporter:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Saying(SpanExporter):
        """Says once that spans are lost, and that they are not any more."""

        def __init__(self) -> None:
            self._loses = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                result = exporter.export(spans)
            except Exception:  # noqa: BLE001  # whatever a library raises for what answers there
                result = SpanExportResult.FAILURE
            loses = result is not SpanExportResult.SUCCESS
            if loses and not self._loses:
                log.warning("traces are lost: whoever is to take them does not")
            elif self._loses and not loses:
                log.info("traces are taken again")
            self._loses = loses
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return exporter.force_flush(timeout_millis)

    return Saying()


def _context_of(traceparent: str) -> SpanContext | None:
    from opentelemetry.trace import SpanContext, TraceFlags

    if not is_traceparent(traceparent):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16) & 1))
