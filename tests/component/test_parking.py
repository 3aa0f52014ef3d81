"""Senders of which one does not know a Webhook (yet, or no more), over a real nats-server and a real TLS receiver."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from doubles import own
from doubles.local import (
    Running,
    count,
    dead_letters,
    deliver,
    hook,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.book_files import keys_file
from hookline.routing.routes import BOOK_SHARDS, RouteState, shard_of
from hookline.stream import names
from hookline.stream.connection import Client

GONE_SECONDS = 1.2


def unknown(running: Running) -> float:
    """How often a sender put a delivery aside because it did not know its Webhook."""
    return running.pod.metrics.registry.get_sample_value("hookline_parked_total", {"reason": "Unknown"}) or 0


async def test_deliveries_that_a_sender_takes_before_it_knows_their_webhook_arrive(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        route, keys = hook("new", receiver)
        write_book(tmp_path / "ahead", (route, keys), hook("old", receiver))
        write_book(tmp_path / "behind", hook("old", receiver))
        async with (
            sender(tmp_path / "behind", nats_server.url, gone_seconds=GONE_SECONDS) as behind,
            sender(tmp_path / "ahead", nats_server.url, gone_seconds=GONE_SECONDS),
        ):
            ids = [each for _ in range(5) for each in await _in_portions(client, route.uid)]
            await until(lambda: unknown(behind) > 0)
            await until(lambda: {call.webhook_id for call in calls} == set(ids), seconds=60)
            await until_stored(client, own.PARKED, 0)
            passed = unknown(behind)
            write_book(tmp_path / "behind", (route, keys), hook("old", receiver))
            await until(lambda: "new" in {each.name for each in behind.pod._books.current.routes()})  # type: ignore[union-attr]
            ids += await _in_portions(client, route.uid)
            await until(lambda: {call.webhook_id for call in calls} == set(ids))
    assert unknown(behind) == passed
    # Once from the shard, and then not again.
    assert passed <= 200
    assert len(calls) == len(ids)
    assert await count(client, own.DEAD) == 0


async def _in_portions(client: Client, uid: str) -> list[str]:
    ids = await deliver(client, uid, 40)
    await asyncio.sleep(GONE_SECONDS / 2)
    return ids


async def test_a_webhook_that_another_sender_holds_is_not_gone(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        route, keys = hook("new", receiver)
        held = route.model_copy(update={"state": RouteState.HELD})
        write_book(tmp_path / "ahead", (held, keys))
        write_book(tmp_path / "behind", hook("old", receiver))
        async with (
            sender(tmp_path / "behind", nats_server.url, gone_seconds=GONE_SECONDS),
            sender(tmp_path / "ahead", nats_server.url, gone_seconds=GONE_SECONDS),
        ):
            ids = await deliver(client, route.uid, 20)
            await until_stored(client, own.PARKED, 20)
            # By the time that one is gone which nobody knows, as many questions were asked for this one.
            await deliver(client, hook("gone", receiver)[0].uid, parked=True)
            await until_stored(client, own.DEAD, 1)
            await until_stored(client, own.PARKED, 20)
            write_book(tmp_path / "ahead", (route, keys))
            await until(lambda: len(calls) == 20)
        assert await count(client, own.DEAD) == 1
    assert sorted(call.webhook_id for call in calls) == sorted(ids)


async def test_a_webhook_that_nobody_knows_is_gone_after_a_while_and_not_before(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([]) as receiver:
        route, _ = hook("deleted", receiver)
        write_book(tmp_path / "book", hook("other", receiver))
        async with (
            sender(tmp_path / "book", nats_server.url, gone_seconds=3),
            sender(tmp_path / "book", nats_server.url, gone_seconds=3),
        ):
            started = time.monotonic()
            ids = await deliver(client, route.uid, 10)
            ids += await deliver(client, route.uid, 10, parked=True)
            await until_stored(client, own.PARKED, 20)
            await until_stored(client, own.DEAD, 20)
            # The senders look in steps of a quarter of a second here.
            assert time.monotonic() - started > 2.7
            await until_stored(client, own.PARKED, 0)
    letters = await dead_letters(client)
    assert sorted(letter.event_id for letter in letters) == sorted(ids)
    assert {letter.reason for letter in letters} == {"WebhookGone: the Webhook was deleted"}


async def test_a_sender_that_starts_anew_begins_to_ask_anew(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        route, keys = hook("new", receiver)
        write_book(tmp_path / "book", hook("old", receiver))
        for _ in range(3):
            async with sender(tmp_path / "book", nats_server.url, gone_seconds=3):
                ids = await deliver(client, route.uid)
                await asyncio.sleep(1)
        assert await count(client, own.DEAD) == 0
        assert await count(client, own.PARKED) == 3
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url, gone_seconds=3):
            await until(lambda: len(calls) == 3)
    assert ids[0] in {call.webhook_id for call in calls}


async def test_nothing_is_gone_while_the_book_is_unfinished(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    folder = tmp_path / "book"
    async with receiver_of(calls) as receiver:
        route, keys = hook("new", receiver)
        write_book(folder, hook("old", receiver))
        async with sender(folder, nats_server.url, gone_seconds=GONE_SECONDS) as running:
            write_book(tmp_path / "whole", (route, keys), hook("old", receiver))
            torn = keys_file(shard_of(route.uid, BOOK_SHARDS))
            for file in sorted((tmp_path / "whole").iterdir()):
                if file.name != torn:
                    (folder / file.name).write_bytes(file.read_bytes())
            await until(lambda: torn in running.pod._books.problem)
            await deliver(client, route.uid)
            await until_stored(client, own.PARKED, 1)
            await asyncio.sleep(3 * GONE_SECONDS)
            assert (await count(client, own.PARKED), await count(client, own.DEAD)) == (1, 0)
            (folder / torn).write_bytes((tmp_path / "whole" / torn).read_bytes())
            await until(lambda: len(calls) == 1)


async def test_a_parked_delivery_is_called_in_place(tmp_path: Path, nats_server: NatsServer, queue: Client) -> None:
    """Else two senders of which one does not know the Webhook would pass it to and fro as fast as they can."""
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(503, 1), Answer(200)) as receiver:
        route, keys = hook("one", receiver)
        write_book(tmp_path / "book", (route, keys))
        (event_id,) = await deliver(queue, route.uid, parked=True)
        before = (await queue.jetstream().stream_info(own.DELIVERIES)).state.last_seq
        async with sender(tmp_path / "book", nats_server.url):
            await until(lambda: len(calls) == 1)
            assert (await queue.jetstream().stream_info(own.DELIVERIES)).state.last_seq <= before + 1
            await until(lambda: len(calls) == 2)
            await until_stored(queue, own.PARKED, 0)
            await until_stored(queue, own.DELIVERIES, 0)
    assert [(call.webhook_id, call.attempt) for call in calls] == [(event_id, 1), (event_id, 2)]


async def test_what_is_parked_is_called_all_the_same_when_its_consumer_was_lost(
    tmp_path: Path, nats_server: NatsServer, queue: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=0.02) as receiver:
        route, keys = hook("one", receiver, max_concurrency=1)
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await deliver(queue, route.uid, 80, parked=True)
            await until(lambda: (now := running.pod.snapshot()) is not None and route.uid in now.serving)
            await queue.jetstream().delete_consumer(own.PARKED, names.unpark_consumer(route.uid))
            await until_stored(queue, own.PARKED, 0)


async def test_a_parked_delivery_that_waits_to_be_called_stays_parked_when_its_webhook_is_held_meanwhile(
    tmp_path: Path, nats_server: NatsServer, queue: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=1) as receiver:
        route, keys = hook("one", receiver, max_concurrency=1)
        held = route.model_copy(update={"state": RouteState.HELD})
        write_book(tmp_path / "book", (route, keys))
        ids = await deliver(queue, route.uid, 5, parked=True)
        async with sender(tmp_path / "book", nats_server.url) as running:
            await until(lambda: len(calls) == 1)
            write_book(tmp_path / "book", (held, keys))
            await until(lambda: running.pod._books.current.route(route.uid) == held)  # type: ignore[union-attr]
            # As many from a shard, with the same places in their own stream.
            ids += await deliver(queue, route.uid, 5)
            await until_stored(queue, own.PARKED, 9)
            await until_stored(queue, own.DELIVERIES, 0)
            write_book(tmp_path / "book", (route.model_copy(update={"max_concurrency": 10}), keys))
            await until(lambda: len(calls) == 10)
    assert sorted(call.webhook_id for call in calls) == sorted(ids)
