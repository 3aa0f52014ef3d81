"""A real nats-server, and a receiver's certificate, for each test that asks for one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import trustme

from doubles import disk
from doubles.gateway import gateway_at
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import TlsMaterial
from hookline.local.nats_server import NatsServer
from hookline.resources.egress_policy import EgressPolicy, parse_cidrs
from hookline.stream.connection import Client, connect
from hookline.stream.streams import Retention, ensure

LOCAL = EgressPolicy(parse_cidrs(["127.0.0.0/8"]))


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A module may say on which event loop its tests run, as `EVENT_LOOP`."""
    return {"loop": getattr(item.module, "EVENT_LOOP", asyncio.new_event_loop)}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(ca: trustme.CA) -> ssl.SSLContext:
    """Of a receiver on 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trust(ca: trustme.CA) -> TlsMaterial:
    return TlsMaterial(ca_pem=ca.cert_pem.bytes())


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    """Makes calls to this machine."""
    caller = Caller(lambda: LOCAL)
    yield caller
    await caller.aclose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with disk.small_disk(tmp_path / "disk", mebibytes=48) as folder:
            yield folder
    except disk.NoDisk as why:
        pytest.skip(str(why))


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    data = tmp_path / "nats"
    data.mkdir()
    server = NatsServer(data)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await connect(nats_server.url, name="test")
    yield connection
    await connection.close()


@pytest.fixture
async def queue(client: Client) -> Client:
    """A connection to a queue with all streams."""
    await ensure(client, Retention())
    return client


@pytest.fixture
async def gateway(queue: Client, nats_server: NatsServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that has the queue."""
    async with gateway_at(nats_server.url) as client:
        yield client
