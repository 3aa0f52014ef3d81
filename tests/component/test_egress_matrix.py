"""The egress matrix over real sockets and a real name server: 0 connections to what must not be called."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
import trustme

from doubles.egress_cases import (
    ALLOWED_CIDRS,
    ALLOWED_HOSTS,
    ALLOWED_NAMES,
    OPEN,
    PRIVATE_HOSTS,
    REBINDING,
    REFUSED_HOSTS,
    REFUSED_NAMES,
)
from doubles.name_server import HANGS, Answer, NameServer
from doubles.raw_receiver import Line, RawReceiver
from hookline.delivery.http import lookup
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.http.lookup import NameServers
from hookline.delivery.policy.retry import Reason
from hookline.resources.egress_policy import DEFAULT_PORTS, EgressPolicy, parse_cidrs, policy_of

TABLE: dict[str, Sequence[Answer]] = {**REFUSED_NAMES, **REBINDING, **ALLOWED_NAMES, "hanging.test": [HANGS]}
REFUSALS = {Reason.EGRESS_REFUSED, Reason.INVALID_CALL}
NOT_FOUND = {
    "alias-of-localhost.test": Reason.DNS_FAILURE,
    "too-many.test": Reason.DNS_FAILURE,
    "nothing.test": Reason.DNS_FAILURE,
    "servfail.test": Reason.DNS_FAILURE,
}
WHATEVER_IS_OPENED = [EgressPolicy(), EgressPolicy(parse_cidrs(OPEN))]


@dataclass
class Listener:
    """On every address of this machine, on one port."""

    port: int
    connections: int = 0


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sockets:
        found = Listener(sockets.getsockname()[1])

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.connections += 1
            writer.close()

        async with await asyncio.start_server(serve, sock=sockets):
            yield found


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    # AAAA records are asked for even where the machine has no IPv6: the policy must not depend on that.
    monkeypatch.setattr(lookup, "has_ipv6", lambda: True)
    async with NameServer(TABLE) as server:
        yield server


@contextlib.asynccontextmanager
async def caller_with(policy: EgressPolicy, names: NameServer) -> AsyncIterator[Caller]:
    caller = Caller(lambda: policy, lookup=lambda: NameServers(["127.0.0.1"], names.port))
    yield caller
    await caller.aclose()


def call_to(host: str, port: int, trust: TlsMaterial | None = None) -> Call:
    return Call(f"https://{host}:{port}/hook", (), b"{}", 10, trust)


@pytest.mark.parametrize("policy", WHATEVER_IS_OPENED, ids=["nothing-opened", "all-opened"])
@pytest.mark.parametrize("host", [host for hosts in REFUSED_HOSTS.values() for host in hosts])
async def test_no_spelling_of_a_forbidden_address_is_called(
    names: NameServer, listener: Listener, host: str, policy: EgressPolicy
) -> None:
    async with caller_with(policy, names) as caller:
        outcome = await caller.call(call_to(host, listener.port))

    assert outcome.reason in REFUSALS, outcome
    assert listener.connections == 0


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
async def test_no_spelling_of_a_private_address_is_called_unless_it_is_listed(
    names: NameServer, listener: Listener, host: str
) -> None:
    async with caller_with(EgressPolicy(), names) as caller:
        outcome = await caller.call(call_to(host, listener.port))

    assert outcome.reason in REFUSALS, outcome
    assert listener.connections == 0


@pytest.mark.parametrize("policy", WHATEVER_IS_OPENED, ids=["nothing-opened", "all-opened"])
@pytest.mark.parametrize("name", REFUSED_NAMES)
async def test_no_name_leads_inside(names: NameServer, listener: Listener, name: str, policy: EgressPolicy) -> None:
    async with caller_with(policy, names) as caller:
        outcome = await caller.call(call_to(name, listener.port))

    assert outcome.reason is NOT_FOUND.get(name, Reason.EGRESS_REFUSED), outcome
    assert listener.connections == 0


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trust(ca: trustme.CA) -> TlsMaterial:
    return TlsMaterial(ca_pem=ca.cert_pem.bytes())


@contextlib.asynccontextmanager
async def receiver_everywhere(ca: trustme.CA) -> AsyncIterator[RawReceiver]:
    """Answers each call and closes, so that each call looks up its name anew. On all addresses but 127.0.0.9."""

    async def script(line: Line) -> None:
        await line.hear()
        await line.say(b"HTTP/1.1 204 Done\r\nconnection: close\r\n\r\n")

    certificate = ca.issue_cert(
        *REBINDING, *ALLOWED_NAMES, "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1", "::ffff:127.0.0.2"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    receiver = RawReceiver(context, script)
    async with receiver:
        hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"]
        server = await asyncio.start_server(receiver._serve, hosts, receiver.port, ssl=context)
        async with server:
            yield receiver


@pytest.mark.parametrize("name", REBINDING)
async def test_a_name_that_changes_its_mind_is_refused_at_once(
    names: NameServer, ca: trustme.CA, trust: TlsMaterial, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.delivery.http.pool.DNS_CACHE_SECONDS", 0)
    async with (
        receiver_everywhere(ca) as receiver,
        caller_with(policy_of(["127.0.0.2"], DEFAULT_PORTS), names) as caller,
    ):
        first = await caller.call(call_to(name, receiver.port, trust))
        second = await caller.call(call_to(name, receiver.port, trust))

    assert (first.reason, second.reason) == (Reason.DELIVERED, Reason.EGRESS_REFUSED), (first, second)
    assert receiver.connections == 1


@pytest.mark.parametrize("host", [*ALLOWED_HOSTS, *ALLOWED_NAMES])
async def test_what_is_opened_is_called(names: NameServer, ca: trustme.CA, trust: TlsMaterial, host: str) -> None:
    policy = policy_of(ALLOWED_CIDRS, DEFAULT_PORTS)
    async with receiver_everywhere(ca) as receiver, caller_with(policy, names) as caller:
        outcome = await caller.call(call_to(host, receiver.port, trust))

    assert outcome.reason is Reason.DELIVERED, outcome
    assert receiver.connections == 1


@pytest.mark.parametrize(("ports", "reason"), [(("443",), Reason.EGRESS_REFUSED), (("1-65535",), Reason.DELIVERED)])
async def test_a_port_is_called_only_where_the_policy_lists_it(
    names: NameServer, ca: trustme.CA, trust: TlsMaterial, ports: tuple[str, ...], reason: Reason
) -> None:
    async with receiver_everywhere(ca) as receiver, caller_with(policy_of(ALLOWED_CIDRS, ports), names) as caller:
        outcome = await caller.call(call_to("plain.test", receiver.port, trust))

    assert outcome.reason is reason
    assert receiver.connections == (reason is Reason.DELIVERED)


@pytest.mark.parametrize("spelling", ["plain", "IPv4-mapped", "IPv4-mapped in hex", "NAT64", "6to4"])
async def test_an_address_of_the_sender_itself_is_never_called_even_if_it_is_listed(
    names: NameServer, listener: Listener, own_address: str, spelling: str
) -> None:
    host = spelled(own_address, spelling)
    async with caller_with(policy_of([own_address], DEFAULT_PORTS), names) as caller:
        refused = await caller.call(call_to(host, listener.port))
    assert refused.reason is Reason.EGRESS_REFUSED
    assert "is an address of the sender itself" in refused.detail
    assert listener.connections == 0

    if spelling in ("NAT64", "6to4"):
        return  # nothing here leads there
    async with caller_with(policy_of([own_address], DEFAULT_PORTS, allow_own=True), names) as caller:
        await caller.call(call_to(host, listener.port))
    assert listener.connections == 1


def spelled(address: str, spelling: str) -> str:
    """The host of a URL that leads to `address`."""
    own = ip_address(address)
    if spelling == "plain":
        return f"[{own}]" if own.version == 6 else str(own)
    if own.version == 6:
        pytest.skip("only IPv4 addresses are carried in others")
    in_hex = f"{int(own) >> 16:x}:{int(own) & 0xFFFF:x}"
    return {
        "IPv4-mapped": f"[::ffff:{own}]",
        "IPv4-mapped in hex": f"[::ffff:{in_hex}]",
        "NAT64": f"[64:ff9b::{in_hex}]",
        "6to4": f"[2002:{in_hex}::1]",
    }[spelling]


@pytest.fixture
def own_address() -> Iterator[str]:
    """One that this machine has besides loopback."""
    for family, far in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError, ValueError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            address = str(probe.getsockname()[0])
            if EgressPolicy(parse_cidrs([address])).refusal(address) is None:
                yield address
                return
    pytest.skip("this machine has no address but loopback")


async def test_names_that_hang_hold_up_no_other(names: NameServer, ca: trustme.CA, trust: TlsMaterial) -> None:
    policy = policy_of(ALLOWED_CIDRS, DEFAULT_PORTS)
    async with receiver_everywhere(ca) as receiver, caller_with(policy, names) as caller:
        table = dict(TABLE)
        table.update({f"hanging-{n}.test": [HANGS] for n in range(200)})
        names.table = table
        hanging = [
            asyncio.create_task(caller.call(call_to(f"hanging-{n}.test", receiver.port, trust))) for n in range(200)
        ]
        # Half of them: on a busy machine the name server's socket may lose questions.
        while len(set(names.asked)) < 100:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        outcome = await caller.call(call_to("plain.test", receiver.port, trust))
        still_hanging = sum(not task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    assert outcome.reason is Reason.DELIVERED
    assert still_hanging > 0


async def test_a_name_that_hangs_is_a_failure_of_lookup_in_bounded_time(
    names: NameServer, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "LOOKUP_SECONDS", 0.1)
    async with caller_with(EgressPolicy(), names) as caller:
        outcome = await caller.call(call_to("hanging.test", 443, trust))

    assert outcome.reason is Reason.DNS_FAILURE
    assert "no name server answered" in outcome.detail


def test_the_matrix_is_as_large_as_it_says() -> None:
    assert sum(map(len, REFUSED_HOSTS.values())) + len(PRIVATE_HOSTS) + len(REFUSED_NAMES) + len(REBINDING) >= 140
