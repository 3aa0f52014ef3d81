"""Streams that somebody deletes while a sender runs: made anew, and nothing that comes later is taken for the old."""

from __future__ import annotations

from pathlib import Path

import pytest

from doubles import own
from doubles.local import Running, deliver, hook, publish, receiver_of, sender, until, until_stored, write_book
from hookline.delivery import session
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import RouteState
from hookline.stream import names, streams
from hookline.stream.connection import Client


async def lose(client: Client, *streams: str) -> None:
    """Delete streams, and wait until a sender that takes from them has made them anew."""
    for stream in streams:
        await client.jetstream().delete_stream(stream)
    for stream in streams:
        await until_stored(client, stream, 0)


async def test_events_of_a_stream_that_was_made_anew_are_delivered_though_their_places_were_taken_before(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url):
            ids = await publish(client, 5)
            await until(lambda: len(calls) == 5)
            await lose(client, own.EVENTS)
            ids += await publish(client, 5)
            await until(lambda: {call.webhook_id for call in calls} == set(ids))


async def test_so_are_events_without_an_id_that_are_named_by_their_places(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    subject = names.event_subject("default", "IdentityCreated")
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url):
            await client.jetstream().publish(subject, b'"old"')
            await until(lambda: len(calls) == 1)
            await lose(client, own.EVENTS, own.DELIVERIES)
            await client.jetstream().publish(subject, b'"new"')
            await until(lambda: len(calls) == 2)
    assert [call.body for call in calls] == [b'"old"', b'"new"']


async def test_what_is_parked_after_deliveries_were_made_anew_is_not_taken_for_what_is_there(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([]) as receiver:
        unknown, _ = hook("one", receiver)
        write_book(tmp_path / "book", hook("other", receiver))
        async with sender(tmp_path / "book", nats_server.url):
            await deliver(client, unknown.uid, 3)
            await until_stored(client, own.PARKED, 3)
            await lose(client, own.DELIVERIES)
            await deliver(client, unknown.uid, 3)
            await until_stored(client, own.PARKED, 6)
            await until_stored(client, own.DELIVERIES, 0)


async def test_a_stream_that_nobody_takes_from_is_made_anew_when_something_is_to_be_stored_in_it(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What could not be stored the first time comes again after this.
    monkeypatch.setattr(streams, "ACK_WAIT_SECONDS", 2.0)
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500)) as receiver:
        dying = hook("one", receiver, schedule_seconds=())
        waiting = hook("two", receiver, state=RouteState.HELD)
        write_book(tmp_path / "book", dying, waiting)
        async with sender(tmp_path / "book", nats_server.url):
            for stream in (own.DEAD, own.PARKED):
                await client.jetstream().delete_stream(stream)
            await publish(client)
            await until_stored(client, own.DEAD, 1, seconds=60)
            await until_stored(client, own.PARKED, 1, seconds=60)


async def test_a_deleted_consumer_of_events_goes_on_where_it_had_come_to(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from the first event that is kept, seven days ago."""
    monkeypatch.setattr(session, "LOOK_SECONDS", 0.1)
    calls: list[ReceivedCall] = []
    js = client.jetstream()
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url) as running:
            ids = await publish(client, 20)
            await until(lambda: len(calls) == 20)
            await until(lambda: _settled_by(running) == 20)
            await js.delete_consumer(own.EVENTS, own.FANOUT_CONSUMER)
            ids += await publish(client, 5)
            await until(lambda: {call.webhook_id for call in calls} == set(ids))
            config = (await js.consumer_info(own.EVENTS, own.FANOUT_CONSUMER)).config
    assert config.opt_start_seq == 21


def _settled_by(running: Running) -> int:
    place = running.pod._session._places.get(own.FANOUT_CONSUMER) if running.pod._session else None
    return place.settled if place else 0
