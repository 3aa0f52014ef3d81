"""Replays over a real nats-server: what is stored, what is counted, and what a kill leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from doubles import own
from doubles.local import count, deliver, one_webhook, publish, until, until_stored
from doubles.logs import log_of, make_log, record, until_listed, write
from doubles.replays import (
    OneQueue,
    SomeAttempts,
    SomeWebhooks,
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
from doubles.waiting import eventually, until_it_is
from hookline.api.actions import CannotBeDone
from hookline.api.log import Log, Unreadable
from hookline.api.object_names import message_name
from hookline.api.replay import executor as executing
from hookline.api.replay import plan
from hookline.api.replay.executor import Executor
from hookline.api.replay.kept import KeptReplays
from hookline.api.replay.letters import ReplayLetters
from hookline.api.replay.replays import Runner
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import ReplayStatus
from hookline.runtime.background import background
from hookline.stream import history, log_reader, names
from hookline.stream import purge as purging
from hookline.stream.api import ask
from hookline.stream.attempts_log import AttemptsStream
from hookline.stream.connection import Client, connect
from hookline.stream.log_reader import NO_LOG, LogReach
from hookline.stream.owner import Mark
from hookline.stream.purge import Wanted, purge
from hookline.stream.streams import LogBounds, Retention, ensure

UID = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
DOUBLES = Path(__file__).parents[1]


@pytest.fixture
async def queue(client: Client) -> OneQueue:
    await ensure(client, Retention(), prefix="HOOKLINE_")
    return await OneQueue.over(client)


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes deliveries in most of these tests, and no sender has lines that are to come."""
    monkeypatch.setattr(plan, "LEAST_WAITING", 100_000)
    monkeypatch.setattr(plan, "LINES_LATE_SECONDS", 0.0)
    monkeypatch.setattr(purging, "NOTED_SECONDS", 0.0)


async def test_dead_letters_are_stored_once_more_in_their_order_and_removed(queue: OneQueue) -> None:
    ids = [f"evt_{number}" for number in range(300)]
    await give_up(queue.client, UID, ids)
    await give_up(queue.client, OTHER, ["evt_other"])
    await give_up(queue.client, UID, ["evt_elsewhere"], tenant="other")
    written = await replayed(executor_of(queue, [webhook_of("one", UID)]))
    assert (written.status.phase, written.counts) == ("Complete", (300, 300, 0, 0))
    found = await deliveries(queue.client)
    assert Counter(ids_of(found)) == Counter(ids)
    assert {(each.uid, each.attempt, each.replay, each.stored_s) for each in found} == {
        (UID, 1, "outage", 1_700_000_000)
    }
    assert await count(queue.client, own.DEAD) == 2


async def test_a_dry_run_counts_what_the_replay_would_do_and_does_nothing(queue: OneQueue) -> None:
    await give_up(queue.client, UID, [f"evt_{number}" for number in range(40)])
    executor = executor_of(queue, [webhook_of("one", UID)])
    tried = await replayed(executor, dryRun=True, ids=["evt_3", "evt_9", "evt_99"])
    assert (tried.counts, tried.said[-1][0]) == ((2, 2, 0, 0), ReplayReason.DRY_RUN)
    assert await deliveries(queue.client) == []
    assert await count(queue.client, own.DEAD) == 40
    written = await replayed(executor, ids=["evt_3", "evt_9", "evt_99"])
    assert written.counts == tried.counts
    assert sorted(ids_of(await deliveries(queue.client))) == ["evt_3", "evt_9"]


async def test_a_dead_letter_that_holds_no_delivery_is_skipped_and_stays(queue: OneQueue) -> None:
    strange = messages.unread_letter(names.delivery_subject(UID), {"Hookline-Tenant": "default"}, b"x", "Malformed",
                                     failed_at="now", place="p")  # fmt: skip
    await queue.publisher.store(strange.subject, strange.body, strange.headers, once=strange.once)
    foreign = Delivery(UID, Event("evt_f", "other", "IdentityCreated", "2026-11-24T00:00:00Z", b"{}"), 1)
    subject = names.dead_subject("default", UID)
    await queue.publisher.store(subject, b"{}", {**foreign.headers(), "Hookline-Reason": "X"})
    written = await replayed(executor_of(queue, [webhook_of("one", UID)]))
    assert written.counts == (2, 0, 2, 0)
    assert await deliveries(queue.client) == []
    assert await count(queue.client, own.DEAD) == 2


