"""Retries that nats-server did not let come. That it forgets one cannot be had at will, and is played: one that is due
in an hour is read as one that was due long ago."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from doubles import own
from doubles.local import hook, receiver_of, sender, until, write_book
from doubles.waiting import until_it_is
from hookline.delivery import session as sessions
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event, stamp
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall
from hookline.stream import agreement, names, overdue, stored
from hookline.stream.api import ask
from hookline.stream.connection import Client, StreamUnavailable
from hookline.stream.overdue import Overdue
from hookline.stream.owner import Installation
from hookline.stream.publish import Publisher
from hookline.stream.stored import Stored, read_from
from hookline.stream.streams import Retention, ensure

UID = "0b9a5c1e-0000-0000-0000-000000000001"


async def read_all(client: Client, seq: int = 1) -> list[Stored]:
    return await read_from(client, own.DELIVERIES, names.LATER_SUBJECTS, seq)


async def store_later(client: Client, once: str, body: bytes = b"{}", *, uid: str = UID) -> None:
    at_s = time.time() + 3600
    event = Event(f"evt_{once.partition('.')[0]}", "default", "IdentityCreated", stamp(at_s), body)
    await Publisher(client).store_later(uid, body, Delivery(uid, event, 2).headers(), at_s=at_s, once=once)


async def came(client: Client, uid: str = UID) -> int:
    info = await ask(client, f"STREAM.INFO.{own.DELIVERIES}", subjects_filter=names.delivery_subject(uid))
    return int((info["state"].get("subjects") or {}).get(names.delivery_subject(uid), 0))


def overdue_of(client: Client) -> Overdue:
    return Overdue(client, Publisher(client), now_s=time.time, may_go_on=lambda: True)


class Reads(Protocol):
    async def __call__(self, client: Client, stream: str, pattern: str, seq: int) -> list[Stored]: ...


def forget(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Have whoever reads what is scheduled find that it was due, and was stored, long ago. Returns what reads so."""

    async def read(client: Client, stream: str, pattern: str, seq: int) -> list[Stored]:
        found = await read_from(client, stream, pattern, seq)
        past = {"Nats-Schedule": f"@at {stamp(time.time() - 60)}"}
        return [replace(each, headers={**each.headers, **past}, time=stamp(time.time() - 120)) for each in found]

    monkeypatch.setattr(overdue, "read_from", read)
    return read


async def test_a_retry_that_did_not_come_comes_at_once_and_once(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure(client, Retention())
    await store_later(client, "a.1")
    forget(monkeypatch)
    await overdue_of(client).bring(own.DELIVERIES)
    await until_it_is(lambda: came(client), lambda count: count == 1, seconds=10, what=lambda: "the retry")
    assert not await read_all(client)
    delivery = await client.jetstream().get_last_msg(own.DELIVERIES, names.delivery_subject(UID))
    assert (delivery.headers or {})["Hookline-Event-Id"] == "evt_a"
    assert "NATS did not let retries come" in capsys.readouterr().out


async def test_what_is_not_due_yet_is_left_alone(client: Client) -> None:
    await ensure(client, Retention())
    await store_later(client, "a.1")
    before = await read_all(client)
    await overdue_of(client).bring(own.DELIVERIES)
    assert await read_all(client) == before


async def test_what_came_or_was_stored_again_since_it_was_read_is_left_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure(client, Retention())
    await store_later(client, "came.1")
    await store_later(client, "again.1")
    read = forget(monkeypatch)

    async def late(client: Client, stream: str, pattern: str, seq: int) -> list[Stored]:
        found = await read(client, stream, pattern, seq)
        if found:
            await ask(client, f"STREAM.PURGE.{stream}", filter=names.later_subject(UID, "came.1"))
            await store_later(client, "again.1")
        return found if seq == 1 else []

    monkeypatch.setattr(overdue, "read_from", late)
    await overdue_of(client).bring(own.DELIVERIES)
    assert [each.subject for each in await read_all(client)] == [names.later_subject(UID, "again.1")]
    assert await came(client) == 0
    assert "retr" not in capsys.readouterr().out


async def test_more_than_one_answer_holds_is_read_to_the_end(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await ensure(client, Retention())
    monkeypatch.setattr(stored, "AT_ONCE", 2)
    monkeypatch.setattr(stored, "ANSWER_BYTES", 1024)
    for body in (b"{}", b"x" * 2048, b"{}", b"{}", b"{}"):
        await store_later(client, f"{time.monotonic_ns()}.1", body)
    found, seq = list[Stored](), 1
    while some := await read_all(client, seq):
        found += some
        seq = some[-1].seq + 1
    assert [each.seq for each in found] == [1, 2, 3, 4, 5]
    assert [len(each.body) for each in found] == [2, 2048, 2, 2, 2]


async def test_a_stream_that_is_not_there_is_not_taken_for_an_empty_one(client: Client) -> None:
    with pytest.raises(StreamUnavailable, match="its servers may just begin"):
        await read_all(client)


async def test_a_sender_looks_at_its_start_and_after_the_number_of_copies_was_changed(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(sessions, "ANNOUNCE_SECONDS", 0.1)
    monkeypatch.setattr(sessions, "OVERDUE_AFTER_SECONDS", 0.5)
    calls: list[ReceivedCall] = []
    forget(monkeypatch)
    async with receiver_of(calls) as receiver:
        one = hook("one", receiver)
        book = tmp_path / "book"
        await ensure(client, Retention())
        await store_later(client, "first.1", uid=one[0].uid)
        write_book(book, one)
        async with sender(book, nats_server.url, installation=Installation("ours", "a test")) as running:
            await until(lambda: [call.webhook_id for call in calls] == ["evt_first"])
            await store_later(client, "second.1", uid=one[0].uid)
            session = running.pod._session
            assert session is not None
            session._replicas = 3
            session._outdated.set()
            await until(lambda: [call.webhook_id for call in calls] == ["evt_first", "evt_second"])
