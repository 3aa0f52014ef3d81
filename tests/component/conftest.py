"""A real nats-server for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.local.nats_server import NatsServer
from hookline.stream.connection import Client, connect
from hookline.stream.streams import Retention, ensure


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
