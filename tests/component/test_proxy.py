"""Calls through a forward proxy: the policy holds, the proxy learns addresses only, and each failure has its word."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from doubles.connect_proxy import ConnectProxy
from doubles.name_server import NameServer
from doubles.raw_receiver import Line, RawReceiver, full_backlog
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.http.lookup import NameServers
from hookline.delivery.http.tunnel import ProxyCredentials
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.resources.egress_policy import DEFAULT_PORTS, EgressPolicy, policy_of

LOGIN = "hookline:CANARY-51ce"
NAMES = {
    "receiver.test": [["127.0.0.2"]],
    "inside.test": [["10.1.2.3"]],
    "two.test": [["127.0.0.9", "127.0.0.2"]],
    "two-turned.test": [["127.0.0.2", "127.0.0.9"]],
    "proxy.test": [["127.0.0.9", "127.0.0.1"]],
    "proxy-turned.test": [["127.0.0.1", "127.0.0.9"]],
}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("receiver.test", "two.test", "two-turned.test", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trust(ca: trustme.CA) -> TlsMaterial:
    return TlsMaterial(ca_pem=ca.cert_pem.bytes())


class Office:
    """A sender behind a proxy. Its receivers are opened, the proxy's own address is not."""

    def __init__(self, caller: Caller, trust: TlsMaterial) -> None:
        self.caller = caller
        self.policy = EgressPolicy()
        self._trust = trust

    def behind(self, proxy: str | None, *cidrs: str) -> None:
        self.policy = policy_of(cidrs, DEFAULT_PORTS, proxy)

    async def call(self, host: str, port: int) -> Outcome:
        call = Call(f"https://{host}:{port}/hook", (("host", "elsewhere.test"),), b"{}", 5, self._trust)
        outcome = await self.caller.call(call)
        assert "CANARY" not in repr(outcome)
        return outcome


@pytest.fixture
async def office(trust: TlsMaterial, tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "login").write_text(LOGIN + "\n")
    async with NameServer(NAMES) as names:
        offices: list[Office] = []
        caller = Caller(
            lambda: offices[0].policy,
            lookup=lambda: NameServers(["127.0.0.1"], names.port),
            proxy_credentials=ProxyCredentials(tmp_path / "login"),
        )
        offices.append(Office(caller, trust))
        yield offices[0]
        await caller.aclose()


async def serve_on_all(receiver: RawReceiver) -> asyncio.Server:
    return await asyncio.start_server(receiver._serve, "127.0.0.2", receiver.port, ssl=receiver.tls)


async def test_the_proxy_gets_the_checked_address_and_the_receiver_the_verified_name(
    office: Office, tls: ssl.SSLContext
) -> None:
    async with RawReceiver(tls) as receiver, ConnectProxy(LOGIN) as proxy, await serve_on_all(receiver):
        office.behind(proxy.url, "127.0.0.2")
        outcomes = [await office.call("receiver.test", receiver.port) for _ in range(3)]

    assert {outcome.reason for outcome in outcomes} == {Reason.DELIVERED}, outcomes
    assert proxy.targets == [f"127.0.0.2:{receiver.port}"]
    assert receiver.server_names == ["receiver.test"]
    assert b"receiver.test" not in proxy.heads[0]
    assert [heard.connection for heard in receiver.heard] == [1, 1, 1]


@pytest.mark.parametrize("host", ["inside.test", "10.1.2.3", "127.0.0.1", "[::1]", "0x7f.1", "169.254.169.254"])
async def test_the_policy_holds_before_the_proxy_is_asked(office: Office, host: str) -> None:
    async with ConnectProxy(LOGIN) as proxy:
        office.behind(proxy.url)
        outcome = await office.call(host, 8443)

    assert outcome.reason is Reason.EGRESS_REFUSED
    assert proxy.connections == 0


