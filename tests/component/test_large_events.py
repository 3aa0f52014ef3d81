"""Events with a large body: read past by their headers, delivered whole, and never lost between versions."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError
from structlog.testing import capture_logs

from controlplane.ports import free_port
from crash.matrix import run_all
from crash.parties import CrashReceiver, NatsProcess, SenderProcess
from crash.scenario import connected
from crash.wire import NatsProxy, Passages, When
from doubles import own
from doubles.books import route
from doubles.local import (
    SECRET,
    Running,
    dead_letters,
    hook,
    one_webhook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from doubles.nats import nats
from doubles.waiting import until_it_is
from hookline.delivery import session
from hookline.delivery.policy.event_room import EventRoom
from hookline.delivery.settlement import EVENT_GONE
from hookline.events.envelope import MAX_BODY_BYTES
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall
from hookline.routing.routes import DispatcherRecord, Keys, book_of
from hookline.stream import agreement, names
from hookline.stream.connection import Client, connect
from hookline.stream.inspect import large_left, left_in_former
from hookline.stream.owner import Installation, Mark
from hookline.stream.publish import LARGE_BYTES
from hookline.stream.streams import Retention, ensure

LARGE = json.dumps({"data": "x" * LARGE_BYTES}).encode()


US = Installation("uid-1", "team-a/default")


async def take_large(client: Client, *, taken: bool = True) -> None:
    """Have the queue take large events under their own subject, or as a version before leaves it."""
    await ensure(client, Retention(), take_large=taken)


async def subjects_of(client: Client) -> list[str]:
    return list((await client.jetstream().stream_info(own.EVENTS)).config.subjects or [])


async def subject_of(client: Client, seq: int) -> str:
    return (await client.jetstream().get_msg(own.EVENTS, seq)).subject or ""


async def until_all_are_taken(client: Client) -> None:
    async def left() -> int:
        info = await client.jetstream().consumer_info(own.EVENTS, own.LARGE_CONSUMER)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    await until_it_is(left, lambda events: events == 0)


def set_aside(running: Running) -> float:
    return running.pod.metrics.registry.get_sample_value("hookline_events_set_aside_total") or 0


@pytest.mark.parametrize("body", [LARGE, b'"%b"' % (b"x" * (MAX_BODY_BYTES - 2))], ids=["just so", "the largest"])
async def test_a_large_event_comes_under_its_own_subject_and_is_delivered_whole_once(
    tmp_path: Path, nats_server: NatsServer, client: Client, body: bytes
) -> None:
    await take_large(client)
    async with one_webhook(tmp_path, nats_server.url) as one:
        ids = await publish(client, 3, body=body, context={"traceparent": "00-1"})
        await until(lambda: len(one.calls) >= len(ids))
        await until_all_are_taken(client)
    assert {call.webhook_id for call in one.calls} == set(ids)
    assert len(one.calls) == len(ids)
    assert {call.body for call in one.calls} == {body}
    assert all(call.is_verified for call in one.calls)
    assert await subject_of(client, 1) == names.large_subject("default", "IdentityCreated")


async def test_large_events_of_a_tenant_that_has_much_are_set_aside_by_their_headers_and_delivered_once(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "EventRoom", lambda: EventRoom(places=16))
    await take_large(client)
    loud = await publish(client, 60, tenant="loud", body=LARGE)
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", *(hook(each, receiver, namespace=each) for each in ("loud", "quiet")))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await until(lambda: set_aside(running) > 0)
            quiet = await publish(client, 2, tenant="quiet", body=LARGE)
            await until(lambda: len(calls) >= len(loud) + len(quiet))
            await until_stored(client, names.BACKLOG, 0)
    assert sorted(call.webhook_id for call in calls) == sorted(loud + quiet)
    assert {call.body for call in calls} == {LARGE}


async def test_a_large_event_that_was_published_twice_is_stored_once_also_where_its_subject_changed_between(
    client: Client,
) -> None:
    for taken in (True, False):
        await take_large(client, taken=taken)
        await publish(client, body=LARGE, event_id="evt_1")
    assert (await client.jetstream().stream_info(own.EVENTS)).state.messages == 1


async def test_a_body_that_is_removed_before_it_is_read_is_a_dead_letter_and_keeps_no_other(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        return None

    await take_large(client)
    with monkeypatch.context() as patched:
        patched.setattr("hookline.stream.event_reader.EventReader.find", gone)
        async with one_webhook(tmp_path, nats_server.url) as one:
            await publish(client, body=LARGE)
            await until_stored(client, own.DEAD, 1)
            (small,) = await publish(client)
            await until(lambda: len(one.calls) == 1)
            await until_all_are_taken(client)
    (letter,) = await dead_letters(client)
    assert letter.reason.startswith(EVENT_GONE)
    assert one.calls[0].webhook_id == small


async def test_what_names_no_tenant_and_type_is_passed_over_and_a_small_one_is_delivered(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    await take_large(client)
    js = client.jetstream()
    hostile = {"Nats-Msg-Size": "999999999999", "nats-msg-size": "x"}
    async with one_webhook(tmp_path, nats_server.url) as one:
        await js.publish("hookline.large.IdentityCreated", LARGE)
        for body in (b"{}", b""):
            await js.publish(names.large_subject("default", "IdentityCreated"), body, headers=hostile)
        await until(lambda: len(one.calls) == 2)
        await until_all_are_taken(client)
    assert {call.body for call in one.calls} == {b"{}", b""}


async def test_a_sender_takes_large_events_once_all_others_know_them_and_no_more_when_one_does_not(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANNOUNCE_SECONDS", 0.1)
    monkeypatch.setattr(agreement, "SETTLE_SECONDS", 0.2)
    everything = [names.SUBJECTS[names.EVENTS], names.LARGE_SUBJECTS]
    async with one_webhook(tmp_path, nats_server.url, installation=US) as one:
        await until_it_is(lambda: subjects_of(client), lambda subjects: subjects == everything)
        ids = await publish(client, body=LARGE)
        older = {"pod": "older", "leaving": False, "streams": {"wanted": None, "at": "HOOKLINE_EVENTS"}}
        await client.publish(names.HERE_SUBJECT, json.dumps(older).encode())
        await until_it_is(lambda: subjects_of(client), lambda subjects: subjects == everything[:1])
        ids += await publish(client, body=LARGE)
        await until(lambda: len(one.calls) == 2)
        await client.publish(names.HERE_SUBJECT, json.dumps({**older, "leaving": True}).encode())
        await until_it_is(lambda: subjects_of(client), lambda subjects: subjects == everything)
    assert {call.webhook_id for call in one.calls} == set(ids)
    assert await subject_of(client, 2) == names.event_subject("default", "IdentityCreated")


async def test_a_sender_that_ends_leaves_no_large_events_to_a_version_that_does_not_know_them(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    await take_large(client)
    async with one_webhook(tmp_path, nats_server.url, installation=US) as one:
        await publish(client, 50, body=LARGE)
        await until(lambda: len(one.calls) > 0)
    assert await subjects_of(client) == [names.SUBJECTS[names.EVENTS]]
    await until_all_are_taken(client)


async def test_what_came_before_a_version_that_knows_no_large_events_is_delivered_by_one_that_does(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    await take_large(client)
    ids = await publish(client, 2, body=LARGE)
    await take_large(client, taken=False)
    ids += await publish(client, 2, body=LARGE)
    async with one_webhook(tmp_path, nats_server.url) as one:
        await until(lambda: len(one.calls) >= len(ids))
        await until_all_are_taken(client)
    assert sorted(call.webhook_id for call in one.calls) == sorted(ids)


async def test_large_events_are_delivered_from_a_stream_that_was_moved_and_from_the_one_that_has_its_subjects(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    await take_large(client)
    ids = await publish(client, 2, body=LARGE)
    layout = await ensure(client, Retention(), prefix="NEW_", may_move=True)
    assert await left_in_former(client, layout, 1) == 2
    ids += await publish(client, 2, body=LARGE)
    assert await large_left(client, layout, 1) == 4
    async with one_webhook(tmp_path, nats_server.url) as one:
        await until(lambda: len(one.calls) >= len(ids))
        await until_it_is(lambda: left_in_former(client, layout, 1), lambda left: left == 0)
    assert sorted(call.webhook_id for call in one.calls) == sorted(ids)
    assert {call.body for call in one.calls} == {LARGE}


async def test_a_new_owner_goes_on_with_large_events_where_the_former_one_had_come_to(client: Client) -> None:
    first = Mark("uid-1", "team-a/one", "2026-11-30T00:00:00Z")
    await ensure(client, Retention(), owner=first, take_large=True)
    await publish(client, 3, body=LARGE)
    js = client.jetstream()
    taking = await js.pull_subscribe_bind(own.LARGE_CONSUMER, stream=own.EVENTS)
    for each in await taking.fetch(2):
        await each.ack_sync()
    await ensure(client, Retention(), owner=replace(first, id="uid-2", term=2))
    mine = names.large_consumer(2, names.OWN_PREFIX)
    assert (await js.consumer_info(own.EVENTS, mine)).num_pending == 1
    with pytest.raises(NotFoundError):
        await js.consumer_info(own.EVENTS, own.LARGE_CONSUMER)


async def test_a_stream_of_another_application_with_their_subject_stops_nothing_and_is_told_once(
    tmp_path: Path, nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANNOUNCE_SECONDS", 0.05)
    monkeypatch.setattr(agreement, "SETTLE_SECONDS", 0.1)
    await client.jetstream().add_stream(name="THEIRS", subjects=["orders", names.LARGE_SUBJECTS])
    with capture_logs() as logs:
        async with one_webhook(tmp_path, nats_server.url, installation=US) as one:
            said = "large events come as all others: a stream of another application takes their subject"
            await until(lambda: any(each["event"] == said for each in logs))
            ids = await publish(client) + await publish(client, 2, body=LARGE)
            await until(lambda: len(one.calls) == 3)
    assert {call.webhook_id for call in one.calls} == set(ids)
    assert await subjects_of(client) == [names.SUBJECTS[names.EVENTS]]
    assert [each["event"] for each in logs].count(said) == 1


async def test_whoever_may_not_publish_under_their_subject_publishes_large_events_as_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is told so, and need not wait.
    monkeypatch.setattr("hookline.stream.publish.ACK_SECONDS", 300.0)
    port, permissions = free_port(), {"publish": {"deny": [names.LARGE_SUBJECTS]}}
    users = [{"user": "all", "password": "a"}, {"user": "some", "password": "s", "permissions": permissions}]
    async with nats(tmp_path / "nats", port, authorization={"users": users}):
        client = await connect(f"nats://all:a@127.0.0.1:{port}", name="test")
        await take_large(client)
        publisher = await connect(f"nats://some:s@127.0.0.1:{port}", name="test")
        await publish(publisher, body=LARGE)
        assert await subject_of(client, 1) == names.event_subject("default", "IdentityCreated")
        await publisher.close()
        await client.close()


async def killed(step: str, when: When, calls: int, folder: Path) -> None:
    """A sender that dies at a step on the way of one large event, which is called so many times then."""
    passages = Passages(step, when, 1)
    receiver = CrashReceiver(lambda _: (200, 0.0), passages)
    async with (
        receiver,
        NatsProcess(folder / "nats") as server,
        NatsProxy(server.port, passages) as wire,
        connected(server.url) as client,
    ):
        hooked = route(url=f"https://127.0.0.1:{receiver.port}/one")
        keys = Keys(uid=hooked.uid, signing=SECRET, ca_pem=receiver.ca_pem)
        book_folder.write(book_of([(hooked, keys)], DispatcherRecord(allow_cidrs=("127.0.0.0/8",))), folder / "book")
        await take_large(client)
        process = SenderProcess(folder, folder / "book", f"nats://127.0.0.1:{wire.port}")
        passages.kill = process.kill
        async with process.running():
            (event_id,) = await publish(client, body=LARGE)
            await until(lambda: len(receiver.calls) == calls, seconds=40)
            await until_all_are_taken(client)
    assert passages.killed
    assert {(call.event_id, call.body) for call in receiver.calls} == {(event_id, LARGE)}
    assert len(receiver.calls) == calls


async def test_an_event_whose_sender_is_killed_before_or_after_it_has_the_body_is_not_lost(tmp_path: Path) -> None:
    cells = [
        ("get stream EVENTS", When.BEFORE, 1),
        ("get stream EVENTS", When.AFTER, 1),
        ("call from an event", When.BEFORE, 2),
    ]
    await run_all([partial(killed, *each) for each in cells], tmp_path)
