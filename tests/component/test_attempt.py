"""One call against real TLS receivers, good and broken: what goes over the wire, and which outcome comes of it."""

from __future__ import annotations

import asyncio
import datetime
import gc
import gzip
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.ports import free_port
from doubles.keys import certificate, pem_of
from doubles.loops import LoopFactory, on_both_loops
from doubles.raw_receiver import OK, Line, RawReceiver, answering, full_backlog, strict_receiver
from hookline.delivery.http.answer_framing import MAX_BODY_BYTES_KEPT
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import Call, TlsMaterial
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs

LOCAL = EgressPolicy(parse_cidrs(["127.0.0.0/8"]))
CANARY = "CANARY-7f3a"
HEADERS = (("content-type", "application/json"), ("user-agent", "Hookline/test"), ("Authorization", f"Bearer {CANARY}"))
BODY = f'{{"secret": "{CANARY}"}}'.encode()
NAMES = {
    "receiver.test": ["127.0.0.1"],
    "other.test": ["127.0.0.1"],
    "inside.test": ["10.1.2.3"],
    "b_c.wild.test": ["127.0.0.1"],
    "bc.wild.test": ["127.0.0.1"],
    "mixed.test": ["127.0.0.1", "169.254.169.254"],
}


class Names(AbstractResolver):
    """A name server with a fixed table. A name outside it does not exist."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host == "hanging.test":
            await asyncio.Event().wait()
        if host == "unanswered.test":
            raise socket.gaierror(socket.EAI_AGAIN, CANARY)
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, CANARY)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=6, flags=0)
            for address in NAMES[host]
        ]

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert("receiver.test", "localhost", "127.0.0.1"))


@pytest.fixture
def trust(ca: trustme.CA) -> TlsMaterial:
    return TlsMaterial(ca_pem=ca.cert_pem.bytes())


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.delivery.http.lookup.NameServers.resolve", Names.resolve)


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    caller = Caller(lambda: LOCAL)
    yield caller
    await caller.aclose()


@pytest.fixture(autouse=True)
def _no_secret_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("DEBUG"):
        yield
    assert CANARY not in caplog.text


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def call_to(
    port: int, trust: TlsMaterial | None, *, host: str = "127.0.0.1", path: str = "/hook", timeout_seconds: float = 10
) -> Call:
    return Call(f"https://{host}:{port}{path}?token={CANARY}", HEADERS, BODY, timeout_seconds, trust)


def assert_safe(outcome: Outcome) -> None:
    assert CANARY not in repr(outcome)
    assert outcome.detail
    assert "\n" not in outcome.detail


async def outcome_of(caller: Caller, call: Call) -> Outcome:
    outcome = await caller.call(call)
    assert_safe(outcome)
    return outcome


# What the receiver answers


@pytest.mark.parametrize(
    ("answer", "reason", "status", "retry_after_seconds"),
    [
        ("200 OK", Reason.DELIVERED, 200, None),
        ("202 Accepted", Reason.DELIVERED, 202, None),
        ("204 No Content", Reason.DELIVERED, 204, None),
        ("299 Whatever", Reason.DELIVERED, 299, None),
        ("302 Found\r\nlocation: https://127.0.0.1:1/elsewhere", Reason.REDIRECT, 302, None),
        ("307 Temporary Redirect\r\nlocation: /elsewhere", Reason.REDIRECT, 307, None),
        ("304 Not Modified", Reason.REDIRECT, 304, None),
        ("400 Bad Request", Reason.HTTP_STATUS, 400, None),
        ("401 Unauthorized", Reason.HTTP_STATUS, 401, None),
        ("404 Not Found", Reason.HTTP_STATUS, 404, None),
        ("410 Gone", Reason.GONE, 410, None),
        ("429 Too Many Requests\r\nretry-after: 7", Reason.TOO_MANY_REQUESTS, 429, 7.0),
        ("500 Internal Server Error", Reason.HTTP_STATUS, 500, None),
        ("503 Service Unavailable\r\nRetry-After: 120", Reason.HTTP_STATUS, 503, 120.0),
        ("503 Service Unavailable\r\nRetry-After: soon", Reason.HTTP_STATUS, 503, None),
        ("799 Made Up", Reason.HTTP_STATUS, 799, None),
    ],
)
async def test_each_status_has_its_outcome(
    caller: Caller,
    tls: ssl.SSLContext,
    trust: TlsMaterial,
    answer: str,
    reason: Reason,
    status: int,
    retry_after_seconds: float | None,
) -> None:
    length = "" if status in (204, 304) else "\r\ncontent-length: 0"
    async with RawReceiver(tls, answering(f"HTTP/1.1 {answer}{length}\r\n\r\n".encode())) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert (outcome.reason, outcome.status) == (reason, status)
    assert outcome.retry_after_seconds == retry_after_seconds
    assert f"answered {status}" in outcome.detail
    assert len(receiver.heard) == 1


async def test_a_retry_after_date_is_read_against_the_clock(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    date = datetime.datetime.fromtimestamp(time.time() + 600, datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    answer = f"HTTP/1.1 503 Busy\r\nretry-after: {date}\r\ncontent-length: 0\r\n\r\n".encode()
    async with RawReceiver(tls, answering(answer)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.retry_after_seconds == pytest.approx(600, abs=30)


async def test_a_retry_after_date_of_a_receiver_whose_clock_is_off_is_read_against_its_own_date(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    dates = "date: Tue, 14 Nov 2023 22:13:20 GMT\r\nretry-after: Tue, 14 Nov 2023 22:15:20 GMT"
    answer = f"HTTP/1.1 503 Busy\r\n{dates}\r\ncontent-length: 0\r\n\r\n".encode()
    async with RawReceiver(tls, answering(answer)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.retry_after_seconds == 120


async def test_of_an_answer_its_first_16_kib_its_head_and_its_size_are_kept(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    text = bytes(range(256)) * 100
    answer = b"HTTP/1.1 500 Oops\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
    async with RawReceiver(tls, answering(answer)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert (outcome.answer, outcome.answer_is_cut) == (text[:MAX_BODY_BYTES_KEPT], True)
    assert outcome.answer_bytes == len(text)
    assert outcome.answer_head == answer[: answer.index(text)]


async def test_a_compressed_answer_is_not_unpacked_and_not_kept(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
    async with RawReceiver(tls, answering(head + bomb)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.DELIVERED
    assert (outcome.answer, outcome.answer_bytes) == (b"", len(bomb))
    assert b"content-encoding: gzip" in outcome.answer_head


async def test_an_endless_answer_is_cut_off_and_its_status_counts(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    sent = 0
    cut_off = asyncio.Event()

    async def script(line: Line) -> None:
        nonlocal sent
        await line.hear()
        await line.say(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await line.say(b"x" * 16384)
                sent += 16384
        except OSError:
            cut_off.set()

    async with RawReceiver(tls, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))
        await asyncio.wait_for(cut_off.wait(), 10)

    assert outcome.reason is Reason.DELIVERED
    assert outcome.answer == b"x" * MAX_BODY_BYTES_KEPT
    assert sent < 64 * 1024 * 1024


async def test_informational_answers_before_the_real_one_are_passed_over(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async with RawReceiver(tls, answering(b"HTTP/1.1 102 Processing\r\n\r\n" * 20 + OK)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert (outcome.reason, outcome.status) == (Reason.DELIVERED, 200)


async def test_a_change_of_protocol_is_no_delivery(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    async with RawReceiver(tls, answering(answer)) as receiver:
        for connection in (1, 2):
            outcome = await outcome_of(caller, call_to(receiver.port, trust))
            assert (outcome.reason, outcome.status) == (Reason.HTTP_STATUS, 101)
            assert receiver.heard[-1].connection == connection


async def test_a_large_header_of_the_answer_does_no_harm(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: " + b"c" * 20_000 + b"\r\ncontent-length: 0\r\n\r\n"
    async with RawReceiver(tls, answering(answer)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.DELIVERED


@pytest.mark.filterwarnings("ignore:Sending a large body")
async def test_an_answer_before_the_body_was_read_counts(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        outcome = await outcome_of(caller, replace(call_to(receiver.port, trust), body=b"x" * 20_000_000))

    assert (outcome.reason, outcome.status) == (Reason.HTTP_STATUS, 413)


async def test_an_http_1_0_answer_that_ends_with_the_connection_is_whole(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(b"HTTP/1.0 200 OK\r\n\r\ndone")

    async with RawReceiver(tls, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert (outcome.reason, outcome.answer) == (Reason.DELIVERED, b"done")


@pytest.mark.usefixtures("names")
async def test_cookies_are_neither_kept_nor_sent(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: session=1; path=/\r\ncontent-length: 0\r\n\r\n"
    async with RawReceiver(tls, answering(answer)) as receiver:
        for _ in range(2):
            await outcome_of(caller, call_to(receiver.port, trust, host="receiver.test"))

    assert len(receiver.heard) == 2
    assert b"cookie" not in b"".join(heard.head for heard in receiver.heard).lower()


# What goes over the wire


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a/../b//c/./d",
        "/a%2Fb%2fc;v=1?x=%7e%7E&y=+%20&z",
        "/p?a=b?c=d/../e",
        "/tricky%zz?%",
        "/q?x=[1]{2}|3^`4",
        "/sub:colon@at!$&'()*,=",
        "?only=query",
    ],
)
async def test_path_and_query_arrive_as_typed(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, target: str
) -> None:
    async with RawReceiver(tls) as receiver:
        url = f"https://127.0.0.1:{receiver.port}{target}#fragment"
        await outcome_of(caller, replace(call_to(0, trust), url=url))

    assert receiver.heard[0].request_line == b"POST %b HTTP/1.1" % f"/{target.removeprefix('/')}".encode()


async def test_what_a_request_line_cannot_hold_is_percent_encoded(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async with RawReceiver(tls) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/straße/a b\r\nx: y?q=é"
        await outcome_of(caller, replace(call_to(0, trust), url=url))

    assert receiver.heard[0].request_line == b"POST /stra%C3%9Fe/a%20b%0D%0Ax:%20y?q=%C3%A9 HTTP/1.1"


async def test_headers_arrive_as_given_and_none_is_added_but_host_and_length(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    headers = [
        ("Content-Type", "application/json"),
        ("X-CaSe", " a  b\t"),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("x-u", "ü"),
    ]
    async with RawReceiver(tls) as receiver:
        await outcome_of(caller, replace(call_to(receiver.port, trust), headers=headers))

    assert receiver.heard[0].header_lines == [
        b"Host: 127.0.0.1:%d" % receiver.port,
        b"Content-Type: application/json",
        b"X-CaSe:  a  b\t",
        b"x-twice: 1",
        b"x-twice: 2",
        "x-u: ü".encode(),
        b"Content-Length: %d" % len(BODY),
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"a": "\xc3\xa9"}\n', b"\x00\xff\r\n\r\n" * 3, b"x" * 1_000_000])
async def test_the_body_arrives_byte_by_byte(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, body: bytes
) -> None:
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, replace(call_to(receiver.port, trust), body=body))

    assert outcome.reason is Reason.DELIVERED
    assert receiver.heard[0].body == body
    assert b"Content-Length: %d" % len(body) in receiver.heard[0].header_lines


@pytest.mark.usefixtures("names")
async def test_a_host_header_moves_neither_the_connection_nor_the_name_that_is_verified(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async with RawReceiver(tls) as receiver:
        call = call_to(receiver.port, trust, host="receiver.test")
        outcome = await outcome_of(caller, replace(call, headers=[("hOsT", "inside.test")]))

    assert outcome.reason is Reason.DELIVERED
    assert receiver.server_names == ["receiver.test"]
    assert [line for line in receiver.heard[0].header_lines if line.lower().startswith(b"host")] == [
        b"hOsT: inside.test"
    ]


async def test_connections_are_used_again(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    async with RawReceiver(tls) as receiver:
        for _ in range(5):
            assert (await outcome_of(caller, call_to(receiver.port, trust))).reason is Reason.DELIVERED

    assert [heard.connection for heard in receiver.heard] == [1, 1, 1, 1, 1]


@on_both_loops
def test_connections_are_used_again_after_large_bodies(
    tls: ssl.SSLContext, trust: TlsMaterial, loop_factory: LoopFactory
) -> None:
    async def call_ten_times() -> list[int]:
        caller = Caller(lambda: LOCAL)
        async with RawReceiver(tls) as receiver:
            for _ in range(10):
                await outcome_of(caller, replace(call_to(receiver.port, trust), body=b"x" * 256 * 1024))
            connections = [heard.connection for heard in receiver.heard]
        await caller.aclose()
        return connections

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(call_ten_times()) == [1] * 10


async def test_calls_at_once_each_have_a_connection(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    everyone = asyncio.Barrier(20)

    async def script(line: Line) -> None:
        await line.hear()
        await everyone.wait()
        await line.say(OK)
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        outcomes = await asyncio.gather(*(outcome_of(caller, call_to(receiver.port, trust)) for _ in range(20)))

    assert {outcome.reason for outcome in outcomes} == {Reason.DELIVERED}


async def test_webhooks_with_different_trust_share_no_connection(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async with RawReceiver(tls) as receiver:
        assert (await outcome_of(caller, call_to(receiver.port, trust))).reason is Reason.DELIVERED
        stranger = TlsMaterial(ca_pem=trustme.CA().cert_pem.bytes())
        refused = await outcome_of(caller, call_to(receiver.port, stranger))

    assert refused.reason is Reason.CERTIFICATE_INVALID
    assert len(receiver.heard) == 1


async def test_tenants_share_no_connection(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    async with RawReceiver(tls) as receiver:
        for tenant in ("team-a", "team-b", "team-a", "team-b"):
            await outcome_of(caller, replace(call_to(receiver.port, trust), tenant=tenant))

    assert [heard.connection for heard in receiver.heard] == [1, 2, 1, 2]


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_kept_connection_that_ends_under_a_call_is_replaced_at_once(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, end: str
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        if line.number == 1:
            await line.say(OK)
            await line.hear()
            if end == "reset":
                line.reset()
            return
        await line.say(OK)
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        outcomes = [await outcome_of(caller, call_to(receiver.port, trust)) for _ in range(2)]

    assert [outcome.reason for outcome in outcomes] == [Reason.DELIVERED, Reason.DELIVERED]
    assert [heard.connection for heard in receiver.heard] == [1, 1, 2]
    assert receiver.heard[1].body == receiver.heard[2].body == BODY


async def test_a_fresh_connection_that_ends_is_not_replaced(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async def script(line: Line) -> None:
        await line.hear()

    async with RawReceiver(tls, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.CONNECTION_RESET
    assert len(receiver.heard) == 1


async def test_proxies_of_the_environment_are_not_used(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.DELIVERED


# How connections fail


async def test_a_port_where_nobody_listens(caller: Caller, trust: TlsMaterial) -> None:
    outcome = await outcome_of(caller, call_to(free_port(), trust))

    assert outcome.reason is Reason.CONNECTION_REFUSED
    assert outcome.status is None


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("host", "problem"),
    [("nowhere.test", "the name has no address"), ("unanswered.test", "no name server answered")],
)
async def test_a_name_that_cannot_be_looked_up(caller: Caller, trust: TlsMaterial, host: str, problem: str) -> None:
    outcome = await outcome_of(caller, call_to(443, trust, host=host))

    assert outcome.reason is Reason.DNS_FAILURE
    assert outcome.detail.startswith(f"{host}:443: ")
    assert problem in outcome.detail


@pytest.mark.usefixtures("names")
async def test_a_lookup_that_hangs(caller: Caller, trust: TlsMaterial) -> None:
    outcome = await outcome_of(caller, call_to(443, trust, host="hanging.test", timeout_seconds=0.2))

    assert outcome.reason is Reason.CONNECT_TIMEOUT
    assert "looked up" in outcome.detail


async def test_a_connection_that_is_never_accepted(caller: Caller, trust: TlsMaterial) -> None:
    with full_backlog() as port:
        outcome = await outcome_of(caller, call_to(port, trust, timeout_seconds=0.3))

    assert outcome.reason is Reason.CONNECT_TIMEOUT
    assert "while the connection was being made" in outcome.detail


async def test_connecting_and_the_tls_handshake_are_bounded_apart_from_the_whole_call(
    caller: Caller, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.delivery.http.attempt.CONNECT_TIMEOUT_SECONDS", 0.3)
    with full_backlog() as port:
        connecting = await outcome_of(caller, call_to(port, trust, timeout_seconds=20))
    async with RawReceiver(None, Line.gone) as receiver:
        shaking_hands = await outcome_of(caller, call_to(receiver.port, trust, timeout_seconds=20))

    assert connecting.reason is Reason.CONNECT_TIMEOUT
    assert shaking_hands.reason is Reason.TLS_TIMEOUT
    assert connecting.duration_seconds < 10
    assert shaking_hands.duration_seconds < 10


async def test_a_receiver_that_never_starts_tls(caller: Caller, trust: TlsMaterial) -> None:
    async with RawReceiver(None, Line.gone) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, timeout_seconds=0.3))

    assert outcome.reason is Reason.TLS_TIMEOUT


async def test_a_receiver_that_never_answers(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, timeout_seconds=0.5))

    assert outcome.reason is Reason.FIRST_BYTE_TIMEOUT
    assert outcome.status is None
    assert outcome.duration_seconds == pytest.approx(0.5, abs=0.4)


async def test_a_receiver_that_never_answers_on_a_kept_connection(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(OK)
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        assert (await outcome_of(caller, call_to(receiver.port, trust))).reason is Reason.DELIVERED
        outcome = await outcome_of(caller, call_to(receiver.port, trust, timeout_seconds=0.3))

    assert outcome.reason is Reason.FIRST_BYTE_TIMEOUT


async def test_an_answer_that_trickles_is_bounded_by_the_time_of_the_whole_call(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await line.say(b"x")
            await asyncio.sleep(0.02)

    async with RawReceiver(tls, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, timeout_seconds=0.5))

    assert (outcome.reason, outcome.status) == (Reason.TIMEOUT, 200)


@pytest.mark.parametrize(
    ("said", "reason", "status"),
    [
        (b"", Reason.CONNECTION_RESET, None),
        (b"HTTP/1.1 200", Reason.CONNECTION_RESET, None),
        (b"HTTP/1.1 200 OK\r\ncontent-le", Reason.CONNECTION_RESET, None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", Reason.CONNECTION_RESET, 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", Reason.CONNECTION_RESET, 200),
    ],
)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_an_answer_that_ends_too_early(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, said: bytes, reason: Reason, status: int | None, end: str
) -> None:
    heard_answer = asyncio.Event()

    async def script(line: Line) -> None:
        await line.hear()
        await line.say(said)
        if status is not None:
            await heard_answer.wait()
        if end == "reset":
            line.reset()

    async with RawReceiver(tls, script) as receiver:
        # The receiver holds its end back until the head of the answer has been read, whatever the machine's pace.
        asyncio.get_running_loop().call_later(0.2, heard_answer.set)
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert (outcome.reason, outcome.status) == (reason, status)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/9.9 maybe\r\n\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 140_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30_000 + b"\r\n",
    ],
)
async def test_an_answer_that_is_no_http(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, said: bytes) -> None:
    async with RawReceiver(tls, answering(said)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, timeout_seconds=5))

    assert outcome.reason is Reason.BAD_RESPONSE


async def test_a_malformed_chunk_is_a_bad_response(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    async def script(line: Line) -> None:
        await line.hear()
        await line.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc")
        await line.gone()

    async with RawReceiver(tls, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, timeout_seconds=5))

    assert outcome.reason is Reason.BAD_RESPONSE


# TLS


async def test_a_receiver_that_does_not_speak_tls(caller: Caller, trust: TlsMaterial) -> None:
    async def script(line: Line) -> None:
        await line.reader.read(100)
        await line.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with RawReceiver(None, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.TLS_FAILURE
    assert "does not speak TLS on this port" in outcome.detail


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_receiver_that_hangs_up_during_the_handshake(caller: Caller, trust: TlsMaterial, end: str) -> None:
    async def script(line: Line) -> None:
        await line.reader.read(100)
        if end == "reset":
            line.reset()

    async with RawReceiver(None, script) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.CONNECTION_RESET
    assert "during the TLS handshake" in outcome.detail


async def test_an_authority_that_is_not_the_one_of_the_webhook(caller: Caller, tls: ssl.SSLContext) -> None:
    async with RawReceiver(tls) as receiver:
        stranger = TlsMaterial(ca_pem=trustme.CA().cert_pem.bytes())
        outcome = await outcome_of(caller, call_to(receiver.port, stranger))

    assert outcome.reason is Reason.CERTIFICATE_INVALID
    assert "not signed by the CA in tls.caSecretRef" in outcome.detail
    assert receiver.heard == []


async def test_an_authority_that_the_system_does_not_know(caller: Caller, tls: ssl.SSLContext) -> None:
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, None))

    assert outcome.reason is Reason.CERTIFICATE_INVALID
    assert "name it in tls.caSecretRef" in outcome.detail


async def test_the_authorities_of_the_system_count_unless_the_webhook_names_its_own(
    caller: Caller, ca: trustme.CA, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca.cert_pem.write_to_path(tmp_path / "system.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    async with RawReceiver(tls) as receiver:
        by_system = await outcome_of(caller, call_to(receiver.port, None))
        stranger = TlsMaterial(ca_pem=trustme.CA().cert_pem.bytes())
        by_stranger = await outcome_of(caller, call_to(receiver.port, stranger))

    assert by_system.reason is Reason.DELIVERED
    assert by_stranger.reason is Reason.CERTIFICATE_INVALID


async def test_a_self_signed_certificate_may_itself_be_the_trusted_one(caller: Caller) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    async with RawReceiver(server_context(certificate)) as receiver:
        itself = TlsMaterial(ca_pem=b"# caf\xc3\xa9\n" + certificate.cert_chain_pems[0].bytes())
        outcome = await outcome_of(caller, call_to(receiver.port, itself))

    assert outcome.reason is Reason.DELIVERED


async def test_an_expired_certificate(caller: Caller, ca: trustme.CA, trust: TlsMaterial) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = ca.issue_cert("127.0.0.1", not_before=yesterday - datetime.timedelta(days=9), not_after=yesterday)
    async with RawReceiver(server_context(certificate)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.CERTIFICATE_INVALID
    assert "expired" in outcome.detail


async def test_a_certificate_that_is_not_valid_yet(caller: Caller, ca: trustme.CA, trust: TlsMaterial) -> None:
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    certificate = ca.issue_cert("127.0.0.1", not_before=tomorrow, not_after=tomorrow + datetime.timedelta(days=9))
    async with RawReceiver(server_context(certificate)) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust))

    assert outcome.reason is Reason.CERTIFICATE_INVALID
    assert "not valid yet" in outcome.detail


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
async def test_a_certificate_for_another_name(caller: Caller, ca: trustme.CA, trust: TlsMaterial, host: str) -> None:
    async with RawReceiver(server_context(ca.issue_cert("receiver.test"))) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, host=host))

    assert outcome.reason is Reason.CERTIFICATE_INVALID
    assert "for another name" in outcome.detail


class Own:
    """A CA without key identifiers, and what it vouches for."""

    def __init__(self, name: str = "Own CA") -> None:
        self._name, self._key = name, ec.generate_private_key(ec.SECP256R1())
        self.pem = certificate(name, self._key, name, self._key, is_ca=True)

    def server(self, tmp_path: Path, name: str, *dns_names: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = certificate(name, key, self._name, self._key, dns_names=dns_names)
        (tmp_path / "server.pem").write_bytes(leaf + pem_of(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        return context


@pytest.mark.usefixtures("names")
async def test_a_wildcard_stands_for_no_name_with_an_underscore_and_the_detail_says_so(
    caller: Caller, tmp_path: Path
) -> None:
    own = Own()
    trust = TlsMaterial(ca_pem=own.pem)
    async with RawReceiver(own.server(tmp_path, "x", "*.wild.test")) as receiver:
        by_wildcard = await outcome_of(caller, call_to(receiver.port, trust, host="b_c.wild.test"))
        plain = await outcome_of(caller, call_to(receiver.port, trust, host="bc.wild.test"))
    async with RawReceiver(own.server(tmp_path, "x", "b_c.wild.test")) as receiver:
        in_full = await outcome_of(caller, call_to(receiver.port, trust, host="b_c.wild.test"))

    assert by_wildcard.reason is Reason.CERTIFICATE_INVALID
    assert "no wildcard stands for a name with _" in by_wildcard.detail
    assert (plain.reason, in_full.reason) == (Reason.DELIVERED, Reason.DELIVERED)


@pytest.mark.usefixtures("names")
async def test_a_certificate_that_lists_no_names_is_for_its_common_name(caller: Caller, tmp_path: Path) -> None:
    own = Own()
    async with RawReceiver(own.server(tmp_path, "receiver.test")) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, TlsMaterial(ca_pem=own.pem), host="receiver.test"))
        other = await outcome_of(caller, call_to(receiver.port, TlsMaterial(ca_pem=own.pem), host="other.test"))

    assert (outcome.reason, other.reason) == (Reason.DELIVERED, Reason.CERTIFICATE_INVALID)


@pytest.mark.usefixtures("names")
async def test_of_two_cas_of_one_name_without_key_identifiers_one_counts_and_the_detail_says_so(
    caller: Caller, tmp_path: Path
) -> None:
    old, new = Own(), Own()
    both = TlsMaterial(ca_pem=old.pem + new.pem)
    outcomes = []
    for own in (old, new):
        async with RawReceiver(own.server(tmp_path, "x", "receiver.test")) as receiver:
            outcomes.append(await outcome_of(caller, call_to(receiver.port, both, host="receiver.test")))

    assert sorted(outcome.reason for outcome in outcomes) == [Reason.CERTIFICATE_INVALID, Reason.DELIVERED]
    assert any("of several CAs of one name without key identifiers" in outcome.detail for outcome in outcomes)


@on_both_loops
def test_a_receiver_that_takes_only_who_offers_http_1_1(
    tls: ssl.SSLContext, trust: TlsMaterial, loop_factory: LoopFactory
) -> None:
    tls.set_alpn_protocols(["http/1.1"])

    async def strict(line: Line) -> None:
        if line.writer.get_extra_info("ssl_object").selected_alpn_protocol() != "http/1.1":
            line.reset()
        else:
            await answering(OK)(line)

    async def deliver() -> Outcome:
        async with RawReceiver(tls, strict) as receiver:
            caller = Caller(lambda: LOCAL)
            outcome = await outcome_of(caller, call_to(receiver.port, trust))
            await caller.aclose()
            return outcome

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(deliver()).reason is Reason.DELIVERED


@on_both_loops
@pytest.mark.parametrize("mode", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
def test_a_client_certificate_is_shown_to_who_asks_for_it_after_the_handshake(
    ca: trustme.CA, tls: ssl.SSLContext, trust: TlsMaterial, loop_factory: LoopFactory, mode: ssl.VerifyMode
) -> None:
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.verify_mode, tls.post_handshake_auth = mode, True
    ca.configure_trust(tls)

    async def deliver(material: TlsMaterial, port: int) -> Outcome:
        caller = Caller(lambda: LOCAL)
        outcome = await outcome_of(caller, call_to(port, material))
        await caller.aclose()
        return outcome

    with strict_receiver(tls, asks_late=True) as port, asyncio.Runner(loop_factory=loop_factory) as runner:
        known = runner.run(deliver(with_client_certificate(trust, ca), port))
        without = runner.run(deliver(trust, port))

    assert known.reason is Reason.DELIVERED, known
    assert without.reason is not Reason.DELIVERED
    assert mode is ssl.CERT_REQUIRED or without.status == 403


async def test_a_receiver_without_tls_1_2(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        tls.minimum_version = ssl.TLSVersion.TLSv1
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with strict_receiver(tls) as port:
        outcome = await outcome_of(caller, call_to(port, trust))

    assert outcome.reason is Reason.TLS_FAILURE
    assert "no TLS version from 1.2 on" in outcome.detail


async def test_tls_1_2_is_enough(caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial) -> None:
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    async with RawReceiver(tls) as receiver:
        assert (await outcome_of(caller, call_to(receiver.port, trust))).reason is Reason.DELIVERED


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_is_shown_where_it_is_demanded(
    caller: Caller, ca: trustme.CA, tls: ssl.SSLContext, trust: TlsMaterial, version: ssl.TLSVersion
) -> None:
    tls.minimum_version = tls.maximum_version = version
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    with strict_receiver(tls) as port:
        without = await outcome_with_alert(caller, call_to(port, trust))
        stranger = await outcome_with_alert(caller, call_to(port, with_client_certificate(trust, trustme.CA())))
        known = await outcome_of(caller, call_to(port, with_client_certificate(trust, ca)))

    assert without.reason is Reason.TLS_FAILURE
    assert "client certificate" in without.detail
    assert stranger.reason is Reason.TLS_FAILURE
    assert known.reason is Reason.DELIVERED


async def test_the_connection_that_was_used_last_is_used_first(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    """So that connections of a burst end once it is over: with the one unused for longest, each is kept for ever."""
    all_there = asyncio.Barrier(4)

    async def script(line: Line) -> None:
        await line.hear()
        await all_there.wait()
        await line.say(OK)
        while await line.hear() is not None:
            await line.say(OK)

    async with RawReceiver(tls, script) as receiver:
        call = call_to(receiver.port, trust)
        await asyncio.gather(*(outcome_of(caller, call) for _ in range(4)))
        for _ in range(8):
            await outcome_of(caller, call)
        assert receiver.connections == 4
        assert len({heard.connection for heard in receiver.heard[4:]}) == 1


async def test_a_rotated_client_certificate_is_shown_at_the_next_call(
    caller: Caller, ca: trustme.CA, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    shown: list[bytes] = []

    async def script(line: Line) -> None:
        while await line.hear() is not None:
            shown.append(line.writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            await line.say(OK)

    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    before, after = with_client_certificate(trust, ca), with_client_certificate(trust, ca)
    async with RawReceiver(tls, script) as receiver:
        for material in (before, before, after, after):
            assert (await outcome_of(caller, call_to(receiver.port, material))).reason is Reason.DELIVERED

    assert shown[0] == shown[1] != shown[2] == shown[3]
    assert receiver.connections == 2


async def test_a_rotated_authority_counts_at_the_next_call_though_a_connection_is_kept(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    rotated = TlsMaterial(ca_pem=trustme.CA().cert_pem.bytes())
    async with RawReceiver(tls) as receiver:
        reasons = [(await outcome_of(caller, call_to(receiver.port, each))).reason for each in (trust, rotated, trust)]

    assert reasons == [Reason.DELIVERED, Reason.CERTIFICATE_INVALID, Reason.DELIVERED]


async def test_system_authorities_are_found_in_their_folder_too(
    caller: Caller,
    ca: trustme.CA,
    tls: ssl.SSLContext,
    trust: TlsMaterial,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A Webhook with a client certificate and no CA: its context reads authorities one by one."""
    name = x509_name_hash(ca.cert_pem.bytes(), tmp_path)
    ca.cert_pem.write_to_path(tmp_path / f"{name}.0")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    client = replace(with_client_certificate(trust, ca), ca_pem=None)
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, client))

    assert outcome.reason is Reason.DELIVERED


