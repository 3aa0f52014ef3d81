"""`hookline purge` beside a sender: nothing of a tenant, or of one event, is left, and nothing else is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from doubles import own
from doubles.command import hookline
from doubles.local import count, hook, publish, receiver_of, sender, until, until_stored, write_book
from doubles.waiting import eventually
from hookline.delivery import attempts_log
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import RouteState
from hookline.stream import names
from hookline.stream import purge as purging
from hookline.stream.attempt_record import decode
from hookline.stream.connection import Client
from hookline.stream.purge import Wanted, look, purge
from hookline.stream.stored import read_from
from hookline.stream.streams import find

CANARY = b"canary-8d1f"
MINE, THEIRS = "team-a", "team-b"


async def everything(client: Client) -> list[tuple[str, bytes]]:
    """What every stream holds, as it lies there."""
    layout = await find(client)
    streams = [*(stream for base in names.BASES for stream in layout.streams(base)), names.BACKLOG, names.ATTEMPTS]
    found: list[tuple[str, bytes]] = []
    for stream in streams:
        seq = 1
        while some := await read_from(client, stream, ">", seq):
            found += [(each.subject, each.body + repr(dict(each.headers)).encode()) for each in some]
            seq = some[-1].seq + 1
    return found


async def test_what_a_tenant_and_one_event_have_in_all_streams_is_removed_and_proved(
    tmp_path: Path, nats_server: NatsServer, queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "NOTED_SECONDS", 0.5)
    async with receiver_of([], Answer(500)) as receiver:
        entries = []
        for tenant in (MINE, THEIRS):
            names_of = {"dies": {"schedule_seconds": ()}, "waits": {"schedule_seconds": (3600,)}}
            for name, changes in {**names_of, "held": {"state": RouteState.HELD}}.items():
                entries.append(hook(f"{tenant}-{name}", receiver, namespace=tenant, **changes))  # type: ignore[arg-type]
        write_book(tmp_path / "book", *entries)
        async with sender(tmp_path / "book", nats_server.url):
            for tenant in (MINE, THEIRS):
                for event_id in ("evt_1", "evt_2"):
                    await publish(queue, tenant=tenant, event_id=event_id, body=CANARY)
                await publish(queue, tenant=tenant, event="NoOneHears", event_id="evt_large", body=CANARY * 8000)
            # As a message that nobody can read: a delivery without an attempt.
            await queue.publish(names.parked_subject(entries[0][0].uid), CANARY, headers={"Hookline-Tenant": MINE})
            await until_stored(queue, own.DEAD, 4)
            await until_stored(queue, own.PARKED, 5)
            await until_logged(queue)
            before = await look(queue, Wanted(THEIRS))
            assert sum(before.values()) >= 9
            removed, nothing = await purge(queue, Wanted(MINE, "evt_1"))
            assert (len(removed), nothing) == (5, {})
            mine = [text for subject, text in await everything(queue) if MINE in subject or MINE.encode() in text]
            assert not [each for each in mine if b"evt_1" in each and b'"event_id":"evt_1"' not in each]
            assert [each for each in mine if b"evt_2" in each]
            command = ("purge", "--nats", nats_server.url, "--tenant", MINE, "--yes")
            whole = await asyncio.to_thread(hookline, *command)
            assert (whole.returncode, whole.stderr) == (0, b""), whole.stdout
            assert b"looked again: nothing of team-a is left" in whole.stdout
            assert b"parked deliveries" in whole.stdout
            left = [subject for subject, text in await everything(queue) if MINE in subject or MINE.encode() in text]
            assert set(left) == {names.attempts_subject(MINE, "_purged")}
            assert await look(queue, Wanted(THEIRS)) == before
        assert await count(queue, own.DEAD) == 2


async def until_logged(client: Client) -> None:
    """Until the attempts log has both attempts of two Webhooks of each tenant, and what nobody heard."""

    async def is_all_there() -> bool:
        found = await read_from(client, names.ATTEMPTS, "hookline.attempts.>", 1)
        unheard = [each for each in found if each.subject.endswith("._unheard")]
        return len(unheard) == 2 and sum(len(decode(each.body)) for each in found if each not in unheard) == 8

    await eventually(is_all_there)


async def test_a_line_of_a_call_that_had_just_ended_does_not_come_back_after_a_purge(
    tmp_path: Path, nats_server: NatsServer, queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "NOTED_SECONDS", attempts_log.FLUSH_SECONDS + 1)
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("mine", receiver, namespace=MINE))
        async with sender(tmp_path / "book", nats_server.url):
            for event_id in ("evt_1", "evt_2"):
                there = len(calls)
                await publish(queue, tenant=MINE, event_id=event_id)
                await until(lambda there=there: len(calls) > there)  # type: ignore[misc]
            await purge(queue, Wanted(MINE))
            await asyncio.sleep(attempts_log.FLUSH_SECONDS)
            assert {subject for subject, text in await everything(queue)} == {names.attempts_subject(MINE, "_purged")}
