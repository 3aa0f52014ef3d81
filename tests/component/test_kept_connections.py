"""Connections that were kept and are dead: the call goes over a new one, and nothing counts against the endpoint."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import socket
import ssl
import struct
import time

import pytest
from aiohttp.connector import AddrInfoType

from doubles.raw_receiver import OK, Line, RawReceiver
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.http.pool import Pool, ReceivingEnd
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

LOCAL = EgressPolicy(parse_cidrs(["127.0.0.0/8"]))
IDLE = b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n<html>too late</html>"
SO_ATTACH_FILTER = 26


def call_to(port: int, trust: TlsMaterial, *, timeout_seconds: float = 20) -> Call:
    return Call(f"https://127.0.0.1:{port}/", (("webhook-id", "evt_1"),), b"{}", timeout_seconds, trust)


@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
async def test_all_kept_connections_that_are_reset_at_the_next_byte_cost_no_call(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, at_once: bool
) -> None:
    """So does a load balancer that has forgotten them."""
    everyone = asyncio.Barrier(10)

    async def script(line: Line) -> None:
        kept = line.number <= 10
        while await line.hear() is not None:
            if kept:
                await everyone.wait()
            await line.say(OK)
            if kept:
                await line.reader.read(1)
                line.reset()
                return

    async def call() -> Outcome:
        return await caller.call(call_to(receiver.port, trust))

    async with RawReceiver(tls, script) as receiver:
        await asyncio.gather(*(call() for _ in range(10)))
        again = await asyncio.gather(*(call() for _ in range(10))) if at_once else [await call() for _ in range(10)]

    assert {outcome.reason for outcome in again} == {Reason.DELIVERED}


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 20", b"llo", b"0\r\n\r\n", IDLE], ids=["end", "half a head", "rest", "chunk", "408"]
)
async def test_what_comes_over_a_kept_connection_and_is_no_answer_has_the_call_repeated_over_a_new_one(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, said: bytes
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(OK)
        if await line.hear() is not None:
            await line.say(said)

    async with RawReceiver(tls, script) as receiver:
        outcomes = [await caller.call(call_to(receiver.port, trust)) for _ in range(2)]

    assert [outcome.reason for outcome in outcomes] == [Reason.DELIVERED] * 2
    assert [heard.connection for heard in receiver.heard] == [1, 1, 2]
    assert receiver.heard[1].head == receiver.heard[2].head, "the same webhook-id and signature"


@pytest.mark.parametrize(
    ("said", "reason"), [(b"", Reason.CONNECTION_RESET), (b"llo", Reason.BAD_RESPONSE), (IDLE, Reason.HTTP_STATUS)]
)
async def test_what_fails_over_a_new_connection_counts_and_is_not_repeated_once_more(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, said: bytes, reason: Reason
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(OK if line.number == 1 else said)
        if line.number == 1:
            await line.hear()

    async with RawReceiver(tls, script) as receiver:
        await caller.call(call_to(receiver.port, trust))
        repeated = await caller.call(call_to(receiver.port, trust))
        fresh = await caller.call(call_to(receiver.port, trust))

    assert (repeated.reason, fresh.reason) == (reason, reason)
    assert [heard.connection for heard in receiver.heard] == [1, 1, 2, 3]


async def test_a_408_that_ends_no_connection_is_the_receivers_answer(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(OK)
        await line.hear()
        await line.say(b"HTTP/1.1 408 X\r\ncontent-length: 0\r\n\r\n")

    async with RawReceiver(tls, script) as receiver:
        outcomes = [await caller.call(call_to(receiver.port, trust)) for _ in range(2)]

    assert [outcome.status for outcome in outcomes] == [200, 408]
    assert len(receiver.heard) == 2


async def test_a_kept_connection_in_which_all_is_lost_leaves_time_for_a_new_one(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is one to a node that died, or through a firewall that forgot it: nobody says a word."""
    monkeypatch.setattr("hookline.delivery.http.transport.MOST_UNACKNOWLEDGED_SECONDS", 0.3)

    async def script(line: Line) -> None:
        await line.hear()
        await line.say(OK)
        if line.number == 1:
            drop_all_that_comes(line.writer.get_extra_info("socket"))
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        outcomes = [await caller.call(call_to(receiver.port, trust, timeout_seconds=5)) for _ in range(2)]

    assert [outcome.reason for outcome in outcomes] == [Reason.DELIVERED] * 2
    assert [heard.connection for heard in receiver.heard] == [1, 2]


