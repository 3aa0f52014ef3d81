"""Deliveries that are called straight from their event, and what is stored of them, on a real nats-server."""

from __future__ import annotations

from pathlib import Path

from crash.parties import CrashReceiver, NatsProcess, SenderProcess
from crash.scenario import connected, until_empty, until_fanned_out
from doubles import own
from doubles.books import route
from doubles.local import (
    SECRET,
    count,
    hook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from doubles.receiver import Call
from doubles.waiting import until_it_is
from hookline.delivery.policy.event_room import FEW
from hookline.delivery.sender import SAFE_AFTER_SECONDS
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import DispatcherRecord, Keys, book_of
from hookline.stream.connection import Client

LONG_SECONDS = SAFE_AFTER_SECONDS + 2
AT_ONCE_SECONDS = 10.0
"""Less than the ack wait, after which everything comes again."""


async def stored(client: Client) -> int:
    """How many messages were ever stored in DELIVERIES."""
    return (await client.jetstream().stream_info(own.DELIVERIES)).state.last_seq


async def in_hand(client: Client) -> int:
    """Events that senders have taken and not acked."""
    return (await client.jetstream().consumer_info(own.EVENTS, own.FANOUT_CONSUMER)).num_ack_pending or 0


async def waiting(client: Client) -> list[str]:
    """The subjects in DELIVERIES."""
    info = await client.jetstream().stream_info(own.DELIVERIES, subjects_filter=">")
    return sorted(info.state.subjects or {})


async def test_an_event_of_a_healthy_webhook_is_delivered_and_nothing_of_it_is_stored(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url):
            before = await stored(client)
            ids = await publish(client, 20)
            await until(lambda: len(calls) == len(ids))
            await until_fanned_out(client)
            assert await stored(client) == before
    assert {call.webhook_id for call in calls} == set(ids)


async def test_a_call_that_takes_long_holds_no_event_and_leaves_no_copy(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=LONG_SECONDS) as receiver:
        hooked, keys = hook("one", receiver)
        write_book(tmp_path / "book", (hooked, keys))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client)
            await until_stored(client, own.DELIVERIES, 1)
            await until_fanned_out(client)
            assert running.attempts == []
            (subject,) = await waiting(client)
            assert subject.startswith(f"hookline.deliveries.later.{hooked.uid}.")
            await until(lambda: len(running.attempts) == 1)
            await until_stored(client, own.DELIVERIES, 0)
    assert len(calls) == 1


async def test_a_call_that_takes_long_is_made_again_after_its_sender_was_killed(tmp_path: Path) -> None:
    receiver: CrashReceiver

    def answer(_: Call) -> tuple[int, float]:
        return 200, LONG_SECONDS if len(receiver.calls) == 1 else 0

    receiver = CrashReceiver(answer)
    async with (
        receiver,
        NatsProcess(tmp_path / "nats") as server,
        connected(server.url) as client,
    ):
        hooked = route(url=f"https://127.0.0.1:{receiver.port}/one", timeout_seconds=2)
        keys = Keys(uid=hooked.uid, signing=SECRET, ca_pem=receiver.ca_pem)
        book_folder.write(book_of([(hooked, keys)], DispatcherRecord(allow_cidrs=("127.0.0.0/8",))), tmp_path / "book")
        killed = SenderProcess(tmp_path, tmp_path / "book", server.url)
        async with killed.running():
            await publish(client)
            await until_stored(client, own.DELIVERIES, 1)
            await until_fanned_out(client)
            killed.kill()
            await until(lambda: len(receiver.calls) == 2)
            await until_empty(client)
    assert [call.headers["hookline-attempt"] for call in receiver.calls] == ["1", "1"]
    assert len({call.event_id for call in receiver.calls}) == 1


async def test_a_call_that_failed_is_a_retry_that_waits_and_its_event_is_done(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500)) as receiver:
        hooked, keys = hook("one", receiver, schedule_seconds=(60,))
        write_book(tmp_path / "book", (hooked, keys))
        async with sender(tmp_path / "book", nats_server.url):
            await publish(client)
            await until_stored(client, own.DELIVERIES, 1)
            await until_fanned_out(client)
            (subject,) = await waiting(client)
    assert subject.startswith(f"hookline.deliveries.later.{hooked.uid}.")
    assert len(calls) == 1


async def test_deliveries_of_an_event_with_many_webhooks_are_stored_before_they_are_called(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", *(hook(f"hook-{number}", receiver) for number in range(FEW + 1)))
        async with sender(tmp_path / "book", nats_server.url):
            before = await stored(client)
            await publish(client)
            await until(lambda: len(calls) == FEW + 1)
            assert await stored(client) == before + FEW + 1


async def test_what_waits_at_the_end_is_stored_and_another_sender_has_it_at_once(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=0.5) as receiver:
        write_book(tmp_path / "book", hook("one", receiver, max_concurrency=1))
        async with sender(tmp_path / "book", nats_server.url) as running:
            ids = await publish(client, 3)
            await until(lambda: len(calls) == 1)
            await until_it_is(lambda: in_hand(client), lambda events: events == 3)
            await running.end()
        assert len(calls) == 1
        await until_fanned_out(client)
        assert await count(client, own.DELIVERIES) == 2
        async with sender(tmp_path / "book", nats_server.url):
            await until(lambda: len(calls) == 3, seconds=AT_ONCE_SECONDS)
    assert {call.webhook_id for call in calls} == set(ids)
