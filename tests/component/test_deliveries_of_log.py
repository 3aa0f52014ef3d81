"""What waits, as the API tells it, out of a real nats-server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from doubles import own
from doubles.logs import ALL, UID, log_of
from doubles.waiting import eventually
from hookline.api import waiting as waiting_module
from hookline.api.log import Expired, Unreadable, Waiting, Wanted
from hookline.api.object_names import message_name
from hookline.api.queue_log import QueueLog
from hookline.api.waiting import Named
from hookline.delivery.messages import FORMAT_HEADER, Delivery, later_token
from hookline.events.envelope import ID_HEADER, TENANT_HEADER, Event, stamp
from hookline.stream import names
from hookline.stream.connection import Client
from hookline.stream.endpoints import EndpointBucket
from hookline.stream.publish import Publisher

OTHER = UID[:-1] + "2"
FOREIGN = UID[:-1] + "3"


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "UIDS_SECONDS", 0.0)
    monkeypatch.setattr(waiting_module, "STATES_SECONDS", 0.0)


def delivery(event_id: str, *, tenant: str = "team-a", uid: str = UID, attempt: int = 1) -> Delivery:
    event = Event(event_id, tenant, "IdentityCreated", stamp(1_700_000_000), json.dumps({"id": event_id}).encode())
    return Delivery(uid, event, 1, attempt, 1_700_000_000)


async def park(client: Client, waits: Delivery) -> None:
    await Publisher(client).store(names.parked_subject(waits.uid), waits.event.body, waits.headers())


async def enqueue(client: Client, waits: Delivery) -> None:
    await Publisher(client).store(names.delivery_subject(waits.uid), waits.event.body, waits.headers())


async def schedule(client: Client, waits: Delivery, at_s: float) -> None:
    headers, once = waits.headers(), later_token(waits)
    await Publisher(client).store_later(waits.uid, waits.event.body, headers, at_s=at_s, once=once)


async def listed(log: QueueLog, namespace: str = "team-a", wanted: Wanted = ALL, *, limit: int = 100) -> list[Waiting]:
    page = await log.deliveries(namespace, wanted, limit=limit)
    found = list(page.items)
    while page.more:
        page = await log.deliveries(namespace, wanted, limit=limit, begin=page.more)
        assert len(page.items) <= limit
        found += page.items
    return found


async def until_known(log: QueueLog) -> None:
    async def is_known() -> bool:
        try:
            await listed(log)
        except Unreadable:
            return False
        return True

    await eventually(is_known, seconds=10)


async def test_what_waits_is_told_with_its_state_its_reason_and_when_it_is_due(queue: Client, tmp_path: Path) -> None:
    due_s = int(time.time()) + 3600.0
    await park(queue, delivery("evt_parked", attempt=2))
    await enqueue(queue, delivery("evt_queued"))
    await schedule(queue, delivery("evt_retry", attempt=3), due_s)
    await schedule(queue, delivery("evt_called"), due_s)
    await park(queue, delivery("evt_paused", uid=OTHER))
    await enqueue(queue, delivery("evt_foreign", tenant="team-b", uid=FOREIGN))
    failing = b'{"generation": 1, "kind": "Failing", "reason": "HTTPStatus"}'
    for uid in (UID, OTHER):
        await EndpointBucket(queue).write(uid, failing, revision=0)
    names_of = {UID: Named("team-a", "hook"), OTHER: Named("team-a", "other", "Paused")}
    async with log_of(queue, tmp_path, names_of=names_of.get) as log:
        await until_known(log)
        found = await listed(log)
        assert [(each.event_id, each.webhook, each.state, each.reason, each.attempt) for each in found] == [
            ("evt_parked", "hook", "Parked", "Failing", 2),
            ("evt_queued", "hook", "Queued", "", 1),
            ("evt_retry", "hook", "Scheduled", "Retry", 3),
            ("evt_called", "hook", "Scheduled", "Called", 1),
            ("evt_paused", "other", "Parked", "Paused", 1),
        ]
        assert [each.next_at_s for each in found] == [None, None, due_s, due_s, None]
        assert {(each.stored_s, each.namespace, each.dispatcher) for each in found} == {
            (1_700_000_000.0, "team-a", "default")
        }
        assert all(time.time() - 60 < each.since_s < time.time() + 60 for each in found)
        assert await listed(log, limit=1) == found
        for each in found:
            assert await log.delivery("team-a", each.name) == each
            assert await log.body_of_delivery("team-a", each.name) == json.dumps({"id": each.event_id}).encode()
            assert await log.delivery("team-b", each.name) is None
            assert await log.body_of_delivery("team-b", each.name) is None
        assert [each.event_id for each in await listed(log, "team-b")] == ["evt_foreign"]
        assert len(await listed(log, "")) == 6
        for wanted, ids in (
            (Wanted(webhook="other"), ["evt_paused"]),
            (Wanted(event_id="evt_retry"), ["evt_retry"]),
            (Wanted(reason="Failing"), ["evt_parked"]),
            (Wanted(event_type="None"), []),
            (Wanted(status="200"), []),
        ):
            assert [each.event_id for each in await listed(log, wanted=wanted)] == ids


async def test_what_waits_for_a_webhook_that_nobody_knows_is_shown_without_its_name(
    queue: Client, tmp_path: Path
) -> None:
    await park(queue, delivery("evt_1"))
    async with log_of(queue, tmp_path) as log:
        await until_known(log)
        (found,) = await listed(log)
        assert (found.webhook, found.uid, found.state, found.reason) == ("", UID, "Parked", "")


async def test_a_name_that_was_made_up_finds_nothing(queue: Client, tmp_path: Path) -> None:
    await park(queue, delivery("evt_1"))
    async with log_of(queue, tmp_path) as log:
        await until_known(log)
        (found,) = await listed(log)
        assert found.name == message_name("evt_1", 1, own.PARKED, 1)
        others = (
            message_name("evt_1", 1, own.DELIVERIES, 1),
            message_name("evt_1", 1, own.PARKED, 2),
            message_name("evt_1", 1, own.PARKED, 0),
            message_name("evt_1", 2, own.PARKED, 1),
            message_name("evt_2", 1, own.PARKED, 1),
            "x",
            "",
        )
        for name in others:
            assert await log.delivery("team-a", name) is None


Forge = Callable[[str], str]


async def test_messages_that_are_no_deliveries_or_of_another_tenant_are_not_shown_and_hide_none(
    queue: Client, tmp_path: Path
) -> None:
    right = delivery("evt_forged").headers()
    await park(queue, delivery("evt_1"))
    jetstream = queue.jetstream()
    parked = names.parked_subject(UID)
    strange: list[tuple[str, bytes, dict[str, str]]] = [
        (parked, b"", {}),
        (parked, b"x" * 600_000, {**right, TENANT_HEADER: "team-b"}),
        (parked, b"", {**right, TENANT_HEADER: "../team-a"}),
        (parked, b"", {**right, ID_HEADER: "a.b"}),
        (parked, b"", {**right, "Hookline-Attempt": "0"}),
        (parked, b"", {**right, "Hookline-Attempt": "x"}),
        (names.parked_subject("$%"), b"", right),
        ("hookline.deliveries.99." + UID, b"", right),
        (f"hookline.deliveries.{UID}", b"", right),
        (names.later_subject("$%", "x"), b"", right),
        ("hookline.deliveries.later." + UID, b"", right),
    ]
    for subject, body, headers in strange:
        await jetstream.publish(subject, body, headers=headers or None)
    await jetstream.publish(parked, b"", headers={**right, ID_HEADER: "evt_newer", FORMAT_HEADER: "7"})
    await park(queue, delivery("evt_2"))
    async with log_of(queue, tmp_path) as log:
        await until_known(log)
        found = await listed(log)
        assert [(each.event_id, each.reason) for each in found] == [
            ("evt_1", ""),
            ("evt_newer", "UnknownFormat"),
            ("evt_2", ""),
        ]
        assert [each.event_id for each in await listed(log, limit=1)] == ["evt_1", "evt_newer", "evt_2"]
        assert [each.event_id for each in await listed(log, "team-b")] == []


async def test_a_foreign_message_before_all_others_of_a_webhook_hides_none_of_a_webhook_that_is_known(
    queue: Client, tmp_path: Path
) -> None:
    await queue.jetstream().publish(
        names.parked_subject(UID), b"", headers=delivery("evt_x", tenant="team-b").headers()
    )
    await park(queue, delivery("evt_1"))
    async with log_of(queue, tmp_path, names_of={UID: Named("team-a", "hook")}.get) as log:
        await until_known(log)
        assert [each.event_id for each in await listed(log)] == ["evt_1"]
        # What is said to be of another namespace does not get the name of this one's Webhook.
        assert [each.webhook for each in await listed(log, "team-b")] == [""]


async def test_a_part_of_a_list_reads_no_more_than_it_may(
    queue: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "READ_MOST", 3)
    for number in range(10):
        await park(queue, delivery(f"evt_{number}"))
    async with log_of(queue, tmp_path) as log:
        await until_known(log)
        page = await log.deliveries("team-a", Wanted(event_id="evt_9"), limit=10)
        assert page.items == []
        assert page.more
        assert [each.event_id for each in await listed(log, wanted=Wanted(event_id="evt_9"))] == ["evt_9"]
        with pytest.raises(Expired):
            await log.deliveries("team-b", Wanted(event_id="evt_9"), limit=10, begin=page.more)


async def test_a_part_of_a_list_looks_at_no_more_webhooks_than_it_may(
    queue: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "HEAPS_MOST", 2)
    uids = [f"{UID[:-2]}{number:02}" for number in range(10, 15)]
    for uid in uids:
        await park(queue, delivery(f"evt_{uid[-2:]}", uid=uid))
    named = {uid: Named("team-a", f"hook-{uid[-2:]}") for uid in uids}
    async with log_of(queue, tmp_path, names_of=named.get) as log:
        await until_known(log)
        assert len((await log.deliveries("team-a", ALL, limit=10)).items) == 2
        assert [each.event_id for each in await listed(log)] == [f"evt_{number}" for number in range(10, 15)]
        # Others than the one that is asked for are not looked at.
        assert len((await log.deliveries("team-a", Wanted(webhook="hook-14"), limit=10)).items) == 1
