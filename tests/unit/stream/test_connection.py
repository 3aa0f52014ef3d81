"""How a connection to NATS is given up. tests/component/test_connection.py has real servers."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client

from hookline.stream.connection import StreamUnavailable, close, unavailable_once


class CutOff(Client):
    """Fails to close, as the client does when something waited to be sent."""

    closed = False

    async def close(self) -> None:
        self.closed = True
        raise RuntimeError


async def test_a_connection_is_given_up_whatever_became_of_it() -> None:
    client = CutOff()
    await close(client)
    assert client.closed


async def test_what_ends_the_use_of_a_connection_is_raised_when_it_happens() -> None:
    moved = asyncio.Event()
    waiting = asyncio.create_task(unavailable_once(moved, "NATS moved"))
    await asyncio.sleep(0)
    assert not waiting.done()
    moved.set()
    with pytest.raises(StreamUnavailable, match="NATS moved"):
        await waiting
