from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.stream.connection import Heard
from hookline.stream.pull import Origin, PullLoop, Taken


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
    server.loop.add(Origin.SHARD, "shard-01", 10)
    for _ in range(100):
        await asyncio.sleep(0)
    pumping.cancel()
    return server.asked


async def test_a_pull_that_is_refused_is_not_made_again_at_once() -> None:
    assert await asked({"Status": "409", "Description": "Exceeded MaxWaiting"}) == 1


async def test_a_pull_that_has_ended_is_made_again_at_once() -> None:
    pending = {"Nats-Pending-Messages": "10", "Nats-Pending-Bytes": "5"}
    assert await asked({"Status": "408", "Description": "Request Timeout", **pending}) > 1


class Quiet:
    """A connection over which messages come, and answers go."""

    is_connected = False

    def __init__(self) -> None:
        self.come: Callable[[Msg], Awaitable[None]] | None = None
        self.answers: list[tuple[str, bytes]] = []

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, _: str, *, cb: Callable[[Msg], Awaitable[None]], **__: object) -> Quiet:
        self.come = cb
        return self

    async def unsubscribe(self) -> None:
        pass

    async def publish(self, subject: str, body: bytes) -> None:
        self.answers.append((subject, body))

    async def bring(self, stream: str, consumer: str) -> None:
        assert self.come is not None
        await self.come(Msg(cast(Any, self), "hookline.x", _reply(stream, consumer), b"{}", {}))


def _reply(stream: str, consumer: str) -> str:
    return f"$JS.ACK.{stream}.{consumer}.1.7.7.11.0"


async def test_a_message_says_where_it_was_taken_from_and_not_by_how_its_consumer_is_called() -> None:
    server, taken = Quiet(), list[Taken]()
    loop = PullLoop(cast(Client, server), taken.append)
    await loop.start()
    loop.add(Origin.EVENTS, "first", 1)
    loop.add(Origin.SHARD, "unpark-u1", 1)
    loop.add(Origin.PARKED, "shard-01", 1)
    for stream, consumer in (("EVENTS", "first"), ("DELIVERIES", "unpark-u1"), ("PARKED", "shard-01")):
        await server.bring(stream, consumer)
    await loop.stop()
    assert [each.origin for each in taken] == [Origin.EVENTS, Origin.SHARD, Origin.PARKED]


async def test_what_still_comes_of_a_consumer_that_was_removed_goes_back() -> None:
    server, taken = Quiet(), list[Taken]()
    loop = PullLoop(cast(Client, server), taken.append)
    await loop.start()
    loop.add(Origin.PARKED, "unpark-u1", 1)
    loop.remove("unpark-u1")
    await server.bring("PARKED", "unpark-u1")
    await asyncio.sleep(0)
    await loop.stop()
    assert (taken, server.answers) == ([], [(_reply("PARKED", "unpark-u1"), b"-NAK")])