async def test_a_change_of_policy_or_proxy_holds_for_kept_connections_too(office: Office, tls: ssl.SSLContext) -> None:
    async with (
        RawReceiver(tls) as receiver,
        ConnectProxy(LOGIN) as first,
        ConnectProxy(LOGIN) as second,
        await serve_on_all(receiver),
    ):
        office.behind(first.url, "127.0.0.2")
        assert (await office.call("receiver.test", receiver.port)).reason is Reason.DELIVERED
        office.behind(second.url, "127.0.0.2")
        assert (await office.call("receiver.test", receiver.port)).reason is Reason.DELIVERED
        office.behind(None, "127.0.0.2")
        assert (await office.call("receiver.test", receiver.port)).reason is Reason.DELIVERED
        office.behind(second.url, "127.0.0.3")
        assert (await office.call("receiver.test", receiver.port)).reason is Reason.EGRESS_REFUSED

    assert (first.connections, second.connections, receiver.connections) == (1, 1, 3)


async def test_an_address_that_the_proxy_does_not_reach_is_followed_by_the_next(
    office: Office, tls: ssl.SSLContext
) -> None:
    async with RawReceiver(tls) as receiver, ConnectProxy(LOGIN) as proxy, await serve_on_all(receiver):
        office.behind(proxy.url, "127.0.0.2", "127.0.0.9")
        outcome = await office.call("two.test", receiver.port)

    assert outcome.reason is Reason.DELIVERED
    assert sorted(proxy.targets) == [f"127.0.0.2:{receiver.port}", f"127.0.0.9:{receiver.port}"][
        -len(proxy.targets) :
    ] or (len(proxy.targets) == 1)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 200 " + b"x" * 65536)
        await writer.drain()


