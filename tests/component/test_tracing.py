"""One trace from a producer to the receiver, as a collector gets it over OTLP, and nothing in it that is secret."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from controlplane.ports import free_port
from doubles import own
from doubles.local import hook, publish, receiver_of, sender, until, until_stored, write_book
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.runtime import telemetry
from hookline.stream.admission import Admission
from hookline.stream.connection import Client

CANARY = "canary-8d1f"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass
class Collector:
    """What came by OTLP, also as it came."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""

    def named(self, begins: str) -> list[Span]:
        return [each for each in self.spans if each.name.startswith(begins)]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.raw += body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                found.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    telemetry.set_up("hookline-test")
    assert telemetry.tracing is not None
    yield found
    telemetry.shut_down()
    server.shutdown()
    thread.join()
    server.server_close()


async def sent() -> None:
    assert telemetry.tracing is not None
    assert await asyncio.to_thread(telemetry.tracing.flush)


async def test_a_trace_goes_from_the_producer_over_a_retry_to_the_receiver_without_a_secret(
    tmp_path: Path, nats_server: NatsServer, queue: Client, collector: Collector
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500), Answer(200)) as receiver:
        route, keys = hook("one", receiver)
        keys = keys.model_copy(update={"query": CANARY, "headers": (("x-key", CANARY),)})
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url):
            admission = await Admission.at(queue)
            await admission.store(
                "default",
                "IdentityCreated",
                f'{{"x": "{CANARY}"}}'.encode(),
                context={"traceparent": PARENT},
                patience_seconds=10,
            )
            await until(lambda: len(calls) == 2, what="the retry")
    await sent()
    (published,), (fanned,) = collector.named("publish"), collector.named("fan-out")
    first, second = collector.named("attempt")
    assert {each.trace_id.hex() for each in collector.spans} == {PARENT[3:35]}
    assert published.parent_span_id.hex() == PARENT[36:52]
    assert fanned.parent_span_id == published.span_id
    assert first.parent_span_id == second.parent_span_id == fanned.span_id
    assert ([each.span_id for each in first.links], [each.span_id for each in second.links]) == ([], [first.span_id])
    told = [each.headers["traceparent"].split("-")[2] for each in calls]
    assert told == [first.span_id.hex(), second.span_id.hex()]
    attributes = {each.key: each.value for each in first.attributes}
    assert attributes["url.full"].string_value == route.url
    assert (attributes["error.type"].string_value, attributes["http.response.status_code"].int_value) == (
        "HTTPStatus", 500,
    )  # fmt: skip
    assert CANARY.encode() not in collector.raw
    assert b"whsec_" not in collector.raw


async def test_a_collector_that_is_away_slows_nothing_and_is_told_once(
    tmp_path: Path, nats_server: NatsServer, queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    telemetry.set_up("hookline-test")
    assert telemetry.tracing is not None
    calls: list[ReceivedCall] = []
    try:
        async with receiver_of(calls) as receiver:
            write_book(tmp_path / "book", hook("one", receiver))
            async with sender(tmp_path / "book", nats_server.url):
                await publish(queue, 100)
                await until(lambda: len(calls) == 100, what="the calls")
    finally:
        await asyncio.to_thread(telemetry.shut_down)
    # Nothing goes on trying.
    assert not [each for each in threading.enumerate() if each.name == "traces" or "Batch" in each.name]


async def test_without_tracing_the_receiver_is_told_the_producers_span_unless_it_is_none_or_the_webhook_has_its_own(
    tmp_path: Path, nats_server: NatsServer, queue: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        one, (two, keys) = hook("one", receiver), hook("two", receiver)
        keys = keys.model_copy(update={"headers": (("Traceparent", "mine"),)})
        write_book(tmp_path / "book", one, (two, keys))
        async with sender(tmp_path / "book", nats_server.url):
            await publish(queue, context={"traceparent": PARENT})
            await publish(queue, context={"traceparent": "00-1"})
            await publish(queue)
            await until(lambda: len(calls) == 6, what="the calls")
            await until_stored(queue, own.EVENTS, 3)
    told = sorted((each.path_and_query, each.headers.get("traceparent", "")) for each in calls)
    assert told == [("/one", ""), ("/one", ""), ("/one", PARENT), *[("/two", "mine")] * 3]
