"""Streams that are moved to other names while events come and go."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from pathlib import Path

import pytest
from nats.js.api import StreamConfig

from controlplane.ports import free_port
from doubles import own
from doubles.local import (
    all_the_while,
    deliver,
    hook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from doubles.nats import nats
from doubles.waiting import until_it_is
from hookline.delivery import session as sessions
from hookline.delivery.messages import Delivery
from hookline.events.envelope import Event, stamp
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import RouteState
from hookline.stream import agreement, names, streams
from hookline.stream.connection import Client, QueueUnusable, StreamRefused, connect
from hookline.stream.event_reader import EventReader
from hookline.stream.inspect import held, left_in_former
from hookline.stream.layout import Layout
from hookline.stream.owner import Installation, Mark
from hookline.stream.publish import Publisher
from hookline.stream.streams import Retention, ensure, find

OURS = Installation("ours", "a test")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "SETTLE_SECONDS", 1.0)
    monkeypatch.setattr(sessions, "ANNOUNCE_SECONDS", 0.5)
    monkeypatch.setattr(sessions, "LOOK_SECONDS", 1.0)
    monkeypatch.setattr(sessions, "EMPTY_SECONDS", 0.2)


async def until_moved(client: Client, prefix: str) -> Layout:
    return await until_it_is(
        lambda: find(client), lambda found: found.is_at(prefix), seconds=30, what=lambda: f"the move to {prefix!r}"
    )


async def until_former_are_done(client: Client) -> None:
    async def left() -> int:
        return await left_in_former(client, await find(client), 1)

    await until_it_is(left, lambda found: found == 0, seconds=30, what=lambda: "that nothing is left in former streams")


async def test_nothing_is_lost_and_little_repeated_when_streams_are_moved_there_and_back_under_load(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    book, published = tmp_path / "book", list[str]()
    # Each third call fails, and comes again by a schedule.
    answers = (Answer(200), Answer(200), Answer(500))

    async def more() -> None:
        published.extend(await publish(client, 5))

    async with receiver_of(calls, *answers) as receiver:
        one = hook("one", receiver, schedule_seconds=(1, 1, 1, 1, 1, 1))
        write_book(book, one, prefix="")
        url = nats_server.url
        async with sender(book, url, installation=OURS), sender(book, url, installation=OURS):
            async with all_the_while(more, every_seconds=0.02):
                for prefix in ("HOOKLINE_", "", "a-team_"):
                    write_book(book, one, prefix=prefix)
                    await until_moved(client, prefix)
                    await until_former_are_done(client)
            well = Counter[str]()

            def all_arrived() -> bool:
                well.clear()
                well.update(call.webhook_id for call in calls if call.answered == 200)
                return well.keys() >= set(published)

            await until(all_arrived)
    assert (await held(client, await find(client))).deliveries == 0
    repeated = [event_id for event_id, count in well.items() if count > 1]
    assert len(repeated) <= 10, f"of {len(published)}"


async def test_what_is_parked_and_what_is_scheduled_moves_and_empty_streams_are_removed(
    tmp_path: Path,
    nats_server: NatsServer,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(agreement, "REMOVE_SECONDS", 1.0)
    calls: list[ReceivedCall] = []
    book = tmp_path / "book"
    async with receiver_of(calls) as receiver:
        paused, keys = hook("paused", receiver, state=RouteState.HELD)
        write_book(book, (paused, keys), prefix="")
        async with sender(book, nats_server.url, installation=OURS):
            ids = await deliver(client, paused.uid, 40, parked=True)
            at_s = time.time() + 3600
            headers = Delivery(
                paused.uid, Event("evt_later", "default", "IdentityCreated", stamp(at_s), b"{}"), 1
            ).headers()
            await Publisher(client).store_later(paused.uid, b"{}", headers, at_s=at_s, once="a.1")
            write_book(book, (paused, keys), prefix="HOOKLINE_")
            await until_moved(client, "HOOKLINE_")
            await until_former_are_done(client)
            await until_it_is(lambda: find(client), lambda found: not found.former, what=lambda: "former streams")
            later = await client.jetstream().get_msg(
                own.DELIVERIES, seq=1, subject="hookline.deliveries.later.>", next=True
            )
            assert (later.headers or {})["Nats-Schedule"] == f"@at {stamp(at_s)}"
            assert headers.items() <= (later.headers or {}).items()
            write_book(book, (paused.model_copy(update={"state": RouteState.ACTIVE}), keys), prefix="HOOKLINE_")
            await until(lambda: len(calls) == 40)
            await until_stored(client, own.PARKED, 0)
    assert {call.webhook_id for call in calls} == set(ids)
    said = capsys.readouterr().out
    assert "a former stream is empty and was removed" in said
    assert "NATS does not know a consumer of ours" not in said


async def test_an_event_is_found_in_the_stream_that_has_it_also_after_a_move_that_nobody_told_of(
    client: Client,
) -> None:
    before = await ensure(client, Retention(), prefix="")
    ids = await publish(client)
    await ensure(client, Retention(), prefix="HOOKLINE_", may_move=True)
    ids += await publish(client)
    reader, found = EventReader(client, lambda: before), list[str]()
    for stream in ("EVENTS", "HOOKLINE_EVENTS"):
        stored = await reader.read(stream, 1)
        assert stored is not None
        event = await reader.find(1, stored.stored_ns)
        found += [event.headers["Hookline-Event-Id"]] if event is not None else []
    assert found == ids
    assert await reader.find(1, 1) is None


@pytest.mark.parametrize("prefix", [None, "", "HOOKLINE_"])
@pytest.mark.parametrize("done", [0, 1, 2, 3])
async def test_a_move_goes_on_from_each_change_that_a_sender_made_last(
    client: Client, done: int, prefix: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure(client, Retention(), prefix="")
    (before,) = await publish(client)
    made = 0
    change = streams._ensure_stream

    async def dies(client: Client, config: StreamConfig, owner: Mark) -> None:
        nonlocal made
        if str(config.name).endswith(names.EVENTS):
            if made == done:
                raise ConnectionError
            made += 1
        await change(client, config, owner)

    with monkeypatch.context() as dying:
        dying.setattr(streams, "_ensure_stream", dies)
        with contextlib.suppress(ConnectionError):
            await ensure(client, Retention(), prefix="HOOKLINE_", may_move=True)
    layout = await ensure(client, Retention(), prefix=prefix, may_move=True)
    assert await find(client) == layout
    assert prefix is None or layout.is_at(prefix)
    (after,) = await publish(client)
    kept = [await ids_in(client, stream) for stream in layout.streams(names.EVENTS)]
    assert sorted(itertools.chain(*kept)) == sorted([before, after])


async def test_nothing_is_moved_where_nats_refuses_the_last_stream_that_a_move_needs(tmp_path: Path) -> None:
    port = free_port()
    account = {"jetstream": {"max_streams": 10}, "users": [{"user": "a", "password": "a"}]}
    async with nats(tmp_path / "nats", port, accounts={"A": account}, no_auth_user="a"):
        client = await connect(f"nats://127.0.0.1:{port}", name="test")
        before = await ensure(client, Retention(), prefix="")
        with pytest.raises(StreamRefused, match="the stream HOOKLINE_DEAD: maximum number of streams"):
            await ensure(client, Retention(), prefix="HOOKLINE_", may_move=True)
        assert (await find(client)).present == before.present
        await client.close()


async def test_a_stream_with_a_prefix_that_is_not_ours_confirms_nothing(client: Client) -> None:
    theirs = StreamConfig(name="ALL_EVENTS", subjects=["hookline.events.>", "orders"])
    await client.jetstream().add_stream(theirs)
    with pytest.raises(QueueUnusable, match="ALL_EVENTS of another application"):
        await publish(client)
    await client.jetstream().delete_stream("ALL_EVENTS")
    await ensure(client, Retention(), prefix="ALL_", owner=Mark("ours", "a", "now"))
    await publish(client)


async def ids_in(client: Client, stream: str) -> list[str]:
    state = (await client.jetstream().stream_info(stream)).state
    found = [await client.jetstream().get_msg(stream, seq) for seq in range(1, state.last_seq + 1)]
    return [(each.headers or {})["Hookline-Event-Id"] for each in found]


async def test_a_sender_that_says_nothing_of_prefixes_is_waited_for_and_that_is_said_once(
    tmp_path: Path, nats_server: NatsServer, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    book = tmp_path / "book"

    async def elder() -> None:
        await client.publish(names.HERE_SUBJECT, b'{"pod": "elder", "leaving": false}')

    async with receiver_of([]) as receiver:
        one = hook("one", receiver)
        write_book(book, one, prefix="")
        async with sender(book, nats_server.url, installation=OURS) as running:
            async with all_the_while(elder, every_seconds=0.3):
                session = running.pod._session
                assert session is not None
                await until(lambda: session.snapshot().members == 2)
                write_book(book, one, prefix="HOOKLINE_")
                await until(lambda: session._prefix == "HOOKLINE_")
                await until(lambda: session._waits_for == "HOOKLINE_")
                assert not session._agreement.may_move("HOOKLINE_", time.monotonic() + 2)
                assert (await find(client)).is_at("")
            await client.publish(names.HERE_SUBJECT, b'{"pod": "elder", "leaving": true}')
            await until_moved(client, "HOOKLINE_")
    assert capsys.readouterr().out.count("the streams are not moved before all senders") == 1


async def test_a_prefix_that_cannot_be_had_is_said_moves_nothing_and_stops_nothing(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    book = tmp_path / "book"
    # The last that would be moved: what was moved before it would be torn from the rest.
    await client.jetstream().add_stream(StreamConfig(name="ALL_DEAD", subjects=["graves"]))
    async with receiver_of(calls) as receiver:
        one = hook("one", receiver)
        write_book(book, one, prefix="")
        async with sender(book, nats_server.url, installation=OURS) as running:
            session = running.pod._session
            write_book(book, one, prefix="ALL_")
            await until(lambda: "ALL_DEAD is of another application" in (running.pod.unready() or ""))
            await publish(client)
            await until(lambda: len(calls) == 1)
            found = await find(client)
            assert (found.present, found.former) == (dict.fromkeys(names.BASES, ""), ())
            assert running.pod._session is session
            assert (await client.jetstream().stream_info("ALL_DEAD")).config.subjects == ["graves"]
            await client.jetstream().delete_stream("ALL_DEAD")
            await until_moved(client, "ALL_")
            await until(lambda: running.pod.unready() is None)