@pytest.mark.parametrize("fault", ["no such option", "no descriptor left"])
async def test_a_kept_connection_is_used_though_the_kernel_will_not_watch_it(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    if fault == "no such option":
        monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    else:
        monkeypatch.setattr("asyncio.trsock.TransportSocket.setsockopt", refuse)
    async with RawReceiver(tls) as receiver:
        for _ in range(2):
            assert (await caller.call(call_to(receiver.port, trust))).reason is Reason.DELIVERED

    assert [heard.connection for heard in receiver.heard] == [1, 1]


def drop_all_that_comes(connection: socket.socket) -> None:
    """Not even acknowledged: a filter of the kernel that lets nothing pass."""
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(nothing)))


async def test_a_kept_connection_that_is_not_used_again_leaves_one_try_to_a_new_one(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[Line] = []
    opened = 0
    open_socket = Pool._open_socket

    def count(self: Pool, addr_info: AddrInfoType) -> socket.socket:
        nonlocal opened
        opened += 1
        return open_socket(self, addr_info)

    async def script(line: Line) -> None:
        lines.append(line)
        await line.hear()
        await line.say(OK)
        await line.gone()

    monkeypatch.setattr(Pool, "_open_socket", count)
    async with RawReceiver(tls, script) as receiver:
        await caller.call(call_to(receiver.port, trust))
        receiver.stop_listening()
        lines[0].writer.write(b"unasked")
        outcome = await caller.call(call_to(receiver.port, trust))

    assert outcome.reason is Reason.CONNECTION_REFUSED
    assert opened == 2


async def test_a_connection_that_lies_idle_for_long_is_closed_and_one_that_did_is_not_used_again(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.delivery.http.pool.KEEP_ALIVE_SECONDS", 0.3)
    ended = asyncio.Event()

    async def script(line: Line) -> None:
        while await line.hear() is not None:
            await line.say(OK)
        ended.set()

    async with RawReceiver(tls, script) as receiver:
        await caller.call(call_to(receiver.port, trust))
        await asyncio.wait_for(ended.wait(), 5)
        await caller.call(call_to(receiver.port, trust))
        time.sleep(0.4)  # noqa: ASYNC251  # before the event loop can look for what is idle
        await caller.call(call_to(receiver.port, trust))

    assert [heard.connection for heard in receiver.heard] == [1, 2, 3]


@pytest.mark.parametrize(
    "end", ["close", "reset", "close while idle", "hang", "bad answer", "says more", "close when used again"]
)
async def test_a_connection_that_ended_leaves_nothing_to_the_collector(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, end: str
) -> None:
    """It looks seldom, and the event loop has a buffer of 256 KiB for each connection with TLS."""

    async def script(line: Line) -> None:
        await line.hear()
        match end:
            case "reset":
                line.reset()
            case "close while idle":
                await line.say(OK)
            case "hang":
                await line.reader.read(1)
            case "bad answer":
                await line.say(b"SSH-2.0-x\r\n\r\n")
            case "says more":
                await line.say(OK + b"more")
            case "close when used again":
                await line.say(OK)
                await line.hear()

    async with RawReceiver(tls, script) as receiver:
        await caller.call(call_to(receiver.port, trust, timeout_seconds=0.1 if end == "hang" else 20))
        try:
            gc.disable()
            gc.collect()
            for _ in range(5):
                await caller.call(call_to(receiver.port, trust, timeout_seconds=0.1 if end == "hang" else 20))
                await asyncio.sleep(0.02)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            assert not [each for each in gc.garbage if isinstance(each, ReceivingEnd)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
