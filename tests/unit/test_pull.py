from __future__ import annotations

import asyncio
from typing import cast

from nats.aio.client import Client

from hookline.stream.connection import Heard
from hookline.stream.pull import PullLoop


class Server:
    """A connection to a server that refuses every pull at once."""

    is_connected = True

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers
        self.asked = 0
        self.loop: PullLoop | None = None

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def publish(self, subject: str, body: bytes, *, reply: str) -> None:
        self.asked += 1
        assert self.loop is not None
        asyncio.get_running_loop().call_soon(self.loop._receive, Heard(reply, "", self._headers, b""))


async def asked(headers: dict[str, str]) -> int:
    """How often a pull that is answered so is made while a loop turns a hundred times."""
    server = Server(headers)
    server.loop = PullLoop(cast(Client, server), lambda _: None)
    pumping = asyncio.create_task(server.loop._pump())
    server.loop.add("DELIVERIES", "shard-01", 10)
    for _ in range(100):
        await asyncio.sleep(0)
    pumping.cancel()
    return server.asked


async def test_a_pull_that_is_refused_is_not_made_again_at_once() -> None:
    assert await asked({"Status": "409", "Description": "Exceeded MaxWaiting"}) == 1


async def test_a_pull_that_has_ended_is_made_again_at_once() -> None:
    pending = {"Nats-Pending-Messages": "10", "Nats-Pending-Bytes": "5"}
    assert await asked({"Status": "408", "Description": "Request Timeout", **pending}) > 1
