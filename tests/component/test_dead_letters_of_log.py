"""Dead letters as the API tells them, out of a real nats-server."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from doubles import own
from doubles.logs import ALL, UID, log_of
from doubles.waiting import eventually, until_it_is
from hookline.api import dead_letters as dead_letters_module
from hookline.api.dead_index import DeadIndex, DeadRow
from hookline.api.log import Dead, Expired, Unreadable, Wanted
from hookline.api.object_names import message_name
from hookline.api.queue_log import QueueLog
from hookline.delivery import messages
from hookline.delivery.messages import Delivery
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.events.context import PREFIX
from hookline.events.envelope import TENANT_HEADER, Event, stamp
from hookline.stream import log_reader, names
from hookline.stream.api import ask
from hookline.stream.connection import Client
from hookline.stream.publish import Publisher


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters_module, "LOOK_SECONDS", 0.05)


def delivery(event_id: str = "evt_1", *, tenant: str = "team-a", uid: str = UID, attempt: int = 3) -> Delivery:
    event = Event(event_id, tenant, "IdentityCreated", stamp(1_700_000_000), b'{"a": 1}')
    return Delivery(uid, event, 1, attempt, 1_700_000_000)


async def bury(client: Client, dead: Delivery, *, answer: bytes = b"no", webhook: str = "hook") -> None:
    outcome = Outcome(Reason.HTTP_STATUS, 503, "the receiver answered 503", 0.1, answer=answer)
    letter = messages.dead_letter(
        dead,
        "ScheduleSpent: attempt 3 was the last one",
        route=None,
        keys=None,
        outcome=outcome,
        failed_at=stamp(1_700_000_100),
    )
    headers = {**letter.headers, messages.WEBHOOK_HEADER: f"{dead.event.tenant}/{webhook}"}
    await Publisher(client).store(letter.subject, letter.body, headers)


async def listed(log: QueueLog, namespace: str = "team-a", wanted: Wanted = ALL, *, limit: int = 100) -> list[Dead]:
    page = await log.dead_letters(namespace, wanted, limit=limit)
    found = list(page.items)
    while page.more:
        page = await log.dead_letters(namespace, wanted, limit=limit, begin=page.more)
        found += page.items
    return found


async def until_listed(log: QueueLog, count: int, namespace: str = "team-a") -> Sequence[Dead]:
    async def asked() -> Sequence[Dead]:
        try:
            return await listed(log, namespace)
        except Unreadable:
            return ()

    return await until_it_is(asked, lambda found: len(found) == count, seconds=20)


async def test_dead_letters_are_listed_newest_first_and_one_is_read_whole(queue: Client, tmp_path: Path) -> None:
    for number in range(5):
        await bury(queue, delivery(f"evt_{number}"))
    await bury(queue, delivery("evt_b", tenant="team-b"))
    async with log_of(queue, tmp_path) as log:
        found = await until_listed(log, 5)
        assert [each.event_id for each in await listed(log, limit=2)] == [
            f"evt_{number}" for number in range(4, -1, -1)
        ]
        first = found[0]
        assert first.name == message_name("evt_4", 3, own.DEAD, 5)
        assert (first.webhook, first.uid, first.event_type) == ("hook", UID, "IdentityCreated")
        assert (first.reason, first.detail) == ("ScheduleSpent", "attempt 3 was the last one")
        assert (first.outcome, first.status, first.attempt) == ("HTTPStatus", 503, 3)
        assert (first.failed_at_s, first.body_bytes, first.answer) == (1_700_000_100.0, 8, b"")
        whole = await log.dead_letter("team-a", first.name)
        assert whole is not None
        assert whole.answer == b"no"
        assert whole.headers == {}
        assert await log.body_of_dead_letter("team-a", first.name) == b'{"a": 1}'
        for wanted, count in (
            (Wanted(event_id="evt_3"), 1),
            (Wanted(webhook="hook", status="503"), 5),
            (Wanted(reason="ScheduleSpent", event_type="IdentityCreated"), 5),
            (Wanted(reason="Gone"), 0),
            (Wanted(webhook="other"), 0),
        ):
            assert len(await listed(log, wanted=wanted)) == count
        assert len(await listed(log, "")) == 6


async def test_of_a_queue_that_never_had_one_it_is_told_that_there_are_none(queue: Client, tmp_path: Path) -> None:
    async with log_of(queue, tmp_path) as log:

        async def told() -> bool:
            try:
                return await listed(log) == [] and log.behind == []
            except Unreadable:
                return False

        await eventually(told)


async def test_another_namespaces_dead_letter_is_neither_told_nor_dropped(queue: Client, tmp_path: Path) -> None:
    await bury(queue, delivery())
    async with log_of(queue, tmp_path) as log:
        (dead,) = await until_listed(log, 1)
        for name in (dead.name.replace("evt-1", "evt-2"), dead.name[:-1] + "0", "x", ""):
            assert await log.dead_letter("team-a", name) is None
            assert not await log.drop_dead_letter("team-a", name)
        assert await log.dead_letter("team-b", dead.name) is None
        assert await log.body_of_dead_letter("team-b", dead.name) is None
        assert not await log.drop_dead_letter("team-b", dead.name)
        assert len(await listed(log)) == 1
        await bury(queue, delivery("evt_2"))
        await until_listed(log, 2)
        more = (await log.dead_letters("team-a", ALL, limit=1)).more
        with pytest.raises(Expired):
            await log.dead_letters("team-b", ALL, limit=1, begin=more)


async def test_of_its_headers_those_are_told_that_travel_with_the_event(queue: Client, tmp_path: Path) -> None:
    headers = {
        **messages.dead_letter(
            delivery(), "ScheduleSpent", route=None, keys=None, outcome=None, failed_at=stamp(1_700_000_100)
        ).headers,
        f"{PREFIX}traceparent": "00-1",
        "Authorization": "Bearer header-canary",
    }
    await Publisher(queue).store(f"hookline.dead.team-a.{UID}", b"{}", headers)
    async with log_of(queue, tmp_path) as log:
        (found,) = await until_listed(log, 1)
        whole = await log.dead_letter("team-a", found.name)
        assert whole is not None
        assert whole.headers == {"traceparent": "00-1"}


async def test_a_dropped_one_is_gone_at_once_and_soon_in_other_replicas(queue: Client, tmp_path: Path) -> None:
    for number in range(3):
        await bury(queue, delivery(f"evt_{number}"))
    async with log_of(queue, tmp_path / "a") as log, log_of(queue, tmp_path / "b") as other:
        found = await until_listed(log, 3)
        await until_listed(other, 3)
        assert await log.drop_dead_letter("team-a", found[1].name)
        assert [each.event_id for each in await listed(log)] == ["evt_2", "evt_0"]
        assert not await log.drop_dead_letter("team-a", found[1].name)
        assert [each.event_id for each in await until_listed(other, 2)] == ["evt_2", "evt_0"]
        # The first and the last one, which leave no gap.
        assert await log.drop_dead_letter("team-a", found[0].name)
        assert await log.drop_dead_letter("team-a", found[2].name)
        await until_listed(other, 0)
        await bury(queue, delivery("evt_3"))
        assert [each.event_id for each in await until_listed(other, 1)] == ["evt_3"]


async def test_many_are_read_without_their_bodies(queue: Client, tmp_path: Path) -> None:
    publisher, count = Publisher(queue), 3 * log_reader.FEW
    for number in range(count):
        dead = delivery(f"evt_{number}")
        letter = messages.dead_letter(dead, "Gone: gone", route=None, keys=None, outcome=None, failed_at="")
        await publisher.store(letter.subject, letter.body, letter.headers)
    # Those behind the last one were deleted: there is nothing to be waited for.
    for seq in range(count - log_reader.FEW - 5, count + 1):
        await log_reader.delete(queue, own.DEAD, seq)
    async with log_of(queue, tmp_path) as log:
        found = await until_listed(log, count - log_reader.FEW - 6)
        assert found[0].body_bytes == 8
        assert found[0].attempt == 2  # the third was never made
        assert (await ask(queue, f"CONSUMER.NAMES.{own.DEAD}"))["total"] == 0
        await bury(queue, delivery("evt_new"))
        assert (await until_listed(log, len(found) + 1))[0].event_id == "evt_new"


async def test_messages_that_are_no_dead_letters_hide_no_others(queue: Client, tmp_path: Path) -> None:
    await bury(queue, delivery())
    right = delivery("evt_forged").headers()
    jetstream = queue.jetstream()
    strange: list[tuple[str, bytes, dict[str, str]]] = [
        (names.dead_subject("team-a", UID), b"", {}),
        (names.dead_subject("team-a", UID), b"", {**right, TENANT_HEADER: "team-b"}),
        (names.dead_subject("team-b", UID), b"", right),
        (names.dead_subject("TEAM-A", UID), b"", right),
        (names.dead_subject(names.UNREAD, names.UNREAD), b"x" * 500_000, right),
        (names.dead_subject("team-a", "a b".replace(" ", "%")), b"", right),
        (
            names.dead_subject("team-a", UID),
            b"\xff" * 100,
            {
                **right,
                "Hookline-Attempt": "9" * 4000,
                "Hookline-Reason": "\x1b[2J" * 1000,
                "Hookline-Failed-At": "9999-99-99",
                "Hookline-Webhook": "team-b/hook",
                "Hookline-Answer": "=" * 100,
                "Hookline-Status": "\u0665\u0665\u0665",
                "Hookline-Outcome": "x" * 5000,
            },
        ),
    ]
    for subject, body, headers in strange:
        await jetstream.publish(subject, body, headers=headers or None)
    await bury(queue, delivery("evt_2"))

    async def are_there() -> bool:
        try:
            ids = [each.event_id for each in await listed(log, "")]
        except Unreadable:
            return False
        return {"evt_1", "evt_2"} <= set(ids)

    async with log_of(queue, tmp_path) as log:
        await eventually(are_there, seconds=20)
        assert await listed(log, "team-b") == []
        for each in await listed(log, ""):
            assert each.namespace == "team-a"
            assert each.webhook in ("hook", "")
            assert "\x1b" not in each.reason
            assert len(each.name) < 100
            assert await log.dead_letter("team-a", each.name) is not None


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(queue: Client, tmp_path: Path) -> None:
    for number in range(3):
        await bury(queue, delivery(f"evt_{number}"))
    async with log_of(queue, tmp_path) as log:
        await until_listed(log, 3)
        config = (await ask(queue, f"STREAM.INFO.{own.DEAD}"))["config"]
        await ask(queue, f"STREAM.DELETE.{own.DEAD}")
        await ask(queue, f"STREAM.CREATE.{own.DEAD}", **config)
        await bury(queue, delivery("evt_new"))
        assert [each.event_id for each in await until_listed(log, 1)] == ["evt_new"]


def test_a_full_disk_leaves_the_index_as_it_was(small_disk: Path) -> None:
    def rows(first: int, last: int) -> list[DeadRow]:
        return [
            DeadRow(at, "DEAD", at, "team-a", "hook", UID, f"evt_{at}", "T", "R", "d" * 300, 1.0, 1, "o", 503, 10)
            for at in range(first, last)
        ]

    def count() -> int:
        return len(index.before("team-a", ALL, 2**62, 10_000)[0])

    index = DeadIndex(small_disk / "dead.sqlite3")
    index.add(rows(1, 50))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(64 * 1024)):
            pass
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            index.add(rows(50, 4000))
    assert count() == 49
    filler.unlink()
    index.add(rows(50, 4000))
    assert count() == 3999
    assert index._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    index.close()


async def test_what_was_in_a_stream_that_is_gone_is_told_no_more(queue: Client, tmp_path: Path) -> None:
    await bury(queue, delivery())
    async with log_of(queue, tmp_path) as log:
        await until_listed(log, 1)
        await ask(queue, f"STREAM.DELETE.{own.DEAD}")

        async def is_none() -> bool:
            return await listed(log) == []

        await eventually(is_none)
