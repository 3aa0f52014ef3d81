"""One sender process: fan-out, sender and parking over one connection, from a route book folder and NATS, nothing else.

The order of its life: a first good book, the connection, the streams, then messages; at the end nothing more is taken,
calls under way finish, the connection closes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from hookline.delivery import fanout, sender
from hookline.delivery.attempt import Caller
from hookline.delivery.background import background
from hookline.delivery.fanout import Fanout
from hookline.delivery.parking import Parking
from hookline.delivery.routebook import RouteBook
from hookline.delivery.sender import Attempt, Sender
from hookline.routes import Book, DispatcherRecord
from hookline.stream import names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable, connect
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken
from hookline.stream.streams import Retention, ensure
from hookline.stream.types import write_types

log = structlog.get_logger(__name__)

GRACE_SECONDS = 30.0
"""How long calls under way may take at the end. As long as the longest timeout of a call."""


class Pod:
    """Runs until `stop` is set."""

    def __init__(
        self,
        folder: Path,
        nats_url: str,
        *,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._books = RouteBook(folder)
        self._nats_url = nats_url
        self._on_attempt = on_attempt
        self._grace_seconds = grace_seconds
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()
        """Set once messages are taken."""

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`, then drain. Raises StreamUnavailable when NATS is not there at the start."""
        self._books.on_change(self._book_changed)
        async with background(self._books.watch(stop)):
            if not await _either(self._changed, stop):
                return
            client = await connect(self._nats_url, name="hookline-sender", on_reconnect=self._reconnected)
            try:
                await self._deliver(client, stop)
            finally:
                await client.close()

    async def _deliver(self, client: Client, stop: asyncio.Event) -> None:
        await self._bring_up_to_date(client)
        self._pull = PullLoop(client, self._dispatch, on_gone=self._changed.set)
        publisher = Publisher(client)
        caller = Caller(lambda: self._books.policy)
        self._fanout = Fanout(self._pull, publisher, self._books)
        self._sender = Sender(self._pull, publisher, self._books, caller, on_attempt=self._on_attempt)
        self._parking = Parking(client, self._pull, publisher, self._books)
        self._handling: set[asyncio.Task[None]] = set()
        await self._pull.start()
        self._take_everything()
        self.ready.set()
        async with background(self._sender.keep_alive(), self._parking.watch(), self._follow_changes(client)):
            await stop.wait()
            log.info("draining: calls under way end, nothing more is taken", grace_seconds=self._grace_seconds)
            await self._pull.stop()
            if self._handling:
                await asyncio.wait(self._handling, timeout=self._grace_seconds)
            await self._sender.drain(self._grace_seconds)
        await caller.aclose()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.flush(), 2)

    def _take_everything(self) -> None:
        self._pull.add(names.EVENTS, names.FANOUT_CONSUMER, fanout.ROOM)
        for shard in range(names.DELIVERY_SHARDS):
            self._pull.add(names.DELIVERIES, names.shard_consumer(shard), sender.ROOM)

    def _dispatch(self, taken: Taken) -> None:
        if taken.consumer == names.FANOUT_CONSUMER:
            self._handle(self._fanout.handle(taken))
        elif self._parking.owns(taken):
            self._handle(self._parking.handle(taken))
        else:
            self._sender.take(taken)

    def _handle(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    def _book_changed(self, _: Book) -> None:
        self._changed.set()

    async def _reconnected(self) -> None:
        self._pull.reconnected()

    async def _follow_changes(self, client: Client) -> None:
        """Streams and event types follow the book; tried again while the queue is away."""
        while True:
            await self._changed.wait()
            try:
                await self._bring_up_to_date(client)
            except (StreamUnavailable, StreamRefused) as error:
                log.warning("cannot bring the queue up to date", problem=str(error))
                await asyncio.sleep(2)
                self._changed.set()

    async def _bring_up_to_date(self, client: Client) -> None:
        self._changed.clear()
        book = self._books.current
        assert book is not None
        await ensure(client, _retention(book.dispatcher))
        await write_types(client, book.types)


def _retention(dispatcher: DispatcherRecord) -> Retention:
    return Retention(dispatcher.events_seconds, dispatcher.parked_seconds, dispatcher.dead_seconds)


async def _either(event: asyncio.Event, stop: asyncio.Event) -> bool:
    """Wait for the first of the two; whether it was `event`."""
    waits = [asyncio.create_task(event.wait()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return not stop.is_set()
