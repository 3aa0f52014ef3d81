"""Every reason that a receiver or a network can produce, through a whole sender process: one word everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from controlplane.ports import free_port
from doubles import own
from doubles.command import running
from doubles.connect_proxy import ConnectProxy
from doubles.kubelet import atomic_write
from doubles.local import dead_letters, publish, until_stored
from doubles.raw_receiver import Line, RawReceiver, Script, answering, full_backlog
from hookline.delivery.policy.retry import Reason, Then
from hookline.local.nats_server import NatsServer
from hookline.routing.book_files import encode
from hookline.routing.routes import DispatcherRecord, Keys, Route, book_of
from hookline.stream.connection import Client

BY_A_PROXY = {Reason.PROXY_UNREACHABLE, Reason.PROXY_REFUSED}
"""All calls of a Dispatcher go through its proxy, or none."""

NOT_BY_A_RECEIVER = {Reason.INTERNAL_ERROR, *BY_A_PROXY}
"""The first is a fault of our own; tests/component/test_attempt.py has one made for it."""


async def never_answers(line: Line) -> None:
    await line.hear()
    await line.gone()


async def never_ends(line: Line) -> None:
    await line.hear()
    await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1")
    await line.gone()


async def resets(line: Line) -> None:
    await line.hear()
    line.reset()


async def speaks_plain_text(line: Line) -> None:
    await line.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await line.gone()


SCRIPTS: dict[Reason, tuple[bool, Script]] = {
    Reason.DELIVERED: (True, answering(b"HTTP/1.1 204 No Content\r\n\r\n")),
    Reason.REDIRECT: (True, answering(b"HTTP/1.1 308 Permanent Redirect\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")),
    Reason.GONE: (True, answering(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")),
    Reason.TOO_MANY_REQUESTS: (True, answering(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")),
    Reason.HTTP_STATUS: (True, answering(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")),
    Reason.BAD_RESPONSE: (True, answering(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")),
    Reason.FIRST_BYTE_TIMEOUT: (True, never_answers),
    Reason.TIMEOUT: (True, never_ends),
    Reason.CONNECTION_RESET: (True, resets),
    Reason.TLS_TIMEOUT: (False, Line.gone),
    Reason.TLS_FAILURE: (False, speaks_plain_text),
}
"""What receivers do: whether they speak TLS, and how they answer."""


class Endpoints:
    """One Webhook for each reason, named after it, with a single attempt of at most a second."""

    def __init__(self, ca: trustme.CA) -> None:
        self._ca = ca
        self.entries: list[tuple[Route, Keys]] = []

    def add(self, reason: Reason, url: str, **keys: Any) -> None:
        uid = f"uid-{reason.lower()}"
        route = Route.model_validate(
            {
                "uid": uid,
                "namespace": "default",
                "name": reason.lower(),
                "generation": 1,
                "state": "Active",
                "event": "IdentityCreated",
                "url": url,
                "timeout_seconds": 1,
                "schedule_seconds": (),
                "max_concurrency": 1,
            }
        )
        self.entries.append((route, Keys(uid=uid, **{"ca_pem": self._ca.cert_pem.bytes().decode(), **keys})))


@contextlib.asynccontextmanager
async def endpoints() -> AsyncIterator[list[tuple[Route, Keys]]]:
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    found = Endpoints(ca)
    async with contextlib.AsyncExitStack() as stack:
        for reason, (speaks_tls, script) in SCRIPTS.items():
            receiver = await stack.enter_async_context(RawReceiver(tls if speaks_tls else None, script))
            found.add(reason, f"https://127.0.0.1:{receiver.port}/")
        good = await stack.enter_async_context(RawReceiver(tls))
        found.add(Reason.CERTIFICATE_INVALID, f"https://127.0.0.1:{good.port}/", ca_pem=other_authority())
        found.add(Reason.INVALID_CALL, f"https://127.0.0.1:{good.port}/", headers=(("X-A", "a\nb"),))
        found.add(Reason.EGRESS_REFUSED, "https://10.1.2.3/")
        found.add(Reason.DNS_FAILURE, "https://nothing.invalid/")
        found.add(Reason.CONNECTION_REFUSED, f"https://127.0.0.1:{free_port()}/")
        # The broadcast address of the loopback network: the kernel has no route to it for TCP.
        found.add(Reason.UNREACHABLE, "https://127.255.255.255/")
        found.add(Reason.CONNECT_TIMEOUT, f"https://127.0.0.1:{stack.enter_context(full_backlog())}/")
        yield found.entries


def other_authority() -> str:
    return trustme.CA().cert_pem.bytes().decode()


async def metrics(port: int) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()


async def sees_the_same_word_everywhere(
    folder: Path,
    nats_url: str,
    client: Client,
    entries: list[tuple[Route, Keys]],
    reasons: set[Reason],
    dispatcher: DispatcherRecord,
) -> None:
    """Through a sender process of its own; each entry is named after the reason that its call must end with."""
    volume = folder / "volume"
    volume.mkdir()
    atomic_write(volume, encode(book_of(entries, dispatcher)))
    words = ("sender", "--book", volume, "--nats", nats_url, "--listen", "127.0.0.1:0")
    with running(folder / "log", *words) as command:
        await asyncio.to_thread(command.until_says, "answering health and metrics")
        await publish(client)
        await until_stored(client, own.DEAD, len(reasons - {Reason.DELIVERED}))
        await until_stored(client, own.DELIVERIES, 0)
        told = await metrics(command.port)
        assert await asyncio.to_thread(command.end) == 0
    lines = [json.loads(line) for line in command.output.splitlines()]
    logged = {line["webhook"]: line["reason"] for line in lines if "webhook" in line and "reason" in line}
    letters = {letter.webhook: letter for letter in await dead_letters(client)}
    for reason in reasons:
        title = f"default/{reason.lower()}"
        assert logged.get(title) == reason, title
        assert f'hookline_attempts_total{{reason="{reason}"}} 1.0' in told, reason
        assert (title in letters) == (reason.then is not Then.DONE)
        if title in letters:
            last = letters[title].last_attempt
            assert last is not None
            assert last.outcome == reason
            assert last.detail
            assert letters[title].word == ("Gone" if reason.then is Then.DEAD else "ScheduleSpent")
    assert 'hookline_attempts_total{reason="InternalError"} 0.0' in told


async def test_each_reason_is_the_same_word_in_the_log_the_metric_and_the_dead_letter(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with endpoints() as entries:
        producible = set(Reason) - NOT_BY_A_RECEIVER
        assert {route.name for route, _ in entries} == {reason.lower() for reason in producible}
        dispatcher = DispatcherRecord(allow_cidrs=("127.0.0.0/8",))
        await sees_the_same_word_everywhere(tmp_path, nats_server.url, client, entries, producible, dispatcher)


@pytest.mark.parametrize("reason", sorted(BY_A_PROXY))
async def test_a_reason_of_a_proxy_is_the_same_word_in_the_log_the_metric_and_the_dead_letter(
    tmp_path: Path, nats_server: NatsServer, client: Client, reason: Reason
) -> None:
    found = Endpoints(trustme.CA())
    found.add(reason, "https://127.0.0.1/")
    async with ConnectProxy(answer=b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        port = proxy.port if reason is Reason.PROXY_REFUSED else free_port()
        dispatcher = DispatcherRecord(allow_cidrs=("127.0.0.0/8",), proxy_url=f"http://127.0.0.1:{port}")
        await sees_the_same_word_everywhere(tmp_path, nats_server.url, client, found.entries, {reason}, dispatcher)
