"""Events that are removed before a sender takes them: each is counted and said, and none that was taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from doubles import own
from doubles.local import Running, hook, publish, receiver_of, sender, until, until_stored, write_book
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall
from hookline.stream.connection import Client
from hookline.stream.expiry import Expiry
from hookline.stream.layout import Layout
from hookline.stream.streams import Retention, ensure, fanout_places

SHORT = Retention(events_seconds=1)


def expired(running: Running) -> float | None:
    return running.pod.metrics.registry.get_sample_value("hookline_events_expired_total")


def oldest_event_s(running: Running) -> float:
    labels = {"stream": "events"}
    return running.pod.metrics.registry.get_sample_value("hookline_oldest_waiting_seconds", labels) or 0.0


async def counted(client: Client, layout: Layout) -> int:
    return Expiry().look(await fanout_places(client, layout, 1))


async def take(client: Client, count: int) -> list[Msg]:
    fanout = await client.jetstream().pull_subscribe_bind(own.FANOUT_CONSUMER, stream=own.EVENTS)
    taken = await fanout.fetch(count)
    await fanout.unsubscribe()
    return taken


async def take_and_ack(client: Client, count: int) -> None:
    for each in await take(client, count):
        await each.ack_sync()


async def test_a_sender_says_at_its_start_how_many_events_expired_before_any_sender_took_them(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    await ensure(client, SHORT)
    await publish(client, 3)
    await until_stored(client, own.EVENTS, 0)
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        (late,) = await publish(client)
        with capture_logs() as logs:
            async with sender(tmp_path / "book", nats_server.url) as running:
                await until(lambda: len(calls) == 1)
                assert expired(running) == 3
    assert [call.webhook_id for call in calls] == [late]
    assert [each["events"] for each in logs if each["event"].startswith("events were lost")] == [3]


async def test_how_long_the_oldest_event_has_waited_to_be_taken_is_told_before_it_expires(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    await ensure(client, Retention())
    await publish(client)
    # By a sender that hangs: the one below looks at an event that it cannot settle before.
    await take(client, 1)
    await asyncio.sleep(0.2)
    async with receiver_of([]) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await until(lambda: oldest_event_s(running) > 0.1)
            assert expired(running) == 0


async def _settled_ones_expire(client: Client) -> None:
    await publish(client, 2)
    await take_and_ack(client, 2)
    await until_stored(client, own.EVENTS, 0)


async def _a_consumer_is_made_after_they_expired(client: Client) -> None:
    await client.jetstream().delete_consumer(own.EVENTS, own.FANOUT_CONSUMER)
    await publish(client, 2)
    await until_stored(client, own.EVENTS, 0)
    await ensure(client, SHORT)


async def _they_are_purged_by_hand(client: Client) -> None:
    await publish(client, 2)
    await client.jetstream().purge_stream(own.EVENTS)


async def _the_consumer_is_deleted(client: Client) -> None:
    await client.jetstream().delete_consumer(own.EVENTS, own.FANOUT_CONSUMER)


@pytest.mark.parametrize(
    "what_happens",
    [
        _settled_ones_expire,
        _a_consumer_is_made_after_they_expired,
        _they_are_purged_by_hand,
        _the_consumer_is_deleted,
    ],
)
async def test_nothing_expired_where(client: Client, what_happens: Callable[[Client], Awaitable[None]]) -> None:
    layout = await ensure(client, SHORT)
    await what_happens(client)
    assert await counted(client, layout) == 0
