"""Replays over a real nats-server: what is stored, what is counted, and what a kill leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from doubles import own
from doubles.local import count, deliver, one_webhook, publish, until, until_stored
from doubles.replays import (
    OneQueue,
    SomeAttempts,
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
from hookline.api.actions import CannotBeDone
from hookline.api.object_names import message_name
from hookline.api.replay import executor as executing
from hookline.api.replay import plan
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
from hookline.stream import history, names
from hookline.stream.connection import Client
from hookline.stream.streams import Retention, ensure

UID = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
DOUBLES = Path(__file__).parents[1]


@pytest.fixture
async def queue(client: Client) -> OneQueue:
    await ensure(client, Retention(), prefix="HOOKLINE_")
    return await OneQueue.over(client)


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes deliveries in most of these tests."""
    monkeypatch.setattr(plan, "LEAST_WAITING", 100_000)


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
    written = await replayed(executor_of(queue, [webhook_of("one", UID)], attempts), source="Events", onlyFailed=True)
    assert written.counts == (20, 5, 15, 0)
    assert sorted(ids_of(await deliveries(queue.client))) == sorted(ids[15:])
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
