"""Endpoints that are failing, gone or backlogged, over a real nats-server and TLS receivers, with one sender or two."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from doubles import own
from doubles.local import (
    SECRET,
    Running,
    count,
    dead_letters,
    deliver,
    hook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from doubles.waiting import eventually, until_it_is
from hookline.delivery.lane_key import lanes_of
from hookline.delivery.policy.endpoint_state import OPENS_AFTER, Kind, State
from hookline.delivery.policy.lanes import Lanes, LaneSnapshot
from hookline.delivery.sender import Attempt
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall, Receiver
from hookline.routing.routes import Route, RouteState, shard_of
from hookline.stream import names
from hookline.stream.connection import Client, StreamUnavailable
from hookline.stream.endpoints import EndpointBucket
from hookline.stream.streams import Retention, ensure


def state(running: Running, route: Route) -> State | None:
    return running.pod.endpoints.state_of(route)


def kind(running: Running, route: Route) -> str:
    known = state(running, route)
    return known.kind.value if known else ""


def reported(running: Running) -> list[dict[str, Any]]:
    failing = running.pod.report()["failing"]
    assert isinstance(failing, list)
    return failing


def answers_from_now_on(receiver: Receiver, status: int) -> None:
    receiver._codes, receiver._delay_seconds = (status,), 0


def probes(*senders: Running) -> list[Attempt]:
    return [each for running in senders for each in running.attempts if each.probe]


def counted_as_delivered(running: Running) -> float | None:
    return running.pod.metrics.registry.get_sample_value("hookline_attempts_total", {"reason": "Delivered"})


def neighbour_of(uid: str, receiver: Any, **changes: object) -> Any:
    """A Webhook in the same shard of deliveries."""
    for number in range(1000):
        route, keys = hook(f"neighbour-{number}", receiver, event="IdentityDeleted", **changes)
        if shard_of(route.uid, names.DELIVERY_SHARDS) == shard_of(uid, names.DELIVERY_SHARDS):
            return route, keys
    raise AssertionError


async def publish_in_order(client: Client, number: int) -> list[str]:
    return [each for _ in range(number) for each in await publish(client)]


def first_calls(calls: list[ReceivedCall]) -> list[str]:
    return list(dict.fromkeys(call.webhook_id for call in calls))


async def test_a_failing_endpoint_is_probed_by_one_sender_and_drains_in_publish_order(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    # A probe lasts longer than the time between two looks at what is parked, so that the other sender looks meanwhile.
    async with receiver_of(calls, Answer(500), delay_seconds=1.5) as receiver:
        # Short enough to be called, too long to be called again while the test runs.
        route, keys = hook("one", receiver, schedule_seconds=(600,), max_concurrency=1)
        write_book(tmp_path / "book", (route, keys))
        await ensure(client, Retention())
        failing = State(generation=1, kind=Kind.FAILING, reason="HTTPStatus", status=500)
        await EndpointBucket(client).write(route.uid, failing.encoded(), revision=0)
        async with (
            sender(tmp_path / "book", nats_server.url) as one,
            sender(tmp_path / "book", nats_server.url) as two,
        ):
            assert kind(one, route) == kind(two, route) == "Failing"
            await publish(client, 20)
            await until_stored(client, own.PARKED, 20)
            assert [each["uid"] for each in reported(one)] == [each["uid"] for each in reported(two)] == [route.uid]
            ids = await publish_in_order(client, 40)
            await until(lambda: len(probes(one, two)) >= 2)
            known = state(one, route)
            assert known is not None
            # Each is one that a sender claimed, and nothing else was called.
            assert known.probes == len(probes(one, two))
            assert len(one.attempts) + len(two.attempts) == len(probes(one, two))
            answers_from_now_on(receiver, 200)
            await until_stored(client, own.PARKED, 0)
            await until(lambda: kind(one, route) == kind(two, route) == "")
            assert reported(one) == reported(two) == []
    delivered = [call.webhook_id for call in calls if call.answered == 200]
    in_order = [each for each in delivered if each in ids]
    assert sorted(in_order) == sorted(ids)
    positions = {event_id: place for place, event_id in enumerate(ids)}
    # Two senders with one call each: neighbours may overtake one another, no more.
    assert max(abs(positions[each] - place) for place, each in enumerate(in_order)) <= 2
    assert max(Counter(call.webhook_id for call in calls if call.answered == 200).values()) == 1


class Picky(Receiver):
    """Takes every event but one."""

    refused = ""

    def _next_code(self, webhook_id: str) -> int:
        return 400 if webhook_id == self.refused else 200


async def test_a_delivery_that_its_receiver_never_takes_keeps_no_other_waiting(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with Picky(secret=SECRET, on_call=calls.append, answers=(Answer(200),)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(1,) * (OPENS_AFTER + 2))
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=3) as running:
            receiver.refused = "evt_refused"
            await publish(client, event_id=receiver.refused)
            # It is the first that is parked, and has attempts left.
            await until_stored(client, own.PARKED, 1)
            assert kind(running, route) == "Failing"
            ids = await publish_in_order(client, 5)
            await until(lambda: {call.webhook_id for call in calls if call.answered == 200} == set(ids), seconds=40)
            await until_stored(client, own.DEAD, 1, seconds=40)
    (letter,) = await dead_letters(client)
    assert (letter.word, letter.event_id) == ("ScheduleSpent", receiver.refused)


async def test_a_410_stops_a_webhook_until_its_spec_changes(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    others: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(410)) as receiver, receiver_of(others) as other:
        route, keys = hook("one", receiver)
        another = hook("other", other, event="IdentityDeleted")
        write_book(tmp_path / "book", (route, keys), another)
        async with sender(tmp_path / "book", nats_server.url) as running:
            (first,) = await publish(client)
            await until_stored(client, own.DEAD, 1)
            await until(lambda: kind(running, route) == "Gone")
            ids = await publish(client, 5)
            await until_stored(client, own.PARKED, 5)
            # What is parked after it was looked at, and called.
            await deliver(client, another[0].uid, parked=True)
            await until(lambda: len(others) == 1)
            assert len(calls) == 1
            (said,) = reported(running)
            assert (said["kind"], said["status"]) == ("Gone", 410)
        async with sender(tmp_path / "book", nats_server.url) as running:
            assert kind(running, route) == "Gone"
            answers_from_now_on(receiver, 200)
            write_book(tmp_path / "book", (route.model_copy(update={"generation": 2}), keys), another)
            await until(lambda: len(calls) == 6)
            await until(lambda: not list(running.pod.endpoints.states()))
            assert reported(running) == []
    assert sorted(call.webhook_id for call in calls) == sorted([first, *ids])
    (letter,) = await dead_letters(client)
    assert letter.word == "Gone"


async def test_a_hanging_endpoint_holds_up_no_neighbour_of_its_shard(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    hanging: list[ReceivedCall] = []
    calls: list[ReceivedCall] = []
    async with receiver_of(hanging, delay_seconds=60) as slow, receiver_of(calls) as receiver:
        route, keys = hook("hangs", slow, timeout_seconds=30)
        write_book(tmp_path / "book", (route, keys), neighbour_of(route.uid, receiver))
        async with sender(tmp_path / "book", nats_server.url, grace_seconds=0) as running:
            await publish(client, 1000)
            ids = await publish(client, 500, event="IdentityDeleted")
            await until(lambda: {call.webhook_id for call in calls} == set(ids))
            await until(lambda: len(hanging) >= 10)
            await until(lambda: kind(running, route) == "Backlogged")
            # The receiver knows of a call before its sender counts the answer.
            await until(lambda: counted_as_delivered(running) == 500)
    assert len(calls) == 500
    assert len(hanging) <= 10


async def test_a_tenant_whose_receivers_are_slow_leaves_places_to_others(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.delivery.sender.Lanes", lambda: Lanes(16, long_places=16))
    slow: list[ReceivedCall] = []
    calls: list[ReceivedCall] = []
    async with receiver_of(slow, delay_seconds=60) as other, receiver_of(calls) as receiver:
        many = [hook(f"slow-{number}", other, namespace="many", timeout_seconds=30) for number in range(4)]
        write_book(tmp_path / "book", *many, hook("one", receiver, namespace="few"))
        async with sender(tmp_path / "book", nats_server.url, grace_seconds=0) as running:
            await publish(client, 8, tenant="many")
            # As many give their places away, and as many take them.
            await until(lambda: len(slow) == 28)
            for number in range(1, 21):
                await publish(client, tenant="few")
                await until(lambda: len(calls) == number, seconds=20)  # noqa: B023
            assert len(slow) == 28
            assert {attempt.route.namespace for attempt in running.attempts} == {"few"}


@pytest.mark.timeout(180)
async def test_thousands_of_deliveries_of_a_dead_endpoint_cost_its_neighbour_nothing(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        dead, dead_keys = hook("dead", receiver, url="https://127.0.0.1:1/", schedule_seconds=(600,))
        write_book(tmp_path / "book", (dead, dead_keys), neighbour_of(dead.uid, receiver))
        async with sender(tmp_path / "book", nats_server.url) as running:
            loading = asyncio.create_task(publish(client, 5_000))
            ids: list[str] = []
            while not loading.done():
                ids += await publish(client, 5, event="IdentityDeleted")
                await until(lambda: len(calls) == len(ids), seconds=20)  # noqa: B023
            await loading
            # A few calls failed before the endpoint counted as failing: they wait for their time.
            await until_parked(client, 4_900)
            assert kind(running, dead) == "Failing"
    assert len(ids) >= 5
    assert len(running.attempts) < len(ids) + 100


async def until_parked(client: Client, least: int) -> None:
    await until_it_is(lambda: count(client, own.PARKED), lambda there: there >= least, seconds=60)


async def test_all_senders_together_keep_to_max_concurrency(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=0.2) as receiver:
        route, keys = hook("one", receiver, max_concurrency=5)
        write_book(tmp_path / "book", (route, keys))
        async with (
            sender(tmp_path / "book", nats_server.url) as one,
            sender(tmp_path / "book", nats_server.url) as two,
        ):
            await until(lambda: _members(one) == _members(two) == 2)
            ids = await publish(client, 100)
            most = 0
            deadline = time.monotonic() + 60
            while {call.webhook_id for call in calls} != set(ids):
                most = max(most, _lane(one, route).running + _lane(two, route).running)
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            assert one.attempts
            assert two.attempts
    assert most == 5


def _members(running: Running) -> int:
    now = running.pod.snapshot()
    return now.members if now is not None else 0


def _held(running: Running) -> int:
    now = running.pod.snapshot()
    return now.held if now is not None else 0


def _lane(running: Running, route: Route) -> LaneSnapshot:
    """What runs and waits for one Webhook."""
    now, (lane,) = running.pod.snapshot(), lanes_of(route.uid)
    idle = LaneSnapshot(0, 0, 0)
    return now.lanes.get(lane, idle) if now is not None else idle


async def test_a_rate_limit_holds_over_two_senders_and_loses_nothing(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver, rate_limit=(10, 1)))
        async with (
            sender(tmp_path / "book", nats_server.url) as one,
            sender(tmp_path / "book", nats_server.url) as two,
        ):
            await until(lambda: _members(one) == _members(two) == 2)
            started = time.monotonic()
            ids = await publish(client, 60)
            await until(lambda: {call.webhook_id for call in calls} == set(ids))
            took = time.monotonic() - started
    # 10 at once after a pause, the other 50 at 10 a second.
    assert took > 4.5
    assert len(calls) == 60


async def test_what_all_know_outlives_senders_and_the_server(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, Answer(500)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(600,), max_concurrency=1)
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=600) as running:
            await publish(client, 20)
            await until(lambda: kind(running, route) == "Failing")
            await until(lambda: not running.pod.endpoints.unshared)
        called = len(calls)
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=600, patient=True) as running:
            assert kind(running, route) == "Failing"
            await nats_server.stop()
            await nats_server.start()
            await until(lambda: running.pod.unready() is None)
            before = await count(client, own.PARKED)
            await publish(client, 5)
            await until_stored(client, own.PARKED, before + 5)
            assert kind(running, route) == "Failing"
        assert len(calls) == called
        answers_from_now_on(receiver, 200)
        async with sender(tmp_path / "book", nats_server.url):
            await until_stored(client, own.PARKED, 0, seconds=60)
    assert max(Counter(call.webhook_id for call in calls if call.answered == 200).values()) == 1


async def test_a_lost_bucket_is_made_anew_with_what_is_known(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([], Answer(410)) as receiver:
        route, keys = hook("one", receiver)
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client)
            await until(lambda: kind(running, route) == "Gone" and not running.pod.endpoints.unshared)
            await client.jetstream().delete_key_value(names.ENDPOINTS_BUCKET)
            await eventually(lambda: _is_known(client, route.uid), seconds=20)
            assert kind(running, route) == "Gone"


async def _is_known(client: Client, uid: str) -> bool:
    """A bucket that is not there yet, or that is being made, cannot be read."""
    with contextlib.suppress(StreamUnavailable):
        return any(entry.key == uid for entry in (await EndpointBucket(client).changes())[1])
    return False


@pytest.mark.parametrize(
    ("route_state", "parked_seconds", "reason"),
    [(RouteState.ACTIVE, 600, "ScheduleSpent"), (RouteState.HELD, 1, "ParkedExpired")],
)
async def test_what_is_parked_for_too_long_becomes_dead_letters(
    tmp_path: Path,
    nats_server: NatsServer,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    route_state: RouteState,
    parked_seconds: int,
    reason: str,
) -> None:
    monkeypatch.setattr("hookline.delivery.policy.parking_plan.SHORTEST_PATIENCE_SECONDS", 2.0)
    async with receiver_of([], Answer(500)) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=(), state=route_state, max_concurrency=1)
        write_book(tmp_path / "book", (route, keys), parked_seconds=parked_seconds)
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=600) as running:
            if route_state is RouteState.ACTIVE:
                await publish(client, 10)
                await until(lambda: kind(running, route) == "Failing")
            ids = await publish(client, 100)
            await until_stored(client, own.DEAD, 110 if route_state is RouteState.ACTIVE else 100, seconds=40)
            await until_stored(client, own.PARKED, 0, seconds=40)
            await until_stored(client, own.DELIVERIES, 0, seconds=40)
    letters = [each for each in await dead_letters(client) if each.event_id in ids]
    assert sorted(each.event_id for each in letters) == sorted(ids)
    assert {each.word for each in letters} == {reason}
    assert {each.webhook for each in letters} == {"default/one"}


async def test_a_backlogged_endpoint_is_live_again_once_nothing_of_it_is_parked(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=0.05) as receiver:
        route, keys = hook("one", receiver, max_concurrency=1)
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url) as running:
            ids = await publish_in_order(client, 120)
            await until(lambda: kind(running, route) == Kind.BACKLOGGED)
            await until(lambda: len(calls) == 120, seconds=60)
            await until(lambda: kind(running, route) == "")
            ids += await publish(client)
            await until(lambda: len(calls) == 121)
    assert first_calls(calls)[-1] == ids[-1]
    # In order but for what the shard had given out when the lane overflowed.
    assert [call.webhook_id for call in calls[:40]] == ids[:40]


async def test_what_a_sender_holds_of_many_webhooks_is_one_of_each_and_the_spare_room(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.delivery.policy.parking_plan.SPARE_BYTES", 12 * len(b"{}"))
    calls: list[ReceivedCall] = []
    async with receiver_of(calls, delay_seconds=0.4) as receiver:
        hooks = [hook(f"one-{number}", receiver) for number in range(12)]
        write_book(tmp_path / "book", *hooks)
        await ensure(client, Retention())
        ids = [each for route, _ in hooks for each in await deliver(client, route.uid, 8, parked=True)]
        async with sender(tmp_path / "book", nats_server.url) as running:
            held: list[int] = []
            deadline = time.monotonic() + 60
            while await count(client, own.PARKED):
                held.append(_held(running))
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
    assert 12 < max(held) <= 12 + 12
    assert Counter(call.webhook_id for call in calls) == Counter(ids)


async def test_a_webhook_with_a_slow_rate_holds_up_no_other_rate(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    slow: list[ReceivedCall] = []
    calls: list[ReceivedCall] = []
    async with receiver_of(slow) as other, receiver_of(calls) as receiver:
        hourly = hook("hourly", other, event="IdentityDeleted", rate_limit=(1, 3600))
        write_book(tmp_path / "book", hourly, hook("quick", receiver, rate_limit=(5, 1)))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client, 3, event="IdentityDeleted")
            # One was called; one waits an hour for the next call, in the lane through which what is parked is called.
            await until(lambda: kind(running, hourly[0]) == Kind.BACKLOGGED and _lane(running, hourly[0]).pinned > 0)
            ids = await publish(client, 12)
            await until(lambda: {call.webhook_id for call in calls} == set(ids))
    assert len(slow) == 1


async def test_a_probe_that_waits_for_its_rate_and_is_overtaken_by_another_sender_s_is_given_back_once(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        route, keys = hook("one", receiver, rate_limit=(1, 3600))
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client)
            await until(lambda: len(calls) == 1)
            failing = State(generation=1, kind=Kind.FAILING, reason="HTTPStatus", status=500)
            other = EndpointBucket(client)
            written = await other.write(route.uid, failing.encoded(), revision=0)
            await until(lambda: kind(running, route) == "Failing")
            await publish(client, 3)
            await until(lambda: _lane(running, route).waiting == 1)
            # By then it was claimed.
            revision = max(each.revision for each in (await other.changes())[1] if each.key == route.uid)
            assert revision > (written or 0)
            overtaking = failing.model_copy(update={"probes": 9, "under_way": True})
            assert await other.write(route.uid, overtaking.encoded(), revision=revision)
            await until(lambda: not _lane(running, route).waiting)
            await asyncio.sleep(2)
            consumer = await client.jetstream().consumer_info(own.PARKED, names.unpark_consumer(route.uid))
            assert consumer.delivered is not None
            assert consumer.delivered.consumer_seq < 10


async def test_a_rate_limit_that_is_taken_away_holds_up_nothing_that_waited_for_it(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        route, keys = hook("one", receiver, rate_limit=(1, 3600))
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url) as running:
            ids = await publish(client, 3)
            await until(lambda: kind(running, route) == Kind.BACKLOGGED)
            await until(lambda: _lane(running, route).pinned > 0)
            freed = route.model_copy(update={"generation": 2, "rate_limit": None})
            write_book(tmp_path / "book", (freed, keys))
            await until(lambda: {call.webhook_id for call in calls} == set(ids))


async def test_a_sender_that_drains_claims_no_probe(tmp_path: Path, nats_server: NatsServer, client: Client) -> None:
    hanging: list[ReceivedCall] = []
    calls: list[ReceivedCall] = []
    async with receiver_of(hanging, delay_seconds=60) as slow, receiver_of(calls) as receiver:
        hangs = hook("hangs", slow, event="IdentityDeleted", timeout_seconds=30)
        route, keys = hook("failing", receiver)
        write_book(tmp_path / "book", hangs, (route, keys))
        bucket = EndpointBucket(client)
        await ensure(client, Retention())
        state = State(generation=1, kind=Kind.FAILING, reason="HTTPStatus", status=500)
        await bucket.write(route.uid, state.encoded(), revision=0)
        async with sender(tmp_path / "book", nats_server.url, probe_seconds=3, grace_seconds=6) as running:
            await publish(client)
            await publish(client, event="IdentityDeleted")
            await until_stored(client, own.PARKED, 1)
            await until(lambda: _held(running) == 1)
            assert running.attempts == []
        _, (entry,) = await EndpointBucket(client).changes()
    assert entry.value == state.encoded()
    assert calls == []
