"""Receivers that try to hold, fill or confuse a sender: bounded bytes, bounded time, the right word.

Bounds are on what the receiver could send before the sender hung up, and on memory; never on speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

from doubles.loops import LoopFactory, on_both_loops
from doubles.raw_receiver import OK, Line, RawReceiver, answering
from hookline.delivery.http.answer_framing import MAX_BODY_BYTES_KEPT
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.http.pool import ReceivingEnd
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

MIB = 1024 * 1024
LOCAL = EgressPolicy(parse_cidrs(["127.0.0.0/8"]))


def call_to(port: int, trust: TlsMaterial, *, timeout_seconds: float = 20, body: bytes = b"{}") -> Call:
    return Call(f"https://127.0.0.1:{port}/hook", (), body, timeout_seconds, trust)


@dataclass
class Flood:
    """Says `start`, then `piece` for ever. Remembers how much of it could be sent until the sender hung up."""

    start: bytes
    piece: bytes
    sent: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, line: Line) -> None:
        try:
            await line.hear()
            await line.say(self.start)
            # A closed connection takes writes for a while and drops them.
            while not line.writer.transport.is_closing():
                await line.say(self.piece)
                self.sent += len(self.piece)
                await asyncio.sleep(0)
        finally:
            self.over.set()


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

FLOODS = {
    "body": (HEAD + b"\r\n", b"x" * 16384, Reason.DELIVERED),
    "chunked body": (CHUNKED, b"1\r\nx\r\n" * 2048, Reason.DELIVERED),
    "body that claims to be a gzip": (
        HEAD + b"content-encoding: gzip\r\n\r\n",
        gzip.compress(bytes(MIB)),
        Reason.DELIVERED,
    ),
    "status line": (b"HTTP/1.1 200 ", b"O" * 16384, Reason.BAD_RESPONSE),
    "header": (HEAD + b"x: ", b"y" * 16384, Reason.BAD_RESPONSE),
    "header name": (HEAD, b"y" * 16384, Reason.BAD_RESPONSE),
    "headers": (HEAD, b"x: y\r\n" * 2048, Reason.BAD_RESPONSE),
    "folded header": (HEAD + b"x: y\r\n", b" z\r\n" * 2048, Reason.BAD_RESPONSE),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 512, Reason.BAD_RESPONSE),
    "102 Processing": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 512, Reason.BAD_RESPONSE),
    "103 Early Hints": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 512, Reason.BAD_RESPONSE),
    "chunk extension": (CHUNKED + b"5;", b"e" * 16384, Reason.DELIVERED),
    "chunk size": (CHUNKED, b"0" * 16384, Reason.DELIVERED),
    "trailer": (CHUNKED + b"0\r\nx: ", b"y" * 16384, Reason.DELIVERED),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 2048, Reason.DELIVERED),
    "answers": (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 512, Reason.DELIVERED),
    "no HTTP": (b"", b"\x00\x01\x02\x03" * 4096, Reason.BAD_RESPONSE),
    "HTTP/0.9": (b"<html>", b"<p>hello</p>\n" * 1024, Reason.BAD_RESPONSE),
    "empty lines": (b"", b"\r\n" * 8192, Reason.BAD_RESPONSE),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_cut_off(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, name: str) -> None:
    start, piece, reason = FLOODS[name]
    flood = Flood(start, piece)
    tracemalloc.start()
    try:
        async with RawReceiver(tls, flood) as receiver:
            outcome = await caller.call(call_to(receiver.port, trust, timeout_seconds=8))
            await asyncio.wait_for(flood.over.wait(), 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert outcome.reason is reason, outcome
    assert len(outcome.answer) <= MAX_BODY_BYTES_KEPT
    assert flood.sent < 16 * MIB
    assert peak < 48 * MIB


@dataclass
class Drip:
    """Says `start`, then one byte of `text` at a time, until the sender hangs up."""

    start: bytes
    text: bytes

    async def __call__(self, line: Line) -> None:
        await line.hear()
        await line.say(self.start)
        while True:
            for byte in self.text:
                await line.say(bytes([byte]))
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("drip", "reason", "status"),
    [
        (Drip(b"", b"HTTP/1.1 200 OK" + b" " * 1000), Reason.FIRST_BYTE_TIMEOUT, None),
        (Drip(HEAD, b"x: " + b"y" * 1000), Reason.FIRST_BYTE_TIMEOUT, None),
        (Drip(b"", b"HTTP/1.1 102 P\r\n\r\n"), Reason.FIRST_BYTE_TIMEOUT, None),
        (Drip(HEAD + b"\r\n", b"x"), Reason.TIMEOUT, 200),
        (Drip(CHUNKED, b"1\r\nx\r\n"), Reason.TIMEOUT, 200),
        (Drip(CHUNKED, b"0" * 1000), Reason.TIMEOUT, 200),
    ],
)
async def test_a_drip_ends_with_the_time_of_the_call(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, drip: Drip, reason: Reason, status: int | None
) -> None:
    async with RawReceiver(tls, drip) as receiver:
        outcome = await caller.call(call_to(receiver.port, trust, timeout_seconds=0.5))

    assert (outcome.reason, outcome.status) == (reason, status)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", Reason.CONNECTION_RESET),
        (b"HTTP/1.0 200 OK\r\n\r\ndone", Reason.DELIVERED),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Reason.DELIVERED),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", Reason.CONNECTION_RESET),
        (CHUNKED + b"2\r\nok\r\n", Reason.CONNECTION_RESET),
        (CHUNKED + b"2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n", Reason.DELIVERED),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Reason.DELIVERED),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok", Reason.BAD_RESPONSE),
        (CHUNKED + b"ffffffffffffffff1\r\nx", Reason.BAD_RESPONSE),
        (b"HTTP/2.0 200 OK\r\n\r\n", Reason.BAD_RESPONSE),
        (b"200 OK\r\n\r\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n", Reason.DELIVERED),
        (b"HTTP/1.1 099 Odd\r\n\r\n", Reason.BAD_RESPONSE),
    ],
)
async def test_an_answer_that_ends_with_the_connection(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, said: bytes, reason: Reason
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(said)

    async with RawReceiver(tls, script) as receiver:
        outcome = await caller.call(call_to(receiver.port, trust))

    assert outcome.reason is reason, outcome


@pytest.mark.parametrize(("count", "reason"), [(64, Reason.DELIVERED), (65, Reason.BAD_RESPONSE)])
async def test_informational_answers_are_passed_over_up_to_a_bound(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, count: int, reason: Reason
) -> None:
    async with RawReceiver(tls, answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" * count + OK)) as receiver:
        outcome = await caller.call(call_to(receiver.port, trust))

    assert outcome.reason is reason


@pytest.mark.parametrize(("kib", "reason"), [(100, Reason.DELIVERED), (160, Reason.BAD_RESPONSE)])
async def test_a_head_is_taken_up_to_a_bound_however_many_headers_share_it(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, kib: int, reason: Reason
) -> None:
    lines = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 4084) for number in range(kib // 4))
    async with RawReceiver(tls, answering(HEAD + lines + b"content-length: 0\r\n\r\n")) as receiver:
        outcome = await caller.call(call_to(receiver.port, trust))

    assert outcome.reason is reason


@pytest.mark.parametrize(("status", "reason"), [(b"200 OK", Reason.DELIVERED), (b"503 Busy", Reason.HTTP_STATUS)])
@pytest.mark.parametrize("pause_seconds", [0, 0.01], ids=["at once", "bit by bit"])
@pytest.mark.parametrize(("chunks", "connections"), [(1200, 1), (2400, 2)])
async def test_of_an_answer_in_too_many_chunks_the_status_counts_and_the_rest_is_not_read(
    caller: Caller,
    tls: ssl.SSLContext,
    trust: TlsMaterial,
    status: bytes,
    reason: Reason,
    pause_seconds: float,
    chunks: int,
    connections: int,
) -> None:
    async def script(line: Line) -> None:
        while await line.hear() is not None:
            await line.say(b"HTTP/1.1 %b\r\nretry-after: 7\r\ntransfer-encoding: chunked\r\n\r\n" % status)
            for _ in range(chunks // 300):
                await line.say(b"2\r\nxy\r\n" * 300)
                await asyncio.sleep(pause_seconds)
            await line.say(b"0\r\n\r\n")

    async with RawReceiver(tls, script) as receiver:
        outcomes = [await caller.call(call_to(receiver.port, trust)) for _ in range(2)]

    assert {outcome.reason for outcome in outcomes} == {reason}
    assert {outcome.answer[:1024] for outcome in outcomes} == {b"xy" * 512}
    assert receiver.connections == connections


async def test_a_second_answer_that_nobody_asked_for_is_no_answer_to_the_next_call(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    async with RawReceiver(tls, answering(OK + forged, OK)) as receiver:
        outcomes = [await caller.call(call_to(receiver.port, trust)) for _ in range(2)]

    assert [outcome.answer for outcome in outcomes] == [b"ok", b"ok"]
    assert [heard.connection for heard in receiver.heard] == [1, 2]


@pytest.mark.parametrize(
    "late", [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged", b"HTTP/1.1 408 Idle\r\n\r\n", b"?"]
)
async def test_what_a_receiver_says_on_an_idle_connection_is_no_answer_to_the_next_call(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, late: bytes
) -> None:
    spoke = asyncio.Event()

    async def script(line: Line) -> None:
        await line.hear()
        await line.say(OK)
        await asyncio.sleep(0.1)  # the call is over, the connection lies in the pool
        await line.say(late)
        spoke.set()
        await line.hear()

    async with RawReceiver(tls, script) as receiver:
        first = await caller.call(call_to(receiver.port, trust))
        await spoke.wait()
        await asyncio.sleep(0.1)
        second = await caller.call(call_to(receiver.port, trust))

    assert [first.answer, second.answer] == [b"ok", b"ok"]
    assert [heard.connection for heard in receiver.heard] == [1, 2]


async def test_an_answer_before_the_request_is_whole_and_a_hang_up_is_no_hang(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async with RawReceiver(tls, script) as receiver:
        outcome = await caller.call(call_to(receiver.port, trust, body=b"x" * 8 * MIB))

    assert outcome.reason in (Reason.HTTP_STATUS, Reason.CONNECTION_RESET)


@on_both_loops
def test_a_receiver_that_answers_without_reading_fills_no_memory(
    tls: ssl.SSLContext, trust: TlsMaterial, loop_factory: LoopFactory
) -> None:
    """Each of its answers counts; what it left unread goes with the connection, and at once."""

    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        while True:
            await line.say(OK)
            await asyncio.sleep(0.01)

    async def call_on_and_on() -> list[Outcome]:
        caller = Caller(lambda: LOCAL)
        async with RawReceiver(tls, script) as receiver:
            call = call_to(receiver.port, trust, body=b"x" * MIB)
            outcomes = [await caller.call(call) for _ in range(64)]
            assert receiver.connections > 2
        await caller.aclose()
        return outcomes

    tracemalloc.start()
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            outcomes = runner.run(call_on_and_on())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert {outcome.reason for outcome in outcomes} == {Reason.DELIVERED}
    assert peak < 16 * MIB


@on_both_loops
@pytest.mark.parametrize("answer", [OK, b""], ids=["answered", "out of time"])
def test_a_connection_with_an_unread_request_ends_with_its_call(
    tls: ssl.SSLContext,
    trust: TlsMaterial,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    loop_factory: LoopFactory,
) -> None:
    """TLS would wait for half a minute, and the pool for as long. What is unread lies with the socket, not with TLS."""

    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(answer)
        await asyncio.Event().wait()

    async def call_once() -> Outcome:
        ended = asyncio.Event()
        lose = ReceivingEnd.connection_lost

        def note(self: ReceivingEnd, error: BaseException | None) -> None:
            ended.set()
            lose(self, error)

        monkeypatch.setattr(ReceivingEnd, "connection_lost", note)
        caller = Caller(lambda: LOCAL)
        async with RawReceiver(tls, script) as receiver:
            outcome = await caller.call(call_to(receiver.port, trust, timeout_seconds=1, body=b"x" * 16 * MIB))
            await asyncio.wait_for(ended.wait(), 10)
        await caller.aclose()
        return outcome

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        outcome = runner.run(call_once())

    assert outcome.reason is (Reason.DELIVERED if answer else Reason.FIRST_BYTE_TIMEOUT)


async def test_of_little_requests_that_are_answered_unread_no_more_than_one_waits(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call takes a new connection."""
    asked, wait_bytes = asyncio.Event(), [0]
    ends: list[ReceivingEnd] = []
    make = ReceivingEnd.connection_made

    async def script(line: Line) -> None:
        if line.number > 1:
            await line.hear()
            await line.say(OK)
            return
        await line.reader.readuntil(b"\r\n\r\n")
        transport: Any = line.writer.transport
        transport.pause_reading()
        while True:
            await asked.wait()
            asked.clear()
            await line.say(OK)

    def made(self: ReceivingEnd, transport: asyncio.BaseTransport) -> None:
        ends.append(self)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        make(self, transport)

    monkeypatch.setattr(ReceivingEnd, "connection_made", made)
    async with RawReceiver(tls, script) as receiver:
        call = call_to(receiver.port, trust, body=b"x" * 15 * 1024)
        for _ in range(1000):
            calling = asyncio.create_task(caller.call(call))
            await asyncio.sleep(0.001)
            asked.set()
            assert (await calling).reason is Reason.DELIVERED
            if receiver.connections > 1:
                break
            below: Any = ends[0].transport
            wait_bytes.append(below._ssl_protocol._transport.get_write_buffer_size())
        assert receiver.connections == 2
    assert max(wait_bytes) < 16 * 1024


