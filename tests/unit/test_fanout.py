from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from doubles.books import route
from hookline.delivery import fanout
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.fanout import AT_ONCE, Fanout
from hookline.delivery.routebook import RouteBook
from hookline.metrics import SenderMetrics
from hookline.routes import Keys, book_of
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken

WEBHOOKS = 10 * AT_ONCE


class Slow:
    """Takes a moment for each message, and knows how many it was asked to store at once."""

    now = most = 0

    def __init__(self) -> None:
        self.stored: list[str] = []

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], *, once: str) -> bool:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        self.stored.append(once)
        return True


class Words:
    """The connection on which a message is acked."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def publish(self, subject: str, word: bytes) -> None:
        self.said.append(word)


class Room:
    def release(self, taken: Taken) -> None:
        pass


async def handled(publisher: Slow) -> list[bytes]:
    """What was said of an event that many Webhooks hear."""
    metrics, words = SenderMetrics(outcomes=(), deaths=(), parkings=()), Words()
    books = RouteBook(Path("nowhere"), metrics)
    books.current = book_of((route(f"u{number}"), Keys(uid=f"u{number}")) for number in range(WEBHOOKS))
    event = next(books.current.routes())
    subject = f"hookline.events.{event.namespace}.{event.event}"
    reply = "$JS.ACK.EVENTS.fanout.1.7.7.1700000000000000000.0"
    taken = Taken("fanout", subject, {}, b"{}", 7, 0, cast(Any, words), reply)
    await Fanout(cast(PullLoop, Room()), cast(Publisher, publisher), books, Endpoints(), metrics).handle(taken)
    return words.said


async def test_few_deliveries_of_an_event_are_stored_at_once_and_all_before_it_is_acked() -> None:
    publisher = Slow()
    assert await handled(publisher) == [b"+ACK"]
    assert len(set(publisher.stored)) == WEBHOOKS
    assert publisher.most == AT_ONCE


async def test_an_event_that_takes_long_is_said_to_be_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "ACK_WAIT_SECONDS", 0.0)
    said = await handled(Slow())
    assert said[-1] == b"+ACK"
    assert set(said[:-1]) == {b"+WPI"}
