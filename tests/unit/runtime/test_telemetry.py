"""Traces: off without an endpoint, and in nobody's way with one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hookline.runtime import telemetry
from hookline.runtime.telemetry import Kind, Tracing, is_traceparent

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider)


@pytest.fixture(autouse=True)
def off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in telemetry.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    yield
    telemetry.shut_down()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (PARENT, True),
        (PARENT.replace("01", "00"), True),
        ("", False),
        ("00-1", False),
        (PARENT.upper(), False),
        (f"{PARENT}\n", False),
        (f"{PARENT}-x", False),
        (PARENT.replace("00-", "01-", 1), False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", False),
    ],
)
def test_what_names_a_span_is_told_from_what_does_not(text: str, is_one: bool) -> None:
    assert is_traceparent(text) is is_one


def test_a_span_follows_from_its_parent_is_linked_and_says_how_it_failed(
    tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    first = tracing.begin("first", Kind.PRODUCER, {"a": 1}, parent=PARENT, since_s=5.0)
    assert is_traceparent(first.traceparent)
    second = tracing.begin("second", Kind.CLIENT, {}, parent=first.traceparent, link=PARENT)
    second.end({"b": "c"}, failed="HTTPStatus")
    first.end()
    one, two = spans.get_finished_spans()[::-1]
    assert (one.context is not None, one.start_time, dict(one.attributes or {})) == (True, 5_000_000_000, {"a": 1})
    assert f"{one.parent.trace_id:032x}" == PARENT[3:35]  # type: ignore[union-attr]
    assert (two.parent, [f"{each.context.span_id:016x}" for each in two.links]) == (
        two.parent, ["00f067aa0ba902b7"],
    )  # fmt: skip
    assert two.parent is not None
    assert f"{two.parent.span_id:016x}" == first.traceparent[36:52]
    assert dict(two.attributes or {}) == {"b": "c", "error.type": "HTTPStatus"}


def test_what_names_no_span_begins_a_trace_and_is_linked_to_nothing(
    tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    tracing.begin("one", Kind.CLIENT, {}, parent="nonsense", link="00-1").end()
    (span,) = spans.get_finished_spans()
    assert (span.parent, list(span.links)) == (None, [])


def test_a_producer_that_does_not_sample_is_not_sampled(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    span = tracing.begin("one", Kind.CLIENT, {}, parent=f"{PARENT[:-2]}00")
    span.end()
    assert spans.get_finished_spans() == ()
    assert span.traceparent[:36] == PARENT[:36]
    assert span.traceparent[-2:] == "00"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_is_traced(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    telemetry.set_up("test")
    assert telemetry.tracing is None


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, hookline.cli.main; print('opentelemetry' in sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "False\n"


def test_settings_that_are_not_usable_are_said_and_nothing_is_traced(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    telemetry.set_up("test")
    assert telemetry.tracing is None
    assert "not usable" in "".join(capfd.readouterr())


def test_an_operator_passes_on_where_traces_go_and_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=canary")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    assert telemetry.passed_on() == {}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert telemetry.passed_on() == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_TRACES_SAMPLER": "always_on",
    }


class Away(SpanExporter):
    """As when nobody listens."""

    def __init__(self) -> None:
        self.results = [SpanExportResult.FAILURE, None, SpanExportResult.SUCCESS]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self.results.pop(0)
        if result is None:
            raise OSError
        return result


def test_that_spans_are_lost_is_said_once_and_that_they_are_taken_again(capfd: pytest.CaptureFixture[str]) -> None:
    exporter = telemetry._saying(Away())
    for _ in range(3):
        exporter.export([])
    said = "".join(capfd.readouterr())
    assert (said.count("traces are lost"), said.count("traces are taken again")) == (1, 1)
