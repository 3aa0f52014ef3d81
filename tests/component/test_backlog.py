"""Events of a tenant that has much waiting: set aside, and delivered without keeping others waiting."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.parties import SenderProcess
from doubles import own
from doubles.local import (
    Running,
    count,
    dead_letters,
    hook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from doubles.waiting import until_it_is
from hookline.delivery import fanout, session
from hookline.delivery.policy import event_room
from hookline.delivery.policy.event_room import EventRoom
from hookline.delivery.set_aside import Place, written
from hookline.delivery.settlement import EVENT_GONE, MALFORMED
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall, Receiver
from hookline.stream import names
from hookline.stream.connection import Client
from hookline.stream.event_reader import EventReader
from hookline.stream.streams import Retention, ensure

ROOM = 64
"""Events that a sender has in hand in these tests, so that few are many."""


LIKE_ANSWERS: list[dict[str, str]] = [
    {},
    {"Status": "503"},
    {"Status": "404", "Description": "Message Not Found"},
    {"Nats-Subject": "hookline.events.quiet.IdentityCreated"},
    {"Nats-Time-Stamp": "2020-01-01T00:00:00Z", "Nats-Sequence": "1", "Nats-Stream": "DEAD"},
    {"nats-subject": "x", "NATS-TIME-STAMP": "y"},
]


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "EventRoom", lambda: EventRoom(places=ROOM))


@dataclass
class Two:
    """A book with a Webhook of `loud` and one of `quiet`, and the calls for each in the order in which they came."""

    book: Path
    calls: list[ReceivedCall]
    receiver: Receiver

    def ids(self, tenant: str) -> list[str]:
        return [call.webhook_id for call in self.calls if call.tenant == tenant]


@contextlib.asynccontextmanager
async def two(folder: Path, *, delay_seconds: float = 0.0) -> AsyncIterator[Two]:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=delay_seconds) as receiver:
        write_book(folder / "book", *(hook(each, receiver, namespace=each) for each in ("loud", "quiet")))
        yield Two(folder / "book", calls, receiver)


async def made(book: Path, nats_url: str) -> None:
    """Have a sender make the streams."""
    async with sender(book, nats_url):
        pass


def set_aside(running: Running) -> float:
    return running.pod.metrics.registry.get_sample_value("hookline_events_set_aside_total") or 0


async def until_set_aside(running: Running, events: int) -> None:
    await until(lambda: set_aside(running) >= events)


async def until_called(both: Two, calls: int) -> None:
    await until(lambda: len(both.calls) >= calls, seconds=60)


async def name_events(client: Client, tenant: str, body: bytes) -> None:
    await client.jetstream().publish(names.backlog_subject(tenant), body)


async def places(client: Client, seqs: Sequence[int]) -> bytes:
    reader = EventReader(client)
    found = [(seq, await reader.read(own.EVENTS, seq)) for seq in seqs]
    return written(Place(seq, event.stored_ns) for seq, event in found if event is not None)


async def test_a_backlog_of_one_tenant_arrives_once_and_keeps_no_other_waiting(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with two(tmp_path) as both:
        await made(both.book, nats_server.url)
        loud = await publish(client, 1500, tenant="loud")
        async with sender(both.book, nats_server.url) as running:
            await until_set_aside(running, 1)
            quiet = await publish(client, 3, tenant="quiet")
            await until(lambda: set(both.ids("quiet")) == set(quiet))
            before = len(both.ids("loud"))
            await until(lambda: len(both.ids("loud")) >= len(loud), seconds=60)
            await until_stored(client, names.BACKLOG, 0)
            # Of a tenant of which nothing waits, nothing is set aside.
            until_then = set_aside(running)
            loud += await publish(client, 1, tenant="loud")
            await until(lambda: len(both.ids("loud")) >= len(loud))
            assert set_aside(running) == until_then
    assert Counter(both.ids("loud")) == Counter(loud)
    assert before < len(loud) / 2
    assert await count(client, own.DEAD) == 0
    assert await count(client, own.DELIVERIES) <= 1


async def test_a_sender_that_is_told_to_end_sets_the_rest_aside_again_and_the_next_goes_on_without_a_repeat(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with two(tmp_path, delay_seconds=0.05) as both:
        await made(both.book, nats_server.url)
        loud = await publish(client, 600, tenant="loud")
        for calls in (20, 120, 220):
            async with sender(both.book, nats_server.url) as running:
                await until_called(both, calls)
                if calls == 20:
                    await until_set_aside(running, 400)
        async with sender(both.book, nats_server.url):
            await until(lambda: len(both.calls) >= len(loud), seconds=60)
            await until_stored(client, names.BACKLOG, 0)
    assert Counter(both.ids("loud")) == Counter(loud)


async def test_two_senders_share_the_backlog_of_one_tenant(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A sender has some messages in hand at once, and here there are many more.
    monkeypatch.setattr("hookline.delivery.set_aside.MOST", 16)
    async with two(tmp_path, delay_seconds=0.02) as both:
        await made(both.book, nats_server.url)
        loud = await publish(client, 800, tenant="loud")
        async with sender(both.book, nats_server.url) as one, sender(both.book, nats_server.url) as other:
            await until(lambda: len(both.calls) >= len(loud), seconds=60)
            await until_stored(client, names.BACKLOG, 0)
            assert min(len(one.attempts), len(other.attempts)) > 0
    assert Counter(both.ids("loud")) == Counter(loud)


async def test_names_of_events_that_are_gone_are_kept_as_a_dead_letter(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with two(tmp_path) as both:
        await made(both.book, nats_server.url)
        ids = await publish(client, 3, tenant="loud")
        body = await places(client, [1, 2, 3])
        await client.jetstream().purge_stream(own.EVENTS, seq=3)
        await name_events(client, "loud", body)
        async with sender(both.book, nats_server.url):
            await until_stored(client, own.DEAD, 1)
            await until(lambda: set(both.ids("loud")) == {ids[2]})
            await until_stored(client, names.BACKLOG, 0)
        (letter,) = await dead_letters(client)
        assert letter.reason.startswith(f"{EVENT_GONE}: 2 events of loud")
        assert letter.body == body


async def test_a_stream_that_was_deleted_is_made_anew_and_nothing_that_comes_later_is_lost(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.stream.streams.ACK_WAIT_SECONDS", 3.0)
    async with two(tmp_path, delay_seconds=0.02) as both:
        await made(both.book, nats_server.url)
        await client.jetstream().delete_stream(names.BACKLOG)
        async with sender(both.book, nats_server.url) as running:
            await client.jetstream().delete_stream(names.BACKLOG)
            loud = await publish(client, 500, tenant="loud")
            await until(lambda: set(both.ids("loud")) == set(loud), seconds=60)
            assert set_aside(running) > 0
            await until_stored(client, names.BACKLOG, 0)


async def test_messages_that_somebody_wrote_deliver_nothing_of_others_and_nothing_twice(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with two(tmp_path) as both, sender(both.book, nats_server.url):
        quiet, loud = await publish(client, 2, tenant="quiet"), await publish(client, 1, tenant="loud")
        await until(lambda: len(both.calls) == 3)
        mine = await places(client, [3])
        malformed = [b"garbage", b"", b"9" * 40 + b" 1", b"0 0", b"1\n" * 1000]
        gone = [b"9999999999999999999 1", b"7 7", await places(client, [1, 2])]
        for body in (*malformed, *gone):
            await name_events(client, "loud", body)
        for _ in range(3):
            await name_events(client, "loud", mine + b"\n" + mine)
        for subject in ("nobody", "lou_d", "*x"):
            await client.jetstream().publish(f"hookline.backlog.{subject}", b"1 1")
        await until_stored(client, own.DEAD, len(malformed) + len(gone) + 1)
        await until_stored(client, names.BACKLOG, 2)
    assert Counter(both.ids("quiet")) == Counter(quiet)
    assert both.ids("loud") == loud
    reasons = Counter(letter.reason.partition(":")[0] for letter in await dead_letters(client))
    assert reasons == {MALFORMED: len(malformed), EVENT_GONE: len(gone) + 1}


async def test_events_with_headers_as_answers_of_nats_have_them_are_read_as_they_were_stored(client: Client) -> None:
    await ensure(client, Retention())
    subject, reader = names.event_subject("loud", "IdentityCreated"), EventReader(client)
    for headers in LIKE_ANSWERS:
        stored = await client.jetstream().publish(subject, b"[1]", headers={**headers, "X-Own": "1"})
        event = await reader.read(own.EVENTS, stored.seq)
        assert event is not None
        assert (event.subject, event.body, event.headers["X-Own"]) == (subject, b"[1]", "1")
        message = await client.jetstream().get_msg(own.EVENTS, stored.seq)
        assert message.time is not None
        assert abs(event.stored_ns / 1e9 - message.time.timestamp()) < 1e-3


async def test_a_sender_that_is_killed_loses_nothing_and_repeats_at_most_what_was_in_hand(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with (
        two(tmp_path, delay_seconds=0.02) as both,
        SenderProcess(tmp_path, both.book, nats_server.url).running() as process,
    ):
        await until_stored(client, names.BACKLOG, 0)
        loud = await publish(client, 1500, tenant="loud")
        await until_it_is(lambda: count(client, names.BACKLOG), lambda there: there > 0)
        process.kill()
        await until(lambda: set(both.ids("loud")) == set(loud), seconds=90)
        await until_stored(client, names.BACKLOG, 0)
    # What was called from, and what was being set aside: it is named, and comes again from where it was taken.
    assert len(both.calls) - len(loud) <= event_room.PLACES + fanout.MAX_IN_HAND