async def test_events_of_a_time_are_stored_for_the_webhook_alone_large_ones_among_them(queue: OneQueue) -> None:
    await ensure(queue.client, Retention(), prefix="HOOKLINE_", take_large=True)
    await publish(queue.client, 3)
    await asyncio.sleep(0.05)
    since = datetime.now(UTC)
    wanted = await publish(queue.client, 50)
    wanted += await publish(queue.client, body=b'"%s"' % (b"x" * 100_000))
    await publish(queue.client, event="IdentityDeleted")
    await publish(queue.client, tenant="other")
    await asyncio.sleep(0.05)
    until_ = datetime.now(UTC)
    await publish(queue.client, 3)
    span = {"since": _rfc3339(since), "until": _rfc3339(until_)}
    written = await replayed(executor_of(queue, [webhook_of("one", UID)]), source="Events", **span)
    assert written.counts == (51, 51, 0, 0)
    found = await deliveries(queue.client)
    assert Counter(ids_of(found)) == Counter(wanted)
    assert {each.uid for each in found} == {UID}
    assert max(len(each.event.body) for each in found) == 100_002
    assert all(each.event_seq > 3 for each in found)


def _rfc3339(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


async def test_of_events_that_failed_those_without_a_successful_attempt_are_replayed(queue: OneQueue) -> None:
    ids = await publish(queue.client, 20)
    attempts = SomeAttempts(delivered=set(ids[:15]), uid=UID, problems=1)
    written = await replayed(executor_over(queue, attempts.log), source="Events", onlyFailed=True)
    assert written.counts == (20, 5, 15, 0)
    assert sorted(ids_of(await deliveries(queue.client))) == sorted(ids[15:])
    assert ReplayReason.QUEUE_UNAVAILABLE in {reason for reason, _ in written.said}


FAILED: dict[str, Any] = {"reason": "HTTPStatus", "status": 503, "follows": "Retry"}
MARK = Mark("id", "name", "1")


async def called(client: Client, *ids: str, uid: str = UID, **said: Any) -> None:
    """Lines of calls at these events, as a sender writes them."""
    await write(client, [record(each, **said) for each in ids], tenant="default", webhook="one", uid=uid)


async def only_failed(queue: OneQueue, folder: Path, **spec: Any) -> Written:
    """A Replay of what failed by the log as it is read anew, some seconds after the last event."""
    async with log_of(queue.client, folder) as log:
        return await replayed(executor_over(queue, log), source="Events", onlyFailed=True, **spec)


def executor_over(queue: OneQueue, log: Log, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> Executor:
    return Executor(lambda: {"default": queue.client}, SomeWebhooks([webhook_of("one", UID)]), log, sleep=sleep)


async def reach(client: Client, uid: str = UID, tenant: str = "default") -> LogReach:
    return await log_reader.reach_of_log(client, tenant, uid)


async def test_of_events_that_the_log_reaches_back_to_nothing_is_unknown(queue: OneQueue, tmp_path: Path) -> None:
    await make_log(queue.client)
    done, failed, never = await publish(queue.client, 3)
    await called(queue.client, done)
    await called(queue.client, failed, **FAILED)
    written = await only_failed(queue, tmp_path)
    assert (written.counts, written.status.unknown) == ((3, 2, 1, 0), 0)
    assert written.said[-1][1] == "3 found, 2 replayed, 1 skipped, 0 failed"
    assert sorted(ids_of(await deliveries(queue.client))) == sorted([failed, never])


@pytest.mark.parametrize("dry_run", [False, True])
async def test_what_a_log_made_anew_does_not_reach_back_to_is_sent_again_counted_and_told(
    queue: OneQueue, tmp_path: Path, dry_run: bool
) -> None:
    await make_log(queue.client)
    done, failed = await publish(queue.client, 2)
    await called(queue.client, done)
    await ask(queue.client, f"STREAM.DELETE.{names.ATTEMPTS}")
    await make_log(queue.client)
    # Its first attempt is in the new log, and so all that followed.
    await called(queue.client, failed, **FAILED)
    await publish(queue.client, 1)
    written = await only_failed(queue, tmp_path, dryRun=dry_run)
    assert (written.counts, written.status.unknown) == ((3, 3, 0, 0), 1)
    sent = "they would be sent again" if dry_run else "they are sent again"
    assert written.said[-1][1].endswith(f"; the attempts log does not reach back to 1 of 3: {sent}")
    assert len(await deliveries(queue.client)) == (0 if dry_run else 3)


async def test_where_there_never_was_a_log_all_is_unknown(queue: OneQueue, tmp_path: Path) -> None:
    await publish(queue.client, 3)
    assert await reach(queue.client) == NO_LOG
    written = await only_failed(queue, tmp_path)
    assert (written.counts, written.status.unknown) == ((3, 3, 0, 0), 3)


async def test_a_log_that_lost_its_oldest_lines_for_room_or_age_reaches_back_to_the_first_that_is_kept(
    queue: OneQueue, tmp_path: Path
) -> None:
    await make_log(queue.client, max_bytes=100_000)
    (done,) = await publish(queue.client, 1)
    await called(queue.client, done)
    before = await reach(queue.client)
    for number in range(8):
        await called(queue.client, "evt_other", uid=f"{UID[:-2]}{number:02}", answer=b"x" * 16_000)
    await publish(queue.client, 1)
    assert (await reach(queue.client)).kept_s > before.kept_s
    written = await only_failed(queue, tmp_path)
    assert (written.counts, written.status.unknown) == ((2, 2, 0, 0), 1)


async def test_a_log_that_age_has_emptied_reaches_back_to_its_last_line(queue: OneQueue) -> None:
    await make_log(queue.client, max_age=100_000_000, duplicate_window=100_000_000)
    await called(queue.client, "evt_1")
    last_s = (await ask(queue.client, f"STREAM.INFO.{names.ATTEMPTS}"))["state"]["last_ts"]

    async def is_empty() -> bool:
        return not await count(queue.client, names.ATTEMPTS)

    await eventually(is_empty, what=lambda: "the line is too old")
    kept_s = (await reach(queue.client)).kept_s
    assert abs(kept_s - datetime.fromisoformat(last_s).timestamp()) < 0.001


async def test_of_a_webhook_that_had_its_half_of_the_log_what_was_before_is_not_known_and_of_its_neighbour_it_is(
    queue: OneQueue, tmp_path: Path
) -> None:
    await make_log(queue.client, max_msgs_per_subject=2)
    (done,) = await publish(queue.client, 1)
    await called(queue.client, done, uid=OTHER)
    await called(queue.client, done)
    await called(queue.client, "evt_x")
    before_s = (await reach(queue.client, OTHER)).kept_s
    await called(queue.client, "evt_y")
    assert (await reach(queue.client, OTHER)).kept_s == before_s < (await reach(queue.client)).kept_s
    written = await only_failed(queue, tmp_path)
    assert (written.counts, written.status.unknown) == ((1, 1, 0, 0), 1)


async def test_what_was_purged_of_a_namespace_is_not_known_there_and_is_elsewhere(
    queue: OneQueue, tmp_path: Path
) -> None:
    await make_log(queue.client)
    purged, done, failed = await publish(queue.client, 3)
    # One message, which goes with the lines of the event that is purged.
    await called(queue.client, purged, done)
    await called(queue.client, failed, **FAILED)
    await purge(queue.client, Wanted("default", purged))
    (after,) = await publish(queue.client, 1)
    written = await only_failed(queue, tmp_path)
    assert (written.counts, written.status.unknown) == ((3, 3, 0, 0), 2)
    assert after in ids_of(await deliveries(queue.client))
    assert (await reach(queue.client, tenant="other")).whole_s == 0


async def test_what_happened_while_the_log_was_off_or_lost_lines_is_not_known_and_what_came_after_it_is(
    queue: OneQueue, tmp_path: Path
) -> None:
    stream, bounds = AttemptsStream(queue.client), LogBounds(bytes=2**24)

    async def make(*, has_gap: bool = False) -> None:
        await stream.ensure(bounds, replicas=1, owner=MARK, now_s=time.time(), has_gap=has_gap)

    await stream.turn_off()
    assert await reach(queue.client) == NO_LOG, "who turns it off makes none"
    await make()
    await publish(queue.client, 1)
    assert (await only_failed(queue, tmp_path / "on", dryRun=True)).status.unknown == 0
    await stream.turn_off()
    assert (await only_failed(queue, tmp_path / "off", dryRun=True)).status.unknown == 1
    await make()
    await publish(queue.client, 1)
    assert (await only_failed(queue, tmp_path / "again", dryRun=True)).status.unknown == 1
    before = await reach(queue.client)
    await make()
    assert await reach(queue.client) == before
    await make(has_gap=True)
    written = await only_failed(queue, tmp_path / "gap")
    assert (written.counts, written.status.unknown) == ((2, 2, 0, 0), 2)


@pytest.mark.parametrize("said", ["", "off", "soon", "nan", "-1"])
async def test_a_word_that_is_no_time_makes_all_unknown(queue: OneQueue, said: str) -> None:
    await make_log(queue.client, metadata={names.LOG_WHOLE_SINCE: said} if said else {})
    assert (await reach(queue.client)).whole_s == (NO_LOG.whole_s if said else 0)


async def test_lines_of_what_was_published_just_now_are_waited_for(
    queue: OneQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "LINES_LATE_SECONDS", 1.0)
    await make_log(queue.client)
    (done,) = await publish(queue.client, 1)
    slept: list[float] = []

    async with log_of(queue.client, tmp_path) as log:

        async def sleep(seconds: float) -> None:
            if not slept:
                await called(queue.client, done)
                await until_listed(log, 1, "default")
            slept.append(seconds)
            await asyncio.sleep(seconds)

        written = await replayed(executor_over(queue, log, sleep), source="Events", onlyFailed=True, dryRun=True)
    assert written.counts == (1, 0, 1, 0)
    assert 0 < slept[0] <= 1


async def test_what_was_read_before_its_log_was_away_for_long_is_read_again(
    queue: OneQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executing, "STALE_SECONDS", 0.05)
    ids = await publish(queue.client, 2)

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0.1)
        await purge(queue.client, Wanted("default", ids[0]))

    executor = executor_over(queue, SomeAttempts(uid=UID, problems=1).log, sleep)
    written = await replayed(executor, source="Events", onlyFailed=True, ratePerSecond=1000)
    assert written.counts == (1, 1, 0, 0)
    assert ids_of(await deliveries(queue.client)) == ids[1:]


@pytest.mark.parametrize("away_at", [1, 2])
async def test_while_the_log_of_its_dispatcher_is_away_nothing_is_concluded_from_lists_without_it(
    queue: OneQueue, away_at: int
) -> None:
    """Before them, and behind them."""
    (done,) = await publish(queue.client, 1)
    attempts = SomeAttempts(uid=UID, away_at=away_at, back_with={done})
    written = await replayed(executor_over(queue, attempts.log), source="Events", onlyFailed=True)
    assert written.counts == (1, 0, 1, 0)
    assert ReplayReason.QUEUE_UNAVAILABLE in {reason for reason, _ in written.said}


async def test_several_webhooks_of_one_type_hear_an_event_once_each(queue: OneQueue) -> None:
    ids = await publish(queue.client, 5)
    both = [webhook_of("one", UID), webhook_of("two", OTHER)]
    for each in both:
        each.labels["team"] = "a"
    spec = {"webhook": None, "selector": {"matchLabels": {"team": "a"}}}
    written = await replayed(executor_of(queue, both), source="Events", **spec)
    assert written.counts == (10, 10, 0, 0)
    found = Counter((each.uid, each.event.id) for each in await deliveries(queue.client))
    assert found == Counter((uid, each) for uid in (UID, OTHER) for each in ids)


async def test_a_replay_of_a_webhook_that_is_not_there_fails_and_says_so(queue: OneQueue) -> None:
    written = await replayed(executor_of(queue, [webhook_of("two", OTHER)]))
    assert (written.status.phase, written.said[-1][0]) == ("Failed", ReplayReason.WEBHOOK_NOT_FOUND)


async def test_a_webhook_that_was_replaced_meanwhile_gets_nothing(queue: OneQueue) -> None:
    await give_up(queue.client, UID, ["evt_1"])
    begun = Written(read_replay(replay_of()))

    async def stop(status: ReplayStatus, reason: ReplayReason, message: str) -> None:
        await begun.write(status, reason, message)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await executor_of(queue, [webhook_of("one", UID)]).run(begun.replay, stop)
    await executor_of(queue, [webhook_of("one", OTHER)]).run(begun.replay, begun.write)
    assert (begun.status.phase, begun.said[-1][0]) == ("Failed", ReplayReason.WEBHOOK_GONE)
    assert await deliveries(queue.client) == []
    assert await count(queue.client, own.DEAD) == 1


async def test_a_replay_waits_while_many_deliveries_of_its_webhook_wait_and_while_it_is_disabled(
    queue: OneQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "LEAST_WAITING", 4)
    monkeypatch.setattr(executing, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(executing, "CHECKPOINT_SECONDS", 0.01)
    await give_up(queue.client, UID, ["evt_1", "evt_2"])
    await deliver(queue.client, UID, 2)
    await deliver(queue.client, UID, 9, parked=True)
    webhook = webhook_of("one", UID, enabled=False)
    executor = executor_of(queue, [webhook])
    written = Written(read_replay(replay_of(ratePerSecond=2)))
    async with background(executor.run(written.replay, written.write)):
        await until(lambda: bool(written.said) and written.said[-1][0] is ReplayReason.WEBHOOK_DISABLED)
        executor.webhooks.there[:] = [webhook_of("one", UID)]  # type: ignore[attr-defined]
        await until(lambda: written.said[-1][0] is ReplayReason.WAITING)
        assert len(await deliveries(queue.client)) == 2
        await queue.client.jetstream().purge_stream(own.PARKED)
        await until(lambda: written.status.phase == "Complete")
    assert written.counts == (2, 2, 0, 0)


async def test_what_is_too_large_for_its_queue_is_counted_as_failed_and_stays(queue: OneQueue) -> None:
    await give_up(queue.client, UID, ["evt_1"], body=b"x" * 5000)
    await give_up(queue.client, UID, ["evt_2"])
    config = (await queue.client.jetstream().stream_info(own.DELIVERIES)).config
    config.max_msg_size = 2000
    await queue.client.jetstream().update_stream(config)
    written = await replayed(executor_of(queue, [webhook_of("one", UID)]))
    assert written.counts == (2, 1, 0, 1)
    assert await count(queue.client, own.DEAD) == 1


async def test_a_single_dead_letter_is_replayed_once_however_often_that_is_asked(queue: OneQueue) -> None:
    await give_up(queue.client, UID, ["evt_1", "evt_2"])
    executor = executor_of(queue, [])
    assert await executor.replay_letter("default", own.DEAD, 1, "letter")
    assert not await executor.replay_letter("default", own.DEAD, 1, "letter")
    (found,) = await deliveries(queue.client)
    assert (found.event.id, found.replay, found.attempt) == ("evt_1", "letter", 1)
    assert await count(queue.client, own.DEAD) == 1


async def test_a_dead_letter_of_a_stream_made_anew_is_not_taken_for_that_which_had_its_place(queue: OneQueue) -> None:
    executor = executor_of(queue, [])
    for event_id in ("evt_1", "evt_2"):
        await give_up(queue.client, UID, [event_id])
        assert await executor.replay_letter("default", own.DEAD, 1, "letter")
        await queue.client.jetstream().delete_stream(own.DEAD)
        await ensure(queue.client, Retention(), prefix="HOOKLINE_")
    assert ids_of(await deliveries(queue.client)) == ["evt_1", "evt_2"]


async def test_two_replays_of_the_same_dead_letters_at_once_store_each_once(queue: OneQueue) -> None:
    await give_up(queue.client, UID, [f"evt_{number}" for number in range(60)])
    executor = executor_of(queue, [webhook_of("one", UID)])
    two = [Written(read_replay({**replay_of(), "metadata": {"name": each, "uid": each}})) for each in ("a", "b")]
    await asyncio.gather(*(executor.run(each.replay, each.write) for each in two))
    assert [each.status.phase for each in two] == ["Complete", "Complete"]
    assert set(Counter(ids_of(await deliveries(queue.client))).values()) == {1}
    assert await count(queue.client, own.DEAD) == 0


async def test_a_dead_letter_is_replayed_by_the_name_that_lists_show_and_in_its_namespace_alone(
    queue: OneQueue,
) -> None:
    await give_up(queue.client, UID, ["evt_1"])
    letters = ReplayLetters(executor_of(queue, []), lambda: {"default": queue.client})
    name = message_name("evt_1", 2, own.DEAD, 1)
    for namespace, asked in (("other", name), ("default", message_name("evt_2", 2, own.DEAD, 1)), ("default", "x")):
        assert not await letters.replay_dead_letter(namespace, asked)
    assert await deliveries(queue.client) == []
    assert await letters.replay_dead_letter("default", name)
    assert [(each.event.id, each.replay) for each in await deliveries(queue.client)] == [("evt_1", "dead-letter")]
    assert not await letters.replay_dead_letter("default", name)


async def test_a_dispatcher_that_is_away_hides_no_dead_letter_of_another_and_of_none_it_is_said_that_it_is_not_there(
    queue: OneQueue, nats_server: NatsServer
) -> None:
    await give_up(queue.client, UID, ["evt_1"])
    away = await connect(nats_server.url, name="test")
    await away.close()
    letters = ReplayLetters(executor_of(queue, []), lambda: {"away": away, "default": queue.client})
    name = message_name("evt_1", 2, own.DEAD, 1)
    assert await letters.replay_dead_letter("default", name)
    with pytest.raises(Unreadable, match="Dispatcher away"):
        await letters.replay_dead_letter("default", name)
    assert not await letters.replay_dead_letter("default", "x"), "no name of any"


async def test_a_dead_letter_that_holds_no_delivery_cannot_be_replayed_and_says_so(queue: OneQueue) -> None:
    subject = names.dead_subject("default", UID)
    await queue.publisher.store(subject, b"{}", {"Hookline-Event-Id": "evt_1"})
    letters = ReplayLetters(executor_of(queue, []), lambda: {"default": queue.client})
    with pytest.raises(CannotBeDone):
        await letters.replay_dead_letter("default", message_name("evt_1", 0, own.DEAD, 1))
    assert await count(queue.client, own.DEAD) == 1


async def test_what_a_webhook_has_waiting_is_counted_without_a_list_of_it(queue: OneQueue) -> None:
    await deliver(queue.client, UID, 3)
    await deliver(queue.client, UID, 2, parked=True)
    await deliver(queue.client, OTHER, 1)
    for number in range(4):
        await queue.publisher.store_later(UID, b"{}", {}, at_s=time.time() + 3600, once=f"t{number}")
    assert await history.waiting_of(queue.client, queue.layout, UID) == history.Waiting(5, 4)
    assert await history.waiting_of(queue.client, queue.layout, OTHER) == history.Waiting(1, 0)


@contextlib.asynccontextmanager
async def _executing(url: str, file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "doubles.replays", url, str(file), UID, cwd=DOUBLES, env={**os.environ}
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("source", ["DeadLetters", "Events"])
async def test_a_process_that_is_killed_twice_leaves_nothing_out_and_counts_nothing_twice(
    queue: OneQueue, nats_server: NatsServer, tmp_path: Path, source: str
) -> None:
    number = 900
    ids = [f"evt_{each}" for each in range(number)]
    if source == "DeadLetters":
        await give_up(queue.client, UID, ids)
    else:
        ids = await publish(queue.client, number)
    file = tmp_path / "replays.json"
    KeptReplays(file, now_s=time.time).create("default", replay_of(source=source))
    for stored in (250, 550):
        async with _executing(nats_server.url, file) as process:
            await until_it_is(
                lambda: count(queue.client, own.DELIVERIES), lambda there, stored=stored: there >= stored,  # type: ignore[misc]
                seconds=60, what=lambda: "what is stored",
            )  # fmt: skip
            process.send_signal(signal.SIGKILL)
            await process.wait()
    async with _executing(nats_server.url, file):
        await until(lambda: _status(file).phase == "Complete", seconds=60, what="the end of the Replay")
    status = _status(file)
    assert (status.found, status.replayed, status.skipped, status.failed) == (number, number, 0, 0)
    found = Counter(ids_of(await deliveries(queue.client)))
    # NATS knows the name of what was stored twice.
    assert found == Counter(ids)
    if source == "DeadLetters":
        assert await count(queue.client, own.DEAD) == 0


def _status(file: Path) -> ReplayStatus:
    manifest = KeptReplays(file, now_s=time.time).get("default", "outage")
    assert manifest is not None
    return read_replay(manifest).status


async def test_replayed_calls_keep_their_id_and_say_so_and_what_dies_again_becomes_a_dead_letter_again(
    nats_server: NatsServer, client: Client, tmp_path: Path
) -> None:
    """Within two minutes: NATS would take the second dead letter for the first, had it the same name."""
    answers = (Answer(500),) * 3
    async with one_webhook(
        tmp_path, nats_server.url, *answers, Answer(500), Answer(500), Answer(500), Answer(200)
    ) as hook:
        (event_id,) = await publish(client)
        await until_stored(client, own.DEAD, 1)
        queue = await OneQueue.over(client)
        executor = executor_of(queue, [webhook_of("one", hook.route.uid)])
        for name in ("first", "second"):
            written = Written(read_replay({**replay_of(), "metadata": {"name": name}}))
            await executor.run(written.replay, written.write)
            assert written.counts == (1, 1, 0, 0)
            if name == "first":
                await until_stored(client, own.DEAD, 1)
        await until(lambda: len(hook.calls) == 7, what="all calls")
        headers = [each.headers for each in hook.calls]
        assert {each["webhook-id"] for each in headers} == {event_id}
        assert [each.get("hookline-replay", "") for each in headers] == [""] * 3 + ["first"] * 3 + ["second"]
        assert [each["hookline-attempt"] for each in headers] == ["1", "2", "3", "1", "2", "3", "1"]


async def test_a_replay_whose_time_is_over_is_removed(queue: OneQueue, tmp_path: Path) -> None:
    replays = KeptReplays(tmp_path / "replays.json", now_s=time.time)
    replays.create("default", replay_of(ttlSecondsAfterFinished=0))
    replays.create("default", {**replay_of(), "metadata": {"name": "stays"}})
    async with background(Runner(replays, executor_of(queue, [webhook_of("one", UID)])).run()):
        await until(lambda: [each["metadata"]["name"] for each in replays.all("default")] == ["stays"])
        await until(lambda: replays.all("default")[0]["status"]["phase"] == "Complete")
    (condition,) = replays.all("default")[0]["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Complete", "True")
