"""One NATS, two installations: one takes from it, the other takes nothing and says who does."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from doubles import own
from doubles.command import hookline, running
from doubles.frozen import stand_still
from doubles.local import SECRET, count, hook, publish, receiver_of, sender, until, until_stored, write_book
from doubles.waiting import until_it_is
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall, Receiver
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook
from hookline.stream import names
from hookline.stream.api import api
from hookline.stream.connection import Client, QueueUnusable, StreamRefused
from hookline.stream.owner import Installation
from hookline.stream.ownership import Ownership
from hookline.stream.publish import Publisher
from hookline.stream.streams import Retention, ensure, open_backlog, stream_configs

OURS, THEIRS = Installation("ours", "team-a/default"), Installation("theirs", "team-b/default")


def webhooks(file: Path, receiver: Receiver, event: str) -> Path:
    documents = [ca_secret("ca", receiver.ca_pem), allowed_secret("signing", SECRET)]
    documents.append(webhook("one", url=receiver.url, event=event, secret_name="signing", ca_secret_name="ca"))
    file.write_text(to_yaml(*(("", document) for document in documents)))
    return file


def ids(calls: Sequence[ReceivedCall]) -> set[str]:
    return {call.webhook_id for call in calls}


async def test_a_second_run_on_one_nats_is_refused_and_takes_no_event_of_the_first(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        first = webhooks(tmp_path / "first.yaml", receiver, "IdentityCreated")
        second = webhooks(tmp_path / "second.yaml", receiver, "IdentityDeleted")
        common = ["--nats", nats_server.url, "--allow-cidr", "127.0.0.0/8"]
        with running(tmp_path / "log", "run", first, "--data", tmp_path / "d1", *common) as command:
            command.until_says("configuration loaded")
            refused = await asyncio.to_thread(hookline, "run", second, "--data", tmp_path / "d2", *common)
            published = await publish(client, 100) + await publish(client, 100, event="IdentityDeleted")
            await until(lambda: ids(calls) == set(published[:100]))
            assert command.process.poll() is None
    assert refused.returncode == 1
    (line,) = [each for each in refused.stderr.decode().splitlines() if each.startswith("hookline:")]
    assert "belongs to hookline run on " in line
    assert "--take-over" in line
    assert "Traceback" not in refused.stderr.decode()


async def test_taking_over_stops_the_former_owner_and_loses_nothing(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    """Events come all the while; each arrives at the one or the other."""
    first_calls: list[ReceivedCall] = []
    second_calls: list[ReceivedCall] = []

    async def scenario() -> None:
        async with sender(tmp_path / "first", nats_server.url, installation=THEIRS) as former:
            published = await publish(client, 200)
            publishing = asyncio.create_task(publish(client, 400))
            await until(lambda: len(first_calls) > 20)
            me = Installation(OURS.id, OURS.name, THEIRS.id)
            async with sender(tmp_path / "second", nats_server.url, installation=me):
                await until(former.task.done)
                taken_by_former = len(first_calls)
                published += await publishing
                published += await publish(client, 50)
                await until(lambda: ids(second_calls).issuperset(published[-50:]))
                # What the former owner made deliveries of waits for its Webhook, which nobody knows any more.
                await until_stored(client, own.DELIVERIES, 0)
                waiting = await count(client, own.PARKED) + await count(client, own.DEAD)
                assert len(set(published) - ids(first_calls) - ids(second_calls)) <= waiting
                assert len(first_calls) == taken_by_former

    async with receiver_of(first_calls) as first, receiver_of(second_calls) as second:
        write_book(tmp_path / "first", hook("one", first))
        write_book(tmp_path / "second", hook("two", second))
        with pytest.raises(QueueUnusable, match="belongs to team-a/default"):
            await scenario()


async def test_a_former_owner_that_was_frozen_during_the_take_over_takes_nothing(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    stale: list[ReceivedCall] = []
    async with receiver_of(stale) as first, receiver_of(calls) as second:
        write_book(tmp_path / "first", hook("one", first))
        write_book(tmp_path / "second", hook("two", second))
        words = ["sender", "--book", str(tmp_path / "first"), "--nats", nats_server.url, "--listen", "127.0.0.1:0"]
        with running(tmp_path / "log", *words, "--installation=theirs") as frozen:
            frozen.until_says("answering health and metrics")
            await until_stored(client, own.EVENTS, 0)
            await publish(client, 5)
            await until(lambda: len(stale) == 5)
            stand_still(frozen.process.pid)
            try:
                async with sender(
                    tmp_path / "second", nats_server.url, installation=Installation("ours", "a", "theirs")
                ):
                    published = await publish(client, 50)
                    os.kill(frozen.process.pid, signal.SIGCONT)
                    published += await publish(client, 200)
                    await until(lambda: ids(calls).issuperset(published))
                    await asyncio.to_thread(frozen.until_says, "NATSInUse")
            finally:
                os.kill(frozen.process.pid, signal.SIGCONT)
    assert len(stale) == 5


async def test_a_former_owner_takes_nothing_of_what_was_set_aside_nor_acks_it(client: Client) -> None:
    first = await Ownership(client, OURS).claim()
    await ensure(client, Retention(), owner=first)
    await Publisher(client).store(names.backlog_subject("team-a"), b"1 1")
    consumer = await open_backlog(client, "team-a", first.term)
    taken = await (await client.jetstream().pull_subscribe_bind(consumer, names.BACKLOG)).fetch(1, timeout=5)
    theirs = await Ownership(client, Installation(THEIRS.id, THEIRS.name, OURS.id)).claim()
    await ensure(client, Retention(), owner=theirs)
    await taken[0].ack()
    mine = await open_backlog(client, "team-a", theirs.term)
    found = await (await client.jetstream().pull_subscribe_bind(mine, names.BACKLOG)).fetch(1, timeout=5)
    assert [each.data for each in found] == [b"1 1"]
    assert "error" in await api(client, f"CONSUMER.INFO.{names.BACKLOG}.{consumer}")


async def test_a_restart_and_a_second_sender_of_the_owner_are_welcome(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        mine = functools.partial(sender, tmp_path / "book", nats_server.url, installation=OURS)
        async with mine(), mine():
            first = await publish(client, 10)
            await until(lambda: ids(calls) == set(first))
        async with sender(tmp_path / "book", nats_server.url, installation=OURS):
            second = await publish(client, 10)
            await until(lambda: ids(calls) == {*first, *second})


async def test_a_mark_that_was_lost_is_restored_by_the_owner_of_the_streams_and_by_nobody_else(
    client: Client,
) -> None:
    mark = await Ownership(client, Installation("ours", "a", "*")).claim()
    await ensure(client, Retention(), owner=mark)
    await client.jetstream().delete_stream(f"KV_{names.INSTALLATION_BUCKET}")
    with pytest.raises(QueueUnusable, match="belongs to a "):
        await Ownership(client, THEIRS).claim()
    again = await Ownership(client, Installation("ours", "a")).claim()
    assert (again.id, again.term) == ("ours", 1)
    assert (await Ownership(client, Installation("ours", "a")).claim()) == again


async def test_what_is_written_over_the_mark_stops_no_owner_and_lets_nobody_else_in(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    """NATS writes a confirmation to whatever subject the publisher of an event names as its reply."""
    owner_key = f"$KV.{names.INSTALLATION_BUCKET}.owner"

    async def written_over() -> None:
        event = names.event_subject("default", "IdentityCreated")
        await client.publish(event, b"{}", reply=owner_key, headers={"Nats-Msg-Id": "1"})
        await client.flush()

    async def mark() -> bytes:
        return (await client.jetstream().get_last_msg(f"KV_{names.INSTALLATION_BUCKET}", owner_key)).data or b""

    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url, installation=OURS) as running:
            await written_over()
            await until_it_is(mark, lambda value: b"ours" in value)
            (event_id,) = await publish(client)
            await until(lambda: event_id in ids(calls))
            assert not running.task.done()
    await written_over()
    with pytest.raises(QueueUnusable, match="belongs to team-a/default"):
        await Ownership(client, THEIRS).claim()
    assert (await Ownership(client, OURS).claim()).term == 1
    assert b"ours" in await mark()


async def test_of_many_that_come_at_once_one_is_the_owner(client: Client) -> None:
    claims = [Ownership(client, Installation(f"i{number}", f"n{number}")).claim() for number in range(8)]
    found = await asyncio.gather(*claims, return_exceptions=True)
    assert len([each for each in found if not isinstance(each, BaseException)]) == 1
    assert {type(each) for each in found if isinstance(each, BaseException)} == {QueueUnusable}


async def test_streams_from_before_there_were_marks_are_adopted_with_all_they_hold(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    for config in stream_configs(Retention()):
        await client.jetstream().add_stream(config)
    published = await publish(client, 20)
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url, installation=OURS):
            await until(lambda: ids(calls) == set(published))
            info = await client.jetstream().stream_info(names.EVENTS)
    assert (info.config.metadata or {})[names.OWNER_ID] == OURS.id


async def test_a_stream_of_another_application_is_named_and_left_as_it_is(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    js = client.jetstream()
    await js.add_stream(name=own.EVENTS, subjects=["orders.>"], max_age=None)
    await js.publish("orders.1", b"theirs")
    write_book(tmp_path / "book")
    with pytest.raises(QueueUnusable, match="the stream HOOKLINE_EVENTS of another application"):
        async with sender(tmp_path / "book", nats_server.url, installation=OURS) as running_:
            await running_.task
    info = await js.stream_info(own.EVENTS)
    assert info.config.subjects == ["orders.>"]
    assert (info.config.max_age, info.state.messages) == (0, 1)


async def test_a_stream_that_takes_our_subjects_is_named_and_confirms_nothing(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    await client.jetstream().add_stream(name="ARCHIVE", subjects=["hookline.>"])
    write_book(tmp_path / "book")
    with pytest.raises(QueueUnusable, match="the stream ARCHIVE of another application takes"):
        async with sender(tmp_path / "book", nats_server.url, installation=OURS) as running_:
            await running_.task
    with pytest.raises(StreamRefused, match="ARCHIVE"):
        await Publisher(client).store(names.event_subject("default", "A"), b"{}")


async def test_publishing_makes_no_stream_and_no_bucket(nats_server: NatsServer, client: Client) -> None:
    words = ["publish", "IdentityCreated", "-", "--nats", nats_server.url, "--wait-seconds", "1"]
    done: subprocess.CompletedProcess[bytes] = await asyncio.to_thread(hookline, *words, stdin=b"{}")
    assert done.returncode in (1, 2)
    assert await client.jetstream().streams_info() == []
