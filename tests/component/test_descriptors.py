"""A sender among more endpoints than it may have files open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from doubles.raw_receiver import OK, Line, RawReceiver
from hookline.delivery.http import pool
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.policy.retry import Reason
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

LOCAL = EgressPolicy(parse_cidrs(["127.0.0.0/8"]))


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
async def caller(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Caller]:
    """Of a sender that may have 20 files open."""
    monkeypatch.setattr(pool, "open_files_limit", lambda: 20)
    caller = Caller(lambda: LOCAL)
    yield caller
    await caller.aclose()


async def test_idle_connections_to_many_endpoints_leave_room_for_calls(
    ca: trustme.CA, tls: ssl.SSLContext, caller: Caller
) -> None:
    async with RawReceiver(tls) as receiver:
        for number in range(40):
            # What a Webhook trusts tells its connections from those of others.
            trust = TlsMaterial(ca_pem=ca.cert_pem.bytes() + f"\n{number}".encode())
            for _ in range(2):
                outcome = await caller.call(Call(f"https://127.0.0.1:{receiver.port}/", (), b"{}", 5, trust))
                assert outcome.reason is Reason.DELIVERED
        # The first ten are kept and used again, all others are closed after each call.
        assert receiver.connections == 10 + 2 * 30


async def test_idle_connections_to_a_few_endpoints_leave_room_for_calls(
    ca: trustme.CA, tls: ssl.SSLContext, caller: Caller
) -> None:
    """Many connections to one endpoint count as many, and one that ended counts no more."""
    trust = TlsMaterial(ca_pem=ca.cert_pem.bytes())
    everyone = asyncio.Barrier(8)

    async def script(line: Line) -> None:
        while await line.hear() is not None:
            await everyone.wait()
            await line.say(OK)

    async def call_all_at_once(receiver: RawReceiver) -> None:
        call = Call(f"https://127.0.0.1:{receiver.port}/", (), b"{}", 5, trust)
        outcomes = await asyncio.gather(*(caller.call(call) for _ in range(8)))
        assert {outcome.reason for outcome in outcomes} == {Reason.DELIVERED}

    async with RawReceiver(tls, script) as first, RawReceiver(tls, script) as second:
        async with RawReceiver(tls, script) as ended:
            await call_all_at_once(ended)
        for _ in range(2):
            await call_all_at_once(first)
            await call_all_at_once(second)
        # All eight to the first are kept, and two to the second.
        assert (first.connections, second.connections) == (8, 8 + 6)
