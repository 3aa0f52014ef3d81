"""Waiting for the word that a message is stored, where no server says it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import nats.errors
import pytest
import uvloop
from nats.aio.client import Client

from hookline.events.envelope import Event
from hookline.stream import publish
from hookline.stream.connection import QueueUnusable, StreamRefused, StreamUnavailable
from hookline.stream.publish import Former, NoStream, Outcome, Publisher
from hookline.stream.queue_problem import QueueProblem, QueueReason


class Silent:
    """A connection to a server that takes everything and says nothing."""

    max_payload = 1024 * 1024
    is_connected = True

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, *_: Any, **__: Any) -> None:
        pass

    async def publish(self, *_: Any, **__: Any) -> None:
        pass


def test_what_is_stored_at_the_moment_when_others_are_given_up_waits_its_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uvloop runs what is due already by another kind of handle than what is due later."""
    monkeypatch.setattr(publish, "ACK_SECONDS", 0.2)

    async def work() -> list[float]:
        loop, publisher = asyncio.get_running_loop(), Publisher(cast("Client", Silent()))
        waited: list[float] = []

        async def store() -> None:
            began = loop.time()
            with pytest.raises(StreamUnavailable):
                await publisher.store("subject", b"")
            waited.append(loop.time() - began)

        tasks = [asyncio.create_task(store())]
        await asyncio.sleep(0.05)
        # Both due once the loop gets on: these begin after the first was given up, and before it has noticed.
        loop.call_later(0.1, lambda: tasks.extend(asyncio.create_task(store()) for _ in range(3)))
        time.sleep(0.3)  # noqa: ASYNC251
        await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)
        return waited

    waited = uvloop.run(asyncio.wait_for(work(), 10))
    assert min(waited) >= 0.19


async def test_a_header_that_cannot_be_written_is_a_refusal_and_no_absence() -> None:
    class Refuses(Silent):
        async def publish(self, *_: Any, **__: Any) -> None:
            raise nats.errors.BadHeaderError("b c")

    with pytest.raises(StreamRefused, match="header"):
        await Publisher(cast(Client, Refuses())).store("hookline.parked.u1", b"", {"b c": "d"})


async def test_what_an_event_may_have_as_a_body_is_less_by_the_lines_of_its_context() -> None:
    publisher = Publisher(cast("Client", Silent()))
    line = "Hookline-Context-subject: Z%C3%BCrich\r\n"

    async def room(context: dict[str, str]) -> int:
        event = Event("evt_1", "default", "IdentityCreated", "t", bytes(300_000), context)
        with pytest.raises(StreamRefused, match="may have") as refused:
            await publisher.store_event(event)
        return int(str(refused.value).split("may have ")[1].split(":", maxsplit=1)[0])

    assert await room({}) - await room({"subject": "Zürich"}) == len(line)


@pytest.mark.parametrize(
    ("headers", "is_so"),
    [
        ({"Nats-Msg-Id": "evt_1"}, True),
        ({"Nats-Schedule": "@at 2026-11-30T12:00:00Z"}, True),
        ({}, False),
        ({"Nats-Msg-Id": "evt_1", "Nats-Expected-Last-Subject-Sequence": "7"}, False),
        ({"Nats-Schedule": "@at 2026-11-30T12:00:00Z", "nats-expected-last-sequence": "7"}, False),
    ],
)
def test_sent_again_is_what_nats_knows_or_what_replaces_itself_and_nothing_that_replaces_another(
    headers: dict[str, str], is_so: bool
) -> None:
    assert publish.is_idempotent(headers) is is_so


async def test_an_event_that_is_there_after_a_try_that_was_not_confirmed_counts_as_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Forgetful:
        tries = 0

        async def store_event(self, _: Event) -> Outcome:
            self.tries += 1
            if self.tries == 1:
                raise StreamUnavailable
            return Outcome(Former("EVENTS", 1))

    publisher, event = cast(Publisher, Forgetful()), Event("evt_1", "default", "IdentityCreated", "t", b"{}")
    assert (await publish.publish_event(publisher, event, patience_seconds=5)).new
    assert not (await publish.publish_event(publisher, event, patience_seconds=5)).new


class Door(Publisher):
    """Stores where `closed` names no subject, and notes where."""

    def __init__(self, closed: Exception | None = None) -> None:
        super().__init__(cast("Client", Silent()))
        self.closed = closed
        self.tried: list[str] = []

    async def store(self, subject: str, *_: Any, **__: Any) -> Outcome:
        self.tried.append(subject.split(".")[1])
        if self.closed is not None and subject.startswith("hookline.large."):
            raise self.closed
        return publish.NEW


def event_of(size_bytes: int) -> Event:
    return Event("evt_1", "default", "IdentityCreated", "t", bytes(size_bytes))


async def test_only_an_event_with_a_large_body_has_the_subject_of_large_ones() -> None:
    publisher = Door()
    for size_bytes in (publish.LARGE_BYTES, publish.LARGE_BYTES + 1):
        await publisher.store_event(event_of(size_bytes))
    assert publisher.tried == ["events", "large"]


REFUSED = QueueUnusable(QueueProblem(QueueReason.NATS_REFUSED, "not permitted"))
FOREIGN = QueueUnusable(QueueProblem(QueueReason.STREAM_FOREIGN, "another application took it"))


@pytest.mark.parametrize("closed", [NoStream("no stream takes this subject"), REFUSED, FOREIGN])
async def test_a_large_event_is_stored_as_all_others_where_its_subject_is_not_taken_not_permitted_or_of_others(
    closed: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Door(closed)
    for _ in range(3):
        assert (await publisher.store_event(event_of(100_000))).new
    assert publisher.tried == ["large", "events", "events", "events"]
    publisher.closed = None
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + publish.NOT_OURS_AGAIN_SECONDS + 1)
    await publisher.store_event(event_of(100_000))
    assert publisher.tried[-1] == "large"


@pytest.mark.parametrize("why", [StreamUnavailable("not confirmed"), StreamRefused("full")])
async def test_a_large_event_that_may_be_stored_is_not_stored_elsewhere(why: Exception) -> None:
    publisher = Door(why)
    with pytest.raises(type(why)):
        await publisher.store_event(event_of(100_000))
    assert publisher.tried == ["large"]