def x509_name_hash(certificate_pem: bytes, folder: Path) -> str:
    (folder / "ca.pem").write_bytes(certificate_pem)
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(folder / "ca.pem")]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        pytest.skip("needs the openssl command")


async def outcome_with_alert(caller: Caller, call: Call) -> Outcome:
    """In TLS 1.3 the alert follows the handshake; if it crosses the request, only a broken connection is seen."""
    for _ in range(20):
        outcome = await outcome_of(caller, call)
        if outcome.reason is not Reason.CONNECTION_RESET:
            break
    return outcome


def with_client_certificate(trust: TlsMaterial, ca: trustme.CA) -> TlsMaterial:
    client = ca.issue_cert("sender.test")
    certificate_pem = b"".join(pem.bytes() for pem in client.cert_chain_pems)
    return replace(trust, client_cert_pem=certificate_pem, client_key_pem=client.private_key_pem.bytes())


ENCRYPTED_KEY = b"""-----BEGIN ENCRYPTED PRIVATE KEY-----
CANARY-7f3a
-----END ENCRYPTED PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("material", "problem"),
    [
        (TlsMaterial(ca_pem=b""), "tls.caSecretRef"),
        (TlsMaterial(ca_pem=CANARY.encode()), "tls.caSecretRef"),
        (TlsMaterial(ca_pem=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "tls.caSecretRef"),
        (TlsMaterial(client_cert_pem=b"x"), "both tls.crt and tls.key"),
        (TlsMaterial(client_key_pem=b"x"), "both tls.crt and tls.key"),
        (TlsMaterial(client_cert_pem=b"x", client_key_pem=CANARY.encode()), "tls.clientCertSecretRef"),
        (TlsMaterial(client_cert_pem=b"x", client_key_pem=ENCRYPTED_KEY), "tls.clientCertSecretRef"),
    ],
)
async def test_unusable_tls_material_names_the_field(caller: Caller, material: TlsMaterial, problem: str) -> None:
    outcome = await outcome_of(caller, call_to(free_port(), material))

    assert outcome.reason is Reason.INVALID_CALL
    assert problem in outcome.detail


# What may be called


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.1.", "2130706433", "0x7f.1", "[::1]"])
async def test_loopback_is_refused_unless_it_is_opened(tls: ssl.SSLContext, trust: TlsMaterial, host: str) -> None:
    caller = Caller(EgressPolicy)
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, host=host))
        await caller.aclose()

    assert outcome.reason is Reason.EGRESS_REFUSED
    assert "--allow-cidr " in outcome.detail
    assert receiver.connections == 0


async def test_localhost_may_be_called_once_its_address_is_opened(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, host="localhost"))

    assert outcome.reason is Reason.DELIVERED


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("host", "refused"), [("inside.test", "10.1.2.3 is a private address"), ("mixed.test", "169.254.169.254")]
)
async def test_a_name_is_refused_when_any_of_its_records_is(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, host: str, refused: str
) -> None:
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, host=host))

    assert outcome.reason is Reason.EGRESS_REFUSED
    assert host in outcome.detail
    assert refused in outcome.detail
    assert receiver.connections == 0


@pytest.mark.usefixtures("names")
async def test_a_socket_is_refused_even_when_the_lookup_let_it_pass(
    tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last check alone: a lookup without the check stands for any way around it."""
    monkeypatch.setattr("hookline.delivery.http.egress_guard.CheckedResolver.resolve", Names.resolve)
    monkeypatch.setitem(NAMES, "receiver.test", ["127.0.0.1", "127.0.0.2"])
    caller = Caller(EgressPolicy)
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, call_to(receiver.port, trust, host="receiver.test"))
        await caller.aclose()

    assert outcome.reason is Reason.EGRESS_REFUSED
    assert receiver.connections == 0


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("host", ["127.0.0.1", "receiver.test"])
async def test_a_change_of_the_policy_holds_at_once_in_both_directions(
    tls: ssl.SSLContext, trust: TlsMaterial, host: str
) -> None:
    current = [EgressPolicy()]
    caller = Caller(lambda: current[0])
    async with RawReceiver(tls) as receiver:
        for policy, reason in (
            (EgressPolicy(), Reason.EGRESS_REFUSED),
            (LOCAL, Reason.DELIVERED),
            (LOCAL, Reason.DELIVERED),
            (EgressPolicy(), Reason.EGRESS_REFUSED),
            (LOCAL, Reason.DELIVERED),
        ):
            current[0] = policy
            assert (await outcome_of(caller, call_to(receiver.port, trust, host=host))).reason is reason
        await caller.aclose()

    assert len(receiver.heard) == 3