async def test_a_receiver_that_answers_before_it_was_asked_has_delivered_nothing_later(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    """The answer is taken, for HTTP cannot tell; the connection is not used again."""

    async def script(line: Line) -> None:
        await line.say(OK + OK)
        await line.hear()
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        for _ in range(2):
            await caller.call(call_to(receiver.port, trust))

    assert receiver.connections == 2


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x00\x05hello", b"\x15\x03\x03\x00\x02\x02\x64", b"\x00" * 100])
async def test_noise_below_tls_is_a_broken_connection(
    caller: Caller, ca: trustme.CA, trust: TlsMaterial, noise: bytes
) -> None:
    """After the handshake, bytes that are no TLS record of this connection: forged alerts, renegotiation, zeros."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    outcome = await _behind_noise(caller, server, trust, noise)

    assert outcome.reason in (Reason.TLS_FAILURE, Reason.CONNECTION_RESET), outcome


async def _behind_noise(caller: Caller, server: ssl.SSLContext, trust: TlsMaterial, noise: bytes) -> Outcome:
    async with RawReceiver(server, Line.gone) as receiver:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", receiver.port)
            copying = asyncio.gather(_copy(reader, back), _copy(there, writer))
            await asyncio.sleep(0.3)  # the handshake is over, the sender waits for an answer
            with contextlib.suppress(OSError):
                writer.write(noise)
                await writer.drain()
            await copying
            back.close()
            writer.close()

        async with await asyncio.start_server(relay, "127.0.0.1", 0) as middle:
            port = middle.sockets[0].getsockname()[1]
            return await caller.call(call_to(port, trust, timeout_seconds=5))


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            to.write(piece)
            await to.drain()
        to.write_eof()