@pytest.mark.parametrize(
    ("proxy", "reason", "told"),
    [
        (ConnectProxy("hookline:other"), Reason.PROXY_REFUSED, "407"),
        (ConnectProxy(answer=b"HTTP/1.1 403 Forbidden\r\n\r\n"), Reason.PROXY_REFUSED, "403"),
        (ConnectProxy(answer=b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n"), Reason.PROXY_REFUSED, "302"),
        (ConnectProxy(answer=b"HTTP/1.1 407 No\r\nX: " + b"x" * 100_000), Reason.PROXY_REFUSED, "407"),
        (ConnectProxy(answer=b"HTTP/1.1 200 OK\n\nhello"), Reason.PROXY_REFUSED, "spoke before"),
        (ConnectProxy(answer=b"SSH-2.0-OpenSSH\r\n\r\n"), Reason.PROXY_REFUSED, "did not answer in HTTP"),
        (ConnectProxy(answer=b"HTTP/1.1 200 OK\r\n\r\nhello"), Reason.PROXY_REFUSED, "spoke before"),
        (ConnectProxy(instead=flood), Reason.PROXY_REFUSED, "a head of more than 32 KiB"),
        (ConnectProxy(instead=hang_up), Reason.PROXY_REFUSED, "did not answer in HTTP"),
        (ConnectProxy(instead=hang), Reason.PROXY_UNREACHABLE, "asked for receiver.test"),
    ],
)
async def test_each_failure_of_the_proxy_has_its_word(
    office: Office, tls: ssl.SSLContext, proxy: ConnectProxy, reason: Reason, told: str
) -> None:
    fresh = replace(proxy, heads=[], _tasks=set())
    async with RawReceiver(tls) as receiver, fresh, await serve_on_all(receiver):
        office.behind(fresh.url, "127.0.0.2")
        outcome = await office.call("receiver.test", receiver.port)

    assert outcome.reason is reason, outcome
    assert told in outcome.detail
    assert receiver.heard == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\nVia: 1.1 proxy\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 100\n\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_an_answer_with_bare_line_feeds_or_a_long_head_opens_the_way(
    office: Office, tls: ssl.SSLContext, answer: bytes
) -> None:
    async with RawReceiver(tls) as receiver, ConnectProxy(answer=answer) as proxy, await serve_on_all(receiver):
        office.behind(proxy.url, "127.0.0.2")
        outcome = await office.call("receiver.test", receiver.port)

    assert outcome.reason is Reason.DELIVERED, outcome


@pytest.mark.parametrize("name", ["proxy.test", "proxy-turned.test"])
async def test_a_proxy_with_an_address_that_swallows_packets_is_reached_over_the_other(
    office: Office, tls: ssl.SSLContext, name: str
) -> None:
    async with RawReceiver(tls, closing) as receiver, ConnectProxy() as proxy, await serve_on_all(receiver):
        with full_backlog("127.0.0.9", proxy.port):
            office.behind(f"http://{name}:{proxy.port}", "127.0.0.2")
            outcomes = [await office.call("receiver.test", receiver.port) for _ in range(2)]

    assert [outcome.reason for outcome in outcomes] == [Reason.DELIVERED] * 2, outcomes


async def test_a_proxy_that_takes_no_connection_is_the_one_to_blame(office: Office) -> None:
    with full_backlog() as port:
        office.behind(f"http://127.0.0.1:{port}", "127.0.0.2")
        outcome = await office.call("receiver.test", 8443)

    assert outcome.reason is Reason.PROXY_UNREACHABLE
    assert outcome.detail == f"127.0.0.1:{port}: the proxy took no connection in time"


async def test_a_proxy_whose_name_has_no_address(office: Office) -> None:
    office.behind("http://nowhere.test:3128", "127.0.0.2")
    outcome = await office.call("receiver.test", 8443)

    assert outcome.reason is Reason.PROXY_UNREACHABLE
    assert outcome.detail == "nowhere.test:3128: the name of the proxy has no address"


@pytest.mark.parametrize(
    "losing", [ConnectProxy(stuck=frozenset({"127.0.0.9"})), ConnectProxy(drops=frozenset({"127.0.0.9"}))]
)
@pytest.mark.parametrize("name", ["two.test", "two-turned.test"])
async def test_an_address_that_the_proxy_loses_is_followed_by_the_next_and_what_worked_is_remembered(
    office: Office, tls: ssl.SSLContext, losing: ConnectProxy, name: str
) -> None:
    async with (
        RawReceiver(tls, closing) as receiver,
        replace(losing, heads=[], _tasks=set()) as proxy,
        await serve_on_all(receiver),
    ):
        office.behind(proxy.url, "127.0.0.2", "127.0.0.9")
        first = await office.call(name, receiver.port)
        asked = len(proxy.targets)
        second = await office.call(name, receiver.port)

    assert (first.reason, second.reason) == (Reason.DELIVERED, Reason.DELIVERED), (first, second)
    assert proxy.targets[asked:] == [f"127.0.0.2:{receiver.port}"]


async def closing(line: Line) -> None:
    await line.hear()
    await line.say(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


async def test_a_failure_behind_the_proxy_names_both(office: Office) -> None:
    async with ConnectProxy(drops=frozenset({"127.0.0.2"})) as proxy:
        office.behind(proxy.url, "127.0.0.2")
        outcome = await office.call("receiver.test", 8443)

    assert outcome.reason is Reason.CONNECTION_RESET
    assert f"receiver.test:8443 through the proxy 127.0.0.1:{proxy.port}" in outcome.detail


async def test_a_proxy_where_nobody_listens(office: Office) -> None:
    office.behind("http://127.0.0.1:1", "127.0.0.2")
    outcome = await office.call("receiver.test", 8443)

    assert outcome.reason is Reason.PROXY_UNREACHABLE
    assert outcome.detail == "127.0.0.1:1: the proxy cannot be reached"


async def test_credentials_that_cannot_be_read_are_named_and_not_left_out(tls: ssl.SSLContext, tmp_path: Path) -> None:
    async with ConnectProxy() as proxy:
        policy = policy_of(["127.0.0.1"], DEFAULT_PORTS, proxy.url)
        caller = Caller(lambda: policy, proxy_credentials=ProxyCredentials(tmp_path / "missing"))
        outcome = await caller.call(Call("https://127.0.0.1:8443/", (), b"", 5))
        await caller.aclose()

    assert outcome.reason is Reason.PROXY_REFUSED
    assert "spec.egress.proxy.credentialsSecretRef" in outcome.detail
    assert proxy.heads == []


async def test_rotated_credentials_count_for_the_next_connection(
    office: Office, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    async with RawReceiver(tls) as receiver, ConnectProxy("hookline:new") as proxy, await serve_on_all(receiver):
        office.behind(proxy.url, "127.0.0.2")
        before = await office.call("receiver.test", receiver.port)
        (tmp_path / "login").write_text("hookline:new")
        after = await office.call("receiver.test", receiver.port)

    assert (before.reason, after.reason) == (Reason.PROXY_REFUSED, Reason.DELIVERED)