@pytest.mark.usefixtures("names")
async def test_a_kept_connection_is_not_used_again_once_its_address_is_closed(
    tls: ssl.SSLContext, trust: TlsMaterial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name meanwhile leads to an address that is still open, so only the kept connection is in the way."""
    policy = LOCAL
    caller = Caller(lambda: policy)
    async with RawReceiver(tls) as receiver:
        assert (
            await outcome_of(caller, call_to(receiver.port, trust, host="receiver.test"))
        ).reason is Reason.DELIVERED
        monkeypatch.setitem(NAMES, "receiver.test", ["127.0.0.2"])
        policy = EgressPolicy(parse_cidrs(["127.0.0.2"]))
        outcome = await outcome_of(caller, call_to(receiver.port, trust, host="receiver.test"))
        await caller.aclose()

    assert outcome.reason is Reason.CONNECTION_REFUSED
    assert len(receiver.heard) == 1


# Calls that cannot be built


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"http://127.0.0.1/{CANARY}", "must start with https://"),
        (f"ftp://127.0.0.1/{CANARY}", "must start with https://"),
        (CANARY, "must start with https://"),
        ("", "must start with https://"),
        (f"https:///{CANARY}", "not valid"),
        (f"https://[fe80::1%25eth0]/{CANARY}", "not valid"),
        (f"https://127.0.0.1:0/{CANARY}", "not valid"),
        (f"https://127.0.0.1/{CANARY}\ud800", "not valid"),
        (f"https://user:{CANARY}@127.0.0.1/", "user name"),
        (f"https://127.0.0.1\\@{CANARY}/", "user name"),
        (f"https://127.0.0.1:port/{CANARY}", "not valid"),
        (f"https://127.0.0.1:99999/{CANARY}", "not valid"),
        (f"https://[::1/{CANARY}", "not valid"),
        (f"https://a b/{CANARY}", "not valid"),
        (f"https://134744072/{CANARY}", "four decimal numbers"),
    ],
)
async def test_an_unusable_url_is_named_without_being_repeated(caller: Caller, url: str, problem: str) -> None:
    outcome = await outcome_of(caller, Call(url, HEADERS, BODY, 5))

    assert outcome.reason is Reason.INVALID_CALL
    assert problem in outcome.detail


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("x-split", f"{CANARY}\r\nx-evil: 1", "line break"),
        ("x-split", f"{CANARY}\n", "line break"),
        ("x-null", f"{CANARY}\x00", "control character"),
        ("x bad", CANARY, "header name"),
        ("x-bad\r\n", CANARY, "header name"),
        ("", CANARY, "header name"),
        ("é", CANARY, "header name"),
        ("Content-Length", "1", "belongs to the connection"),
        ("Transfer-Encoding", "chunked", "belongs to the connection"),
        ("connection", "close", "belongs to the connection"),
        ("Expect", "100-continue", "belongs to the connection"),
    ],
)
async def test_an_unusable_header_is_named_without_its_value(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial, name: str, value: str, problem: str
) -> None:
    async with RawReceiver(tls) as receiver:
        outcome = await outcome_of(caller, replace(call_to(receiver.port, trust), headers=[(name, value)]))

    assert outcome.reason is Reason.INVALID_CALL
    assert problem in outcome.detail
    assert receiver.connections == 0


async def test_a_lone_surrogate_in_a_header_is_an_outcome_too(caller: Caller, trust: TlsMaterial) -> None:
    outcome = await outcome_of(caller, replace(call_to(free_port(), trust), headers=[("x-a", f"{CANARY}\ud800")]))

    assert outcome.reason is Reason.INVALID_CALL


# The rest


def test_neither_calls_nor_tls_material_print_what_they_hold() -> None:
    material = TlsMaterial(*[CANARY.encode()] * 3)

    assert CANARY not in repr(call_to(443, material))
    assert CANARY not in repr(material)


async def test_a_cancelled_call_is_cancelled_and_its_connection_closed(
    caller: Caller, tls: ssl.SSLContext, trust: TlsMaterial
) -> None:
    calling, hung_up = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.hear()
        calling.set()
        await line.gone()
        hung_up.set()

    async with RawReceiver(tls, script) as receiver:
        task = asyncio.create_task(caller.call(call_to(receiver.port, trust)))
        await calling.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(hung_up.wait(), 10)


async def test_a_failing_policy_is_an_outcome_too(trust: TlsMaterial) -> None:
    def policy() -> EgressPolicy:
        raise RuntimeError(CANARY)

    caller = Caller(policy)
    outcome = await outcome_of(caller, call_to(free_port(), trust))
    await caller.aclose()

    assert outcome.reason is Reason.INTERNAL_ERROR


async def test_closing_without_a_call_is_fine() -> None:
    await Caller(EgressPolicy).aclose()


@pytest.mark.parametrize("fault", ["refused", "reset", "not HTTP", "unknown name"])
async def test_a_call_that_failed_leaves_nothing_to_the_collector(caller: Caller, names: None, fault: str) -> None:
    """It looks seldom, and a body has up to 256 KiB."""

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if fault == "not HTTP":
            writer.write(b"SSH-2.0-x\r\n")
        else:
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if fault == "refused":
        server.close()
    call = Call(f"https://{'no.test' if fault == 'unknown name' else '127.0.0.1'}:{port}/", [], BODY, 5)
    assert (await caller.call(call)).reason is not Reason.DELIVERED
    try:
        gc.disable()
        gc.collect()
        for _ in range(20):
            await caller.call(replace(call))
        await asyncio.sleep(0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, Call)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        server.close()
