"""Deliveries of Webhooks that cannot be called wait in PARKED; this brings them back once they can.

All senders share one consumer for each Webhook while it drains. A delivery whose Webhook is gone (absence decides
that) becomes a dead letter here. One that came back to the shelf after it had been brought back is called from the
shelf: some other sender does not know yet what this one knows, and the two must not pass it to and fro.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime

import structlog

from hookline.delivery import delivery as deliveries
from hookline.delivery.absence import QUESTIONS, Absences
from hookline.delivery.delivery import WEBHOOK_GONE, Delivery, MalformedDelivery
from hookline.delivery.routebook import RouteBook
from hookline.metrics import SenderMetrics
from hookline.routes import Book, RouteState
from hookline.stream import names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.peers import Peers
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken
from hookline.stream.streams import open_unpark, parked

log = structlog.get_logger(__name__)

ROOM = 64
POLL_SECONDS = 1.0


class Parking:
    """Watches the shelf. What must not go back to its shard is handed to `take`, which then owns the message.

    `gone_seconds`: after how long a Webhook that nobody knows counts as deleted.
    """

    def __init__(
        self,
        client: Client,
        pull: PullLoop,
        publisher: Publisher,
        books: RouteBook,
        metrics: SenderMetrics,
        take: Callable[[Taken], None],
        *,
        gone_seconds: float,
    ) -> None:
        self._client = client
        self._pull = pull
        self._publisher = publisher
        self._books = books
        self._metrics = metrics
        self._take = take
        self._ask_seconds = gone_seconds / QUESTIONS
        self._ask_at_s = 0.0
        self._absences = Absences()
        self._peers = Peers(client, knows=self._knows, on_known=self._absences.known)
        self._draining: dict[str, str] = {}

    def owns(self, taken: Taken) -> bool:
        """Whether a message is from the shelf."""
        return taken.subject.startswith(names.parked_subject(""))

    def lost(self, consumer: str) -> bool:
        """The queue has no such consumer any more; whether it was one of the shelf's. The next look makes it anew."""
        uids = [uid for uid, each in self._draining.items() if each == consumer]
        for uid in uids:
            self._stop_draining(uid)
        return bool(uids)

    async def watch(self) -> None:
        """Look at the shelf every second: a book may change, or another sender may park something late."""
        await self._peers.start()
        while True:
            try:
                await self._look()
            except StreamUnavailable as error:
                self._absences.forget()
                log.debug("cannot look at parked deliveries", problem=str(error))
            await asyncio.sleep(min(POLL_SECONDS, self._ask_seconds))

    async def handle(self, taken: Taken) -> None:
        """One parked delivery: back to its shard, called, or dead. Left there when its Webhook waits after all."""
        uid, book = names.uid_of(taken.subject), self._books.current
        if book is None or not self._may_leave(uid, book):
            self._stop_draining(uid)
            await taken.give_back()
            return
        try:
            delivery = deliveries.read(taken.subject, taken.headers, taken.body)
        except MalformedDelivery as error:
            log.error("not a delivery, removed from the shelf", problem=str(error))
            await self._settle(taken, None)
            return
        if book.route(uid) is None:
            await self._settle(taken, self._bury(delivery))
        elif delivery.returned:
            self._metrics.unparked()
            self._take(taken)
        else:
            await self._settle(taken, self._bring_back(delivery, taken.seq))

    async def _settle(self, taken: Taken, storing: Coroutine[None, None, None] | None) -> None:
        """Store what follows, then ack, then make room. Left unacked when it could not be stored: it comes back."""
        try:
            if storing is not None:
                await storing
            await taken.ack()
        except (StreamUnavailable, StreamRefused) as error:
            log.warning("a parked delivery waits on", problem=str(error))
        finally:
            self._pull.release(taken)

    async def _bring_back(self, delivery: Delivery, seq: int) -> None:
        back = delivery.brought_back()
        subject = names.delivery_subject(back.uid)
        await self._publisher.store(subject, back.event.body, back.headers(), once=f"unpark.{seq}")
        self._metrics.unparked()

    async def _bury(self, delivery: Delivery) -> None:
        letter = deliveries.gone_letter(delivery, failed_at=datetime.now(UTC).isoformat(timespec="milliseconds"))
        await self._publisher.store(letter.subject, letter.body, letter.headers, once=letter.once)
        self._metrics.died(WEBHOOK_GONE)

    async def _look(self) -> None:
        book = self._books.current
        if book is None:
            return
        waiting = await parked(self._client)
        await self._ask_for({uid for uid in waiting if book.route(uid) is None})
        wanted = {uid for uid in waiting if self._may_leave(uid, book)}
        for uid in self._draining.keys() - wanted:
            self._stop_draining(uid)
        for uid in wanted - self._draining.keys():
            log.info("emptying the shelf of a Webhook", webhook=_title(uid, book), count=waiting[uid])
            consumer = await open_unpark(self._client, uid)
            self._draining[uid] = consumer
            self._pull.add(names.PARKED, consumer, ROOM)

    async def _ask_for(self, unknown: set[str]) -> None:
        """Ask the others, now and then. Not while our own book is unfinished: then it is no wonder."""
        now_s = time.monotonic()
        if self._books.problem or now_s < self._ask_at_s:
            return
        self._ask_at_s = now_s + self._ask_seconds
        await self._peers.ask(unknown)
        self._absences.ask(unknown)

    def _may_leave(self, uid: str, book: Book) -> bool:
        """Whether the parked deliveries of a Webhook need wait no longer."""
        route = book.route(uid)
        if route is None:
            return self._absences.gone(uid)
        return route.state is RouteState.ACTIVE

    def _knows(self, uid: str) -> bool:
        book = self._books.current
        return book is not None and book.route(uid) is not None

    def _stop_draining(self, uid: str) -> None:
        consumer = self._draining.pop(uid, None)
        if consumer is not None:
            self._pull.remove(consumer)


def _title(uid: str, book: Book) -> str:
    route = book.route(uid)
    return route.title if route else f"{uid} (deleted)"
