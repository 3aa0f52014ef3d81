"""The proxies of the kill matrix: a fault of theirs is never taken for the one that a row is about."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from crash import steps
from crash.scenario import connected
from crash.wire import HOST, NatsProxy, Passages, Proxy, Way
from hookline.local.nats_server import NatsServer
from hookline.stream import names
from hookline.stream.anchor import RENEW_BYTES, Anchor
from hookline.stream.publish import Publisher

UID = "6f1c1a52-0d2b-4a53-8a0e-3f9a37a3f0d1"


@pytest.mark.usefixtures("queue")
async def test_an_anchor_passes_late_and_the_connection_stays(nats_server: NatsServer) -> None:
    passages = Passages()
    async with NatsProxy(_port(nats_server), passages) as wire:
        wire.delay_seconds = 0.05
        async with connected(_through(wire, nats_server)) as late:
            await Anchor(Publisher(late)).stored(1, RENEW_BYTES)
        assert wire.connections == 1
    assert passages.counts["store anchor"] == 1
    assert not steps.unexplained(passages.counts)


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("subject", [names.delivery_subject(UID), names.parked_subject(UID)])
async def test_a_delivery_without_an_event_passes(nats_server: NatsServer, subject: str) -> None:
    async with NatsProxy(_port(nats_server), Passages()) as wire:
        async with connected(_through(wire, nats_server)) as near:
            await Publisher(near).store(subject, b"")
        assert wire.connections == 1


class _Broken(Proxy):
    def _may_pass(self, piece: bytes, way: Way) -> bool:
        raise RuntimeError("a piece that nobody thought of")


class _Deaf(Proxy):
    async def _pieces(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        yield await reader.read(1)
        raise ValueError("a piece that nobody can read")


@pytest.mark.parametrize("kind", [_Broken, _Deaf])
async def test_a_proxy_with_a_fault_of_its_own_fails_the_run(nats_server: NatsServer, kind: type[Proxy]) -> None:
    with pytest.raises(AssertionError, match="fault of its own"):
        await _pass_one(kind(_port(nats_server)))


async def _pass_one(proxy: Proxy) -> None:
    """Say a word, and wait until the connection is cut."""
    async with proxy, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"PING\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()


def _through(proxy: Proxy, server: NatsServer) -> str:
    """The server's address with its login, and the port of the proxy."""
    return server.url.replace(f":{_port(server)}", f":{proxy.port}")


def _port(server: NatsServer) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port
