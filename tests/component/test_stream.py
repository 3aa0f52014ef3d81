"""The queue against a real nats-server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from controlplane.ports import free_port
from doubles.frozen import stand_still
from doubles.local import count, until, until_stored
from doubles.nats import nats
from hookline.local.nats_server import NatsServer
from hookline.routing.routes import TypeRecord
from hookline.runtime.tasks import cancel
from hookline.stream import connection, event_reader, names, publish, streams
from hookline.stream import pull as pulling
from hookline.stream.api import ask
from hookline.stream.clock import ClockReading, ServerClock
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable, connect
from hookline.stream.event_reader import EventReader
from hookline.stream.peers import Peers
from hookline.stream.publish import Publisher
from hookline.stream.pull import PULL_BYTES, Origin, PullLoop, Taken
from hookline.stream.streams import Retention, SubjectCounts, ensure, oldest_parked, open_unpark
from hookline.stream.types import read_types, write_types

UID = "0b9a5c1e-0000-0000-0000-000000000001"


@pytest.fixture
async def queue(client: Client) -> Client:
    """A connection to a queue whose streams have no prefix."""
    await ensure(client, Retention(), prefix="")
    return client


async def test_streams_are_made_once_and_changed_in_place(client: Client) -> None:
    await ensure(client, Retention(), prefix="")
    await ensure(client, Retention(events_seconds=3600), prefix="")
    info = await client.jetstream().stream_info(names.EVENTS)
    assert info.config.max_age == 3600


async def test_a_message_stored_twice_under_one_name_is_there_once(queue: Client) -> None:
    publisher = Publisher(queue)
    subject = names.event_subject("default", "IdentityCreated")
    assert (await publisher.store(subject, b"{}", once="default.evt_1")).new
    assert not (await publisher.store(subject, b"{}", once="default.evt_1")).new
    assert await count(queue, names.EVENTS) == 1


async def test_a_full_stream_refuses_and_keeps_what_it_has(queue: Client) -> None:
    js = queue.jetstream()
    config = (await js.stream_info(names.EVENTS)).config
    config.max_msgs = 1
    await js.update_stream(config)
    publisher = Publisher(queue)
    await publisher.store(names.event_subject("default", "A"), b"first")
    with pytest.raises(StreamRefused, match="maximum messages exceeded"):
        await publisher.store(names.event_subject("default", "A"), b"second")
    assert (await js.get_last_msg(names.EVENTS, names.event_subject("default", "A"))).data == b"first"


async def test_storing_without_a_stream_is_not_taken_for_stored(client: Client) -> None:
    with pytest.raises(StreamUnavailable):
        await Publisher(client).store(names.event_subject("default", "A"), b"{}")


async def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_said(
    nats_server: NatsServer, queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher, subject = Publisher(queue), names.event_subject("default", "A")
    await publisher.store(subject, b"{}")
    monkeypatch.setattr(publish, "ACK_SECONDS", 0.3)
    assert nats_server.pid is not None
    stand_still(nats_server.pid)
    try:
        with pytest.raises(StreamUnavailable, match="did not confirm"):
            await publisher.store(subject, b"{}")
    finally:
        os.kill(nats_server.pid, signal.SIGCONT)
    assert (await publisher.store(subject, b"{}")).new


async def test_no_nats_is_a_clear_error_after_a_bounded_wait() -> None:
    started = time.monotonic()
    with pytest.raises(StreamUnavailable, match=r"nats://127\.0\.0\.1:1 .*hookline run") as error:
        await connect("nats://canary-token@127.0.0.1:1", name="test", connect_seconds=1)
    assert time.monotonic() - started < 5
    assert "canary-token" not in str(error.value)


async def test_a_scheduled_message_comes_back_to_its_shard_with_its_headers_and_body(queue: Client) -> None:
    taken: list[Taken] = []
    pull = PullLoop(queue, taken.append)
    await pull.start()
    subject = names.delivery_subject(UID)
    shard = names.shard_consumer(int(subject.split(".")[2]))
    pull.add(Origin.SHARD, shard, 10)
    due_s = time.time() + 1
    await Publisher(queue).store_later(UID, b"body", {"Hookline-Attempt": "2"}, at_s=due_s, once="one")
    await until(lambda: bool(taken))
    assert time.time() >= due_s
    (message,) = taken
    assert (message.subject, message.body, message.headers["Hookline-Attempt"]) == (subject, b"body", "2")
    await message.ack()
    await pull.stop()
    await until_stored(queue, names.DELIVERIES, 0)


async def test_the_same_schedule_stored_twice_fires_once(queue: Client) -> None:
    taken: list[Taken] = []
    pull = PullLoop(queue, taken.append)
    await pull.start()
    for shard in range(names.DELIVERY_SHARDS):
        pull.add(Origin.SHARD, names.shard_consumer(shard), 10)
    publisher = Publisher(queue)
    for _ in range(2):
        await publisher.store_later(UID, b"same", {}, at_s=time.time() + 0.5, once="same")
    await publisher.store_later(UID, b"last", {}, at_s=time.time() + 1.5, once="last")
    await until(lambda: b"last" in [each.body for each in taken])
    assert [each.body for each in taken] == [b"same", b"last"]
    await pull.stop()


async def test_no_more_is_taken_than_there_is_room_for(queue: Client) -> None:
    publisher = Publisher(queue)
    for number in range(50):
        await publisher.store(names.event_subject("default", "A"), b"%d" % number)
    taken: list[Taken] = []
    pull = PullLoop(queue, taken.append)
    await pull.start()
    pull.add(Origin.EVENTS, names.FANOUT_CONSUMER, 8)
    await until(lambda: len(taken) == 8)
    await asyncio.sleep(0.3)
    assert len(taken) == 8
    for _ in range(42):
        await until(lambda: any(taken))
        message = taken.pop(0)
        await message.ack()
        pull.release(message)
    await until(lambda: len(taken) == 8)
    await pull.stop()


async def test_of_large_messages_no_more_is_taken_than_memory_has_room_for(
    queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "HELD_BYTES", 2 * PULL_BYTES)
    publisher, body = Publisher(queue), bytes(250_000)
    for _ in range(40):
        await publisher.store(names.event_subject("default", "A"), body)
    taken: list[Taken] = []
    pull = PullLoop(queue, taken.append)
    await pull.start()
    pull.add(Origin.EVENTS, names.FANOUT_CONSUMER, 256)
    await until(lambda: len(taken) * len(body) >= 2 * PULL_BYTES)
    await asyncio.sleep(1.5)
    most = 4 * PULL_BYTES  # and what the pulls may bring that stood when it was reached
    assert len(taken) * len(body) <= most
    for number in range(40):
        await until(lambda number=number: len(taken) > number)  # type: ignore[misc]
        assert (len(taken) - number) * len(body) <= most
        pull.release(taken[number])
    await pull.stop()


async def test_a_server_sends_no_more_of_large_messages_at_once_than_it_keeps_for_a_busy_client(tmp_path: Path) -> None:
    port = free_port()
    async with nats(tmp_path / "nats", port, max_pending=4 * 1024 * 1024):
        url = f"nats://127.0.0.1:{port}"
        client, other = await connect(url, name="test"), await connect(url, name="other")
        await ensure(other, Retention(), prefix="")
        publisher, bodies = Publisher(other), {b"%03d" % number * 87_000 for number in range(100)}
        for body in bodies:
            await publisher.store(names.event_subject("default", "A"), body)
        await other.close()
        taken: list[Taken] = []

        def take(message: Taken) -> None:
            taken.append(message)
            pull.release(message)

        pull = PullLoop(client, take)
        await pull.start()
        pull.add(Origin.EVENTS, names.FANOUT_CONSUMER, 256)
        await client.flush()
        time.sleep(1)  # noqa: ASYNC251  # nothing is read: what was asked for waits in buffers of the network and the server
        await until(lambda: len(taken) >= 100, seconds=10)
        assert ({each.body for each in taken}, len(taken), client.stats["reconnects"]) == (bodies, 100, 0)
        await pull.stop()
        await client.close()


async def test_a_message_larger_than_a_whole_pull_is_taken_and_holds_up_none_behind_it(queue: Client) -> None:
    subject, bodies = names.delivery_subject(UID), [b"before", bytes(queue.max_payload), b"behind"]
    assert queue.max_payload >= PULL_BYTES
    for body in bodies:
        await queue.jetstream().publish(subject, body)
    taken: list[Taken] = []
    pull = PullLoop(queue, taken.append)
    await pull.start()
    pull.add(Origin.SHARD, names.shard_consumer(int(subject.split(".")[2])), 10)
    await until(lambda: len(taken) == 3, seconds=5)
    assert [each.body for each in taken] == bodies
    await pull.stop()


async def test_taking_goes_on_after_nats_server_was_killed(nats_server: NatsServer, tmp_path: Path) -> None:
    loops: list[PullLoop] = []

    async def reconnected() -> None:
        for each in loops:
            each.reconnected()

    client = await connect(nats_server.url, name="test", on_reconnect=reconnected)
    await ensure(client, Retention(), prefix="")
    taken: list[Taken] = []
    loops.append(PullLoop(client, taken.append))
    await loops[0].start()
    loops[0].add(Origin.EVENTS, names.FANOUT_CONSUMER, 100)
    publisher = Publisher(client)
    supervising = asyncio.create_task(nats_server.supervise())
    for round_ in range(3):
        assert nats_server._process is not None
        nats_server._process.kill()
        await until(lambda: not client.is_connected)
        await until(lambda: client.is_connected)
        before = time.monotonic()
        await publisher.store(names.event_subject("default", "A"), b"%d" % round_)
        wanted = round_ + 1
        await until(lambda: len({each.body for each in taken}) == wanted, seconds=10)  # noqa: B023
        # A client that waits out a dead pull would need its 30 s.
        assert time.monotonic() - before < 10
    supervising.cancel()
    await loops[0].stop()
    await client.close()


async def test_what_a_lost_connection_took_with_it_is_stored_over_the_next_one_and_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever only waits for it waits for longer than this test does.
    monkeypatch.setattr(publish, "ACK_SECONDS", 300.0)
    monkeypatch.setattr(event_reader, "_READ_SECONDS", 300.0)
    client = await connect(nats_server.url, name="test")
    await ensure(client, Retention(), prefix="")
    publisher, reader, numbers = Publisher(client), EventReader(client), itertools.count()

    async def store(how_many: int) -> None:
        named = (f"event-{next(numbers)}" for _ in range(how_many))
        subject = names.event_subject("default", "A")
        outcomes = await asyncio.gather(*(publisher.store(subject, b"{}", once=each) for each in named))
        assert all(each.new for each in outcomes)

    async with asyncio.timeout(30):
        for _ in range(3):
            storing = asyncio.create_task(store(200))
            await asyncio.sleep(0.005)
            connection.cut(client)
            await storing
        pid = nats_server.pid
        assert pid is not None
        stand_still(pid)
        storing = asyncio.create_task(store(200))
        reading = asyncio.create_task(reader.read(names.EVENTS, 1))
        await asyncio.sleep(0.1)
        supervising = asyncio.create_task(nats_server.supervise())
        os.kill(pid, signal.SIGKILL)
        await storing
        assert await reading is not None
    assert await count(client, names.EVENTS) == 800
    await cancel([supervising])
    await client.close()


async def test_the_servers_time_is_told_by_no_clock_of_ours(queue: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + 3600)
    clock = ServerClock(queue)
    await clock.measure()
    assert right <= clock.now_s() < right + 60


async def test_the_servers_time_goes_on_while_it_is_away_and_is_asked_for_at_once_when_it_is_back(
    nats_server: NatsServer, queue: Client
) -> None:
    clock = ServerClock(queue)
    await clock.measure()
    following = asyncio.create_task(clock.follow())
    clock._reading = ClockReading(0, 0)
    await nats_server.stop()
    await until(lambda: not queue.is_connected)
    assert clock.now_s() <= time.monotonic()
    clock.reconnected()
    await nats_server.start()
    await until(lambda: abs(clock.now_s() - time.time()) < 60)
    await cancel([following])


async def test_a_removed_consumer_is_reported_and_taken_from_again_once_it_is_back(queue: Client) -> None:
    gone: list[str] = []
    taken: list[Taken] = []
    pull = PullLoop(queue, taken.append, on_gone=gone.append)
    await pull.start()
    pull.add(Origin.EVENTS, names.FANOUT_CONSUMER, 8)
    await queue.flush()
    await queue.jetstream().delete_consumer(names.EVENTS, names.FANOUT_CONSUMER)
    await until(lambda: gone == [names.FANOUT_CONSUMER])
    await ensure(queue, Retention(), prefix="")
    await Publisher(queue).store(names.event_subject("default", "A"), b"{}")
    await until(lambda: bool(taken))
    await pull.stop()


async def test_parked_deliveries_are_counted_and_taken_by_webhook(queue: Client) -> None:
    publisher = Publisher(queue)
    await publisher.store(names.parked_subject("a"), b"1")
    await publisher.store(names.parked_subject("a"), b"2")
    await publisher.store(names.parked_subject("b"), b"3")
    assert await SubjectCounts(queue, lambda: names.PARKED, names.parked_subject("*")).counts() == {"a": 2, "b": 1}
    oldest = await oldest_parked(queue, names.PARKED, "a")
    assert oldest is not None
    clock = ServerClock(queue)
    await clock.measure()
    assert 0 <= clock.now_s() - oldest.stored_s < 60
    assert await oldest_parked(queue, names.PARKED, "c") is None
    taken: list[Taken] = []
    pull = PullLoop(queue, taken.append)
    await pull.start()
    pull.add(Origin.PARKED, await open_unpark(queue, names.PARKED, "a"), 10)
    await until(lambda: len(taken) == 2)
    assert [each.body for each in taken] == [b"1", b"2"]
    await pull.stop()


async def test_what_is_parked_is_listed_only_after_something_moved_and_never_as_it_was_before(
    queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists: list[object] = []

    async def noted(client: Client, what: str, **question: object) -> dict[str, Any]:
        lists.extend([question["subjects_filter"]] if "subjects_filter" in question else [])
        return await ask(client, what, **question)

    monkeypatch.setattr(streams, "ask", noted)
    publisher, parked = Publisher(queue), SubjectCounts(queue, lambda: names.PARKED, names.parked_subject("*"))
    for steps, counts in ((2, {"a": 2}), (1, {"a": 3})):
        for _ in range(steps):
            await publisher.store(names.parked_subject("a"), b"")
        assert [await parked.counts() for _ in range(4)] == [counts] * 4
        # Once for what moved, and once more until it is known to be still.
        assert len(lists) <= 2
        lists.clear()
    await queue.jetstream().purge_stream(names.PARKED, keep=1)
    assert await parked.counts() == {"a": 1}
    await queue.jetstream().delete_stream(names.PARKED)
    await ensure(queue, Retention(), prefix="")
    assert await parked.counts() == {}


async def test_the_bucket_of_event_types_holds_what_was_written_last(queue: Client) -> None:
    order = TypeRecord(name="order.created", description="", validation="Enforce", schema_={"type": "object"})
    other = TypeRecord(name="Other", description="", validation="Ignore", schema_={})
    await queue.jetstream().delete_stream(f"KV_{names.TYPES_BUCKET}")
    assert await read_types(queue) == []
    await ensure(queue, Retention(), prefix="")
    await write_types(queue, (order, other))
    assert await read_types(queue) == [other, order]
    await write_types(queue, (order,))
    assert await read_types(queue) == [order]
    stored = await queue.jetstream().get_last_msg(f"KV_{names.TYPES_BUCKET}", f"$KV.{names.TYPES_BUCKET}.order.created")
    # As versions that know no sample write it: those would write it again, and so on.
    assert json.loads(stored.data or b"").keys() == {"name", "description", "validation", "schema"}
    whole = order.model_copy(update={"sample": [None], "deprecated": "use Other"})
    await write_types(queue, (whole,))
    assert await read_types(queue) == [whole]


@pytest.mark.parametrize("name", ["a\r\nX-Header: 1", "a b", "漢", 'a"b', "a.>", "a" * 129, ""])
async def test_a_type_in_the_bucket_with_a_name_that_none_may_have_is_left_out(queue: Client, name: str) -> None:
    record = TypeRecord(name=name, description="", validation="Warn", schema_={})
    await queue.jetstream().publish(f"$KV.{names.TYPES_BUCKET}.any", record.model_dump_json().encode())
    assert await read_types(queue) == []


async def test_a_pull_loop_that_has_ended_is_stuck_and_one_without_a_server_is_not(
    nats_server: NatsServer, queue: Client
) -> None:
    pull = PullLoop(queue, lambda _: None)
    assert pull.stuck() is None
    await pull.start()
    pull.add(Origin.EVENTS, names.FANOUT_CONSUMER, 8)
    await nats_server.stop()
    await until(lambda: not queue.is_connected)
    assert pull.stuck() is None
    pull._tasks[0].cancel()
    await until(lambda: pull.stuck() == "the pull loop has ended")
    await pull.stop()
    assert pull.stuck() is None


async def test_senders_answer_one_another_for_webhooks_that_they_know(client: Client) -> None:
    heard: list[str] = []
    mine = Peers(client, knows=lambda uid: uid == "known", on_known=lambda _: None)
    other = Peers(client, knows=lambda _: False, on_known=heard.extend)
    await mine.start()
    await other.start()
    for stray in (b"", b"{", b"5", b"[5, null]", b"[" * 100_000):
        await client.publish(names.UNKNOWN_SUBJECT, stray)
        await client.publish(names.KNOWN_SUBJECT, stray)
    await other.ask(["unknown", "known", *(f"uid-{number}" for number in range(2500))])
    await until(lambda: bool(heard))
    await client.flush()
    assert heard == ["known"]
