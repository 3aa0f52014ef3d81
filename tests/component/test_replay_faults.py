"""Replays while what they go through is taken away, while NATS has no room for what they store, while clocks jump."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js.errors import APIError

from controlplane.ports import free_port
from crash.scenario import connected
from doubles import own
from doubles.local import count, publish, until
from doubles.nats import nats
from doubles.replays import (
    OneQueue,
    Written,
    deliveries,
    executor_of,
    give_up,
    ids_of,
    read_replay,
    replay_of,
    replayed,
    webhook_of,
)
from doubles.waiting import until_it_is
from hookline.api.log import Unreadable
from hookline.api.object_names import message_name
from hookline.api.replay import executor as executing
from hookline.api.replay import plan
from hookline.api.replay.executor import Executor
from hookline.api.replay.letters import ReplayLetters
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.events.envelope import MAX_BODY_BYTES, Event
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import ReplayStatus
from hookline.runtime.background import background
from hookline.stream import history
from hookline.stream import purge as purging
from hookline.stream.connection import Client
from hookline.stream.history import Reach
from hookline.stream.purge import Wanted, purge
from hookline.stream.streams import Retention, ensure

UID = "00000000-0000-4000-8000-000000000001"
HOOK = webhook_of("one", UID)


@pytest.fixture
async def queue(client: Client) -> OneQueue:
    await ensure(client, Retention(), prefix="HOOKLINE_")
    return await OneQueue.over(client)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes deliveries, and nobody waits for long."""
    monkeypatch.setattr(plan, "LEAST_WAITING", 100_000)
    monkeypatch.setattr(executing, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(executing, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(executing, "STALE_SECONDS", 0.05)


async def stored(queue: OneQueue, source: str, number: int) -> list[str]:
    """What a Replay of this source finds."""
    if source == "Events":
        return await publish(queue.client, number)
    ids = [f"evt_{each}" for each in range(number)]
    await give_up(queue.client, UID, ids)
    return ids


SOURCES = pytest.mark.parametrize("source", ["DeadLetters", "Events"])


@SOURCES
async def test_what_was_dropped_or_purged_while_a_replay_waited_is_not_replayed(queue: OneQueue, source: str) -> None:
    await stored(queue, source, 3)
    executor = executor_of(queue, [webhook_of("one", UID, enabled=False)])
    written = Written(read_replay(replay_of(source=source)))
    async with background(executor.run(written.replay, written.write)):
        await until(lambda: bool(written.said) and written.said[-1][0] is ReplayReason.WEBHOOK_DISABLED)
        await queue.client.jetstream().purge_stream(own.EVENTS if source == "Events" else own.DEAD)
        await asyncio.sleep(0.1)
        executor.webhooks.there[:] = [HOOK]  # type: ignore[attr-defined]
        await until(lambda: written.status.phase == "Complete")
    assert written.counts == (0, 0, 0, 0)
    assert await deliveries(queue.client) == []


async def test_what_was_dropped_or_purged_before_its_turn_came_is_not_replayed(queue: OneQueue) -> None:
    """At a low rate the deliveries of many Webhooks take long to store, all of which come from one event."""
    hooks = [webhook_of(f"w{number}", f"00000000-0000-4000-8000-{number:012}") for number in range(60)]
    for each in hooks:
        each.labels["team"] = "a"
    await stored(queue, "Events", 1)
    spec = {"webhook": None, "selector": {"matchLabels": {"team": "a"}}}
    written = Written(read_replay(replay_of(source="Events", ratePerSecond=20, **spec)))
    async with background(executor_of(queue, hooks).run(written.replay, written.write)):
        await until_it_is(lambda: count(queue.client, own.DELIVERIES), lambda number: number >= 10)
        await queue.client.jetstream().purge_stream(own.EVENTS)
        number = await count(queue.client, own.DELIVERIES)
        await until(lambda: written.status.phase == "Complete")
    found = len(await deliveries(queue.client))
    assert number <= found <= number + 2, "what is stored at once"
    assert written.counts == (found, found, 0, 0)


Meanwhile = Callable[[], Awaitable[None]]


async def _replayed_while(queue: OneQueue, meanwhile: Meanwhile, **spec: object) -> Written:
    """`meanwhile` happens right before the first word of what was replayed, so between storing and removing."""
    written, done = Written(read_replay(replay_of(**spec))), False

    async def write(status: ReplayStatus, reason: ReplayReason, message: str) -> None:
        nonlocal done
        if status.found and not done:
            done = True
            await meanwhile()
        await written.write(status, reason, message)

    await executor_of(queue, [HOOK]).run(written.replay, write)
    assert done
    return written


async def test_dead_letters_that_expire_or_are_dropped_before_they_would_be_removed_are_replayed_and_stop_nothing(
    queue: OneQueue,
) -> None:
    ids = await stored(queue, "DeadLetters", 70)

    async def expire() -> None:
        await queue.client.jetstream().purge_stream(own.DEAD, keep=30)

    written = await _replayed_while(queue, expire)
    assert written.counts[0] == len(await deliveries(queue.client))
    assert set(ids_of(await deliveries(queue.client))) >= set(ids[-30:])
    assert await count(queue.client, own.DEAD) == 0


async def test_of_a_stream_that_is_made_anew_no_dead_letter_is_removed_or_replayed(queue: OneQueue) -> None:
    await stored(queue, "DeadLetters", 70)

    async def make_anew() -> None:
        await queue.client.jetstream().delete_stream(own.DEAD)
        await ensure(queue.client, Retention(), prefix="HOOKLINE_")
        await give_up(queue.client, UID, [f"evt_later_{each}" for each in range(70)])

    written = await _replayed_while(queue, make_anew)
    assert written.status.phase == "Complete"
    assert await count(queue.client, own.DEAD) == 70, "nobody asked for these, and nobody stored their deliveries"
    assert not [each for each in ids_of(await deliveries(queue.client)) if "later" in each]


async def test_a_replay_ends_when_its_stream_was_deleted(queue: OneQueue) -> None:
    await stored(queue, "DeadLetters", 70)

    async def delete() -> None:
        await queue.client.jetstream().delete_stream(own.DEAD)

    assert (await _replayed_while(queue, delete)).status.phase == "Complete"


@SOURCES
async def test_a_webhook_that_is_made_anew_meanwhile_gets_nothing_and_what_was_stored_before_is_counted(
    queue: OneQueue, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(executing, "CHECKPOINT_SECONDS", 0.05)
    await stored(queue, source, 200)
    executor, written = executor_of(queue, [HOOK]), Written(read_replay(replay_of(source=source, ratePerSecond=200)))
    async with background(executor.run(written.replay, written.write)):
        await until(lambda: bool(written.status.found))
        executor.webhooks.there[:] = [webhook_of("one", UID[:-1] + "9")]  # type: ignore[attr-defined]
        await until(lambda: written.status.phase == "Failed")
    found = await deliveries(queue.client)
    assert written.said[-1][0] is ReplayReason.WEBHOOK_GONE
    assert written.counts == (len(found), len(found), 0, 0)
    assert {each.uid for each in found} == {UID}
    if source == "DeadLetters":
        assert await count(queue.client, own.DEAD) == 200 - len(found)


@SOURCES
async def test_a_replay_of_nothing_is_complete(client: Client, source: str) -> None:
    """Before there are streams, and of empty ones."""
    for _ in range(2):
        queue = await OneQueue.over(client)
        written = await replayed(executor_of(queue, [HOOK]), source=source)
        assert (written.status.phase, written.counts) == ("Complete", (0, 0, 0, 0))
        await ensure(client, Retention(), prefix="HOOKLINE_")


async def test_two_replays_of_the_same_events_deliver_each_twice_and_count_their_own(queue: OneQueue) -> None:
    ids = await stored(queue, "Events", 60)
    executor = executor_of(queue, [HOOK])
    asked = replay_of(source="Events")
    two = [Written(read_replay({**asked, "metadata": {"name": each, "uid": each}})) for each in ("a", "b")]
    await asyncio.gather(*(executor.run(each.replay, each.write) for each in two))
    assert [each.counts for each in two] == [(60, 60, 0, 0)] * 2
    assert Counter(ids_of(await deliveries(queue.client))) == Counter(dict.fromkeys(ids, 2))


async def test_the_age_of_what_is_replayed_is_told_by_nats_and_not_by_the_clock_of_whoever_replays_it(
    queue: OneQueue,
) -> None:
    """Hours back, hours ahead, and back again: an age by it would make a dead letter of what is parked."""
    await stored(queue, "DeadLetters", 40)
    jumps = iter([-40 * 86400.0, 8 * 3600.0] * 1000)
    executor = Executor(
        lambda: {"default": queue.client}, executor_of(queue, [HOOK]).webhooks, executor_of(queue, []).attempts,
        now_s=lambda: time.time() + next(jumps),
    )  # fmt: skip
    written = await replayed(executor, ids=[f"evt_{each}" for each in range(1, 40)])
    assert await executor.replay_letter("default", own.DEAD, 1, "letter")
    assert written.counts == (39, 39, 0, 0)
    ages = [time.time() - each.replayed_ms / 1000 for each in await deliveries(queue.client)]
    assert len(ages) == 40
    assert all(-5 < each < 60 for each in ages), ages


@SOURCES
async def test_the_largest_event_with_the_longest_headers_is_replayed_dies_and_is_replayed_again(
    queue: OneQueue, source: str
) -> None:
    context = {f"k{number:02}": "x" * 100 for number in range(32)}
    body = b'"%s"' % (b"x" * (MAX_BODY_BYTES - 2))
    (event_id,) = await publish(queue.client, body=body, context=context, event_id="e" * 128)
    if source == "DeadLetters":
        event = Event(event_id, "default", "IdentityCreated", "2026-11-24T00:00:00.000Z", body, context)
        await _buried(queue, Delivery(UID, event, 1, 9, 1_700_000_000))
    longest = "r" * 253
    for name, asked in ((longest, source), (longest[1:], "DeadLetters")):
        written = Written(read_replay({**replay_of(source=asked), "metadata": {"name": name, "uid": name[:36]}}))
        await executor_of(queue, [HOOK]).run(written.replay, written.write)
        assert written.counts == (1, 1, 0, 0)
        delivery = (await deliveries(queue.client))[-1]
        assert (delivery.event.body, dict(delivery.event.context), delivery.replay) == (body, context, name)
        await _buried(queue, delivery)


async def _buried(queue: OneQueue, delivery: Delivery) -> None:
    """Given up after an answer that fills all that is kept of it."""
    outcome = Outcome(Reason.HTTP_STATUS, 500, "d" * 2000, 0.1, None, b"a" * 4000)
    letter = messages.dead_letter(
        delivery, f"ScheduleSpent: {'s' * 2000}", route=None, keys=None, outcome=outcome, failed_at="2026-11-24"
    )
    await queue.publisher.store(letter.subject, letter.body, letter.headers, once=letter.once)


_ROOM_BYTES = 8 * 1024 * 1024


@contextlib.asynccontextmanager
async def _little_room(folder: Path, whose: str) -> AsyncIterator[OneQueue]:
    port = free_port()
    settings: dict[str, object] = {"jetstream": {"store_dir": str(folder / "nats"), "max_file_store": _ROOM_BYTES}}
    if whose == "account":
        bounds = {"max_file": _ROOM_BYTES, "max_mem": 0}
        settings = {"accounts": {"A": {"jetstream": bounds, "users": [{"user": "a", "password": "a"}]}}}
        settings["no_auth_user"] = "a"
    async with nats(folder / "nats", port, **settings), connected(f"nats://127.0.0.1:{port}") as client:
        await ensure(client, Retention(), prefix="HOOKLINE_")
        yield await OneQueue.over(client)


@pytest.mark.parametrize(("whose", "source"), [("server", "DeadLetters"), ("account", "Events")])
async def test_a_replay_waits_while_nats_is_full_says_so_and_goes_on_with_what_is_left(
    tmp_path: Path, whose: str, source: str
) -> None:
    async with _little_room(tmp_path, whose) as queue:
        ids = await stored(queue, source, 3)
        filler = await _fill(queue.client)
        written = Written(read_replay(replay_of(source=source)))
        async with background(executor_of(queue, [HOOK]).run(written.replay, written.write)):
            await until(lambda: bool(written.said) and written.said[-1][0] is ReplayReason.QUEUE_UNAVAILABLE)
            assert "refused to store" in written.said[-1][1]
            await queue.client.jetstream().delete_msg(own.EVENTS if source == "Events" else own.DEAD, 2)
            assert await deliveries(queue.client) == []
            await queue.client.jetstream().delete_stream(filler)
            await until(lambda: written.status.phase == "Complete")
        assert written.counts == (2, 2, 0, 0)
        assert sorted(ids_of(await deliveries(queue.client))) == sorted([ids[0], ids[2]])


async def test_a_single_dead_letter_is_to_be_replayed_later_while_nats_is_full_and_stays(tmp_path: Path) -> None:
    async with _little_room(tmp_path, "server") as queue:
        await give_up(queue.client, UID, ["evt_1"])
        letters = ReplayLetters(executor_of(queue, []), lambda: {"default": queue.client})
        name = message_name("evt_1", 2, own.DEAD, 1)
        filler = await _fill(queue.client)
        with pytest.raises(Unreadable, match="refused to store"):
            await letters.replay_dead_letter("default", name)
        await queue.client.jetstream().delete_stream(filler)
        assert await letters.replay_dead_letter("default", name)


async def _fill(client: Client) -> str:
    """A stream of somebody else takes all room that there is."""
    js = client.jetstream()
    await js.add_stream(name="FILLER", subjects=["filler"])
    for size in (500_000, 20_000, 1_000, 0):
        with contextlib.suppress(APIError):
            while True:
                await js.publish("filler", b"x" * size)
    return "FILLER"


async def test_nothing_of_a_purged_tenant_comes_back_from_a_replay_that_runs(
    queue: OneQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "NOTED_SECONDS", 1.0)
    monkeypatch.setattr(purging, "APART_SECONDS", 0.1)
    await stored(queue, "DeadLetters", 200)
    await stored(queue, "Events", 200)
    executor = executor_of(queue, [HOOK])
    both = [Written(read_replay(replay_of(source=source, ratePerSecond=40))) for source in ("DeadLetters", "Events")]
    async with background(*(executor.run(each.replay, each.write) for each in both)):
        await until(lambda: all(each.status.found for each in both), what="both at work")
        _, left = await purge(queue.client, Wanted("default"))
        assert left == {}
        await until(lambda: all(each.status.phase == "Complete" for each in both), what="the ends of both")
    for stream in (own.DEAD, own.EVENTS, own.DELIVERIES):
        assert await count(queue.client, stream) == 0, stream


async def test_events_from_before_the_clock_of_nats_was_set_back_are_waited_for_no_longer_than_lines_may_take(
    queue: OneQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await publish(queue.client, 3)
    now_of_nats = history.reach

    async def set_back(client: Client, stream: str) -> Reach | None:
        has = await now_of_nats(client, stream)
        return replace(has, now_s=has.now_s - 3600) if has is not None else None

    monkeypatch.setattr(history, "reach", set_back)
    monkeypatch.setattr(plan, "LINES_LATE_SECONDS", 0.2)
    async with asyncio.timeout(20):
        written = await replayed(executor_of(queue, [HOOK]), source="Events", onlyFailed=True)
    assert written.counts == (3, 3, 0, 0)
    assert sorted(ids_of(await deliveries(queue.client))) == sorted(ids)
