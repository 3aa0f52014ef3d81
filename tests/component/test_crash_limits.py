"""Streams and a disk that are full: refused aloud, nothing discarded, nothing spins, and it goes on given room."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from crash.parties import NatsProcess
from crash.scenario import connected
from doubles import own
from doubles.command import hookline
from doubles.local import SAMPLE, count, hook, publish, receiver_of, sender, until, until_stored, write_book
from hookline.delivery.policy import endpoint_state
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import RouteState
from hookline.stream import streams
from hookline.stream.connection import Client, StreamRefused
from hookline.stream.streams import Retention, ensure

ACK_WAIT_SECONDS = 1.5


async def _limit(client: Client, stream: str, messages: int) -> None:
    """What an administrator can do with NATS's own tools."""
    js = client.jetstream()
    config = (await js.stream_info(stream)).config
    config.max_msgs = messages
    await js.update_stream(config)


async def _fill(client: Client, stored: list[str]) -> None:
    while True:
        stored += await publish(client, 1, body=b'"%s"' % (b"x" * 50_000))


async def test_a_full_stream_of_events_refuses_a_publisher_in_one_line(queue: Client, nats_server: NatsServer) -> None:
    await publish(queue, 3)
    await _limit(queue, own.EVENTS, 3)
    done = await asyncio.to_thread(
        hookline,
        "publish",
        "IdentityCreated",
        "-",
        "--nats",
        nats_server.url,
        stdin=json.dumps(json.loads(SAMPLE)).encode(),
    )
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert "NATS refused to store: maximum messages exceeded" in line
    assert await count(queue, own.EVENTS) == 3


@pytest.mark.parametrize(
    ("stream", "state", "calls_each"), [(own.DEAD, RouteState.ACTIVE, 1), (own.PARKED, RouteState.HELD, 0)]
)
async def test_what_a_full_stream_refuses_is_kept_and_not_tried_in_circles(
    tmp_path: Path,
    nats_server: NatsServer,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    stream: str,
    state: RouteState,
    calls_each: int,
) -> None:
    monkeypatch.setattr(streams, "ACK_WAIT_SECONDS", ACK_WAIT_SECONDS)
    # Else the endpoint is failing before the stream is full, and is hardly called any more.
    monkeypatch.setattr(endpoint_state, "OPENS_AFTER", 1000)
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500)) as receiver:
        write_book(tmp_path / "book", hook("one", receiver, schedule_seconds=(), state=state))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await _limit(client, stream, 2)
            await publish(client, 10)
            await until_stored(client, stream, 2)
            await until(lambda: len(calls) >= 10 * calls_each)
            before = len(calls)
            await asyncio.sleep(2 * ACK_WAIT_SECONDS)
            # Once in each ack wait, and once for the start.
            assert len(calls) - before <= 3 * 8 * calls_each
            assert await count(client, stream) == 2
            await _limit(client, stream, -1)
            await until_stored(client, stream, 10)
            await until_stored(client, own.DELIVERIES, 0)
            assert running.task.done() is False


async def test_a_webhook_for_which_no_more_can_be_parked_repeats_nothing_to_others_that_hear_the_same_event(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACK_WAIT_SECONDS", 1.0)
    # NATS forgets the name of what it stored between one try and the next.
    monkeypatch.setattr(streams, "DEDUPLICATION_SECONDS", 0.5)
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        held = hook("held", receiver, state=RouteState.HELD)
        write_book(tmp_path / "book", held, *(hook(f"well-{number}", receiver) for number in range(20)))
        async with sender(tmp_path / "book", nats_server.url):
            await publish(client)
            await until(lambda: len(calls) == 20)
            await until_stored(client, own.PARKED, 1)
            await _limit(client, own.PARKED, 1)
            await publish(client)
            await until(lambda: len(calls) == 40)
            tries = await _tries(client)
            await until_tried(client, tries + 4)
            assert len(calls) == 40
            await _limit(client, own.PARKED, -1)
            await until_stored(client, own.PARKED, 2)
    assert len(calls) == 40


async def _tries(client: Client) -> int:
    """How often events were given to a sender."""
    consumer = await client.jetstream().consumer_info(own.EVENTS, own.FANOUT_CONSUMER)
    assert consumer.delivered is not None
    return int(consumer.delivered.consumer_seq)


async def until_tried(client: Client, wanted: int) -> None:
    while await _tries(client) < wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def test_a_full_disk_is_refused_and_what_was_acknowledged_arrives_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACK_WAIT_SECONDS", ACK_WAIT_SECONDS)
    calls: list[ReceivedCall] = []
    async with (
        NatsProcess(tmp_path / "nats", max_file_store=1_000_000) as server,
        receiver_of(calls) as receiver,
        connected(server.url) as client,
    ):
        await ensure(client, Retention())
        write_book(tmp_path / "book", hook("one", receiver))
        stored: list[str] = []
        with pytest.raises(StreamRefused, match="NATS refused to store"):
            await _fill(client, stored)
        there = await count(client, own.EVENTS)
        assert there == len(stored)
        async with sender(tmp_path / "book", server.url, patient=True):
            await server.stop()
            await server.start(max_file_store=50_000_000)
            await until(lambda: {call.webhook_id for call in calls} == set(stored), seconds=60)
    assert all(call.verified == "signature" and len(call.body) == 50_002 for call in calls)
