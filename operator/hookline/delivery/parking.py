"""Deliveries of Webhooks that cannot be called wait in PARKED; this brings them back once they can.

All senders share one consumer for each Webhook while it drains. A delivery whose Webhook is no more is brought back as
well: the sender then makes it a dead letter.
"""

from __future__ import annotations

import asyncio

import structlog

from hookline.delivery.routebook import RouteBook
from hookline.routes import Book, RouteState
from hookline.stream import names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken
from hookline.stream.streams import open_unpark, parked

log = structlog.get_logger(__name__)

ROOM = 64
POLL_SECONDS = 1.0


def may_return(uid: str, book: Book) -> bool:
    """Whether the parked deliveries of a Webhook need wait no longer."""
    route = book.routes.get(uid)
    return route is None or route.state is RouteState.ACTIVE


class Parking:
    """Watches the shelf."""

    def __init__(self, client: Client, pull: PullLoop, publisher: Publisher, books: RouteBook) -> None:
        self._client = client
        self._pull = pull
        self._publisher = publisher
        self._books = books
        self._draining: dict[str, str] = {}

    def owns(self, taken: Taken) -> bool:
        return taken.subject.startswith(names.parked_subject(""))

    async def watch(self) -> None:
        """Look at the shelf every second: a book may change, or another sender may park something late."""
        while True:
            try:
                await self._look()
            except StreamUnavailable as error:
                log.debug("cannot look at parked deliveries", problem=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def handle(self, taken: Taken) -> None:
        """One parked delivery back to its shard. Its old message id is dropped: it names the parked copy."""
        headers = {name: value for name, value in taken.headers.items() if not name.startswith("Nats-")}
        subject = names.delivery_subject(names.uid_of(taken.subject))
        try:
            await self._publisher.store(subject, taken.body, headers, once=f"unpark.{taken.seq}")
            await taken.ack()
        except (StreamUnavailable, StreamRefused) as error:
            log.warning("a parked delivery waits on", problem=str(error))
        finally:
            self._pull.release(taken)

    async def _look(self) -> None:
        book = self._books.current
        if book is None:
            return
        waiting = await parked(self._client)
        wanted = {uid for uid in waiting if may_return(uid, book)}
        for uid in self._draining.keys() - wanted:
            self._pull.remove(self._draining.pop(uid))
        for uid in wanted - self._draining.keys():
            log.info("bringing parked deliveries back", webhook=_title(uid, book), count=waiting[uid])
            consumer = await open_unpark(self._client, uid)
            self._draining[uid] = consumer
            self._pull.add(names.PARKED, consumer, ROOM)


def _title(uid: str, book: Book) -> str:
    route = book.routes.get(uid)
    return route.title if route else f"{uid} (deleted)"
