"""Senders beside those of a later version: what they do not understand waits for those, and stops nothing."""

from __future__ import annotations

import json
from pathlib import Path

from nats.js.api import StreamInfo

from doubles import own
from doubles.local import (
    dead_letters,
    deliver,
    hook,
    one_webhook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import ReceivedCall
from hookline.routing.book_files import digest_of, routes_file
from hookline.routing.routes import BOOK_SHARDS, index_file, shard_of
from hookline.stream import names
from hookline.stream.connection import Client

DELIVERY = {
    "Hookline-Event-Id": "evt_later",
    "Hookline-Event-Type": "IdentityCreated",
    "Hookline-Tenant": "default",
    "Hookline-Event-Time": "2026-01-01T00:00:00Z",
    "Hookline-Event-Seq": "1",
    "Hookline-Attempt": "1",
}
LATER = {"Hookline-Format": "2", "Hookline-Envelope": "all that format 1 has, written in another way"}


def change_route(folder: Path, uid: str, **changes: object) -> None:
    """Have the book say something else of one Webhook, as the operator of a later version would."""
    shard = shard_of(uid, BOOK_SHARDS)
    routes, index = folder / routes_file(shard), folder / index_file(shard)
    content = [{**each, **changes} if each["uid"] == uid else each for each in json.loads(routes.read_bytes())]
    routes.write_text(json.dumps(content))
    index.write_text(json.dumps({**json.loads(index.read_bytes()), "routes": digest_of(routes.read_bytes())}))


async def test_a_webhook_that_needs_a_later_sender_loses_nothing_and_holds_up_no_other(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    book = tmp_path / "book"
    async with receiver_of(calls) as receiver:
        (later, keys), other = hook("later", receiver), hook("other", receiver)
        write_book(book, (later, keys), other)
        change_route(book, later.uid, needs=["filters"], filters={"amount": "> 100"})
        async with sender(book, nats_server.url) as running:
            (event_id,) = await publish(client)
            await until(lambda: len(calls) == 1)
            await until_stored(client, own.PARKED, 1)
            why = "it needs filters, which this version of the sender does not know"
            assert running.pod.report()["unread"] == {later.uid: why}
        # A sender of the later version, which knows what it needs.
        write_book(book, (later, keys), other)
        async with sender(book, nats_server.url) as running:
            await until(lambda: len(calls) == 2)
            assert running.pod.report()["unread"] == {}
    assert [(call.webhook_id, call.path_and_query) for call in calls] == [(event_id, "/other"), (event_id, "/later")]


async def test_a_delivery_of_a_later_format_is_parked_as_it_is_and_others_pass_it(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with one_webhook(tmp_path, nats_server.url) as one:
        await client.jetstream().publish(names.delivery_subject(one.route.uid), b"{}", headers=LATER)
        await until_stored(client, own.PARKED, 1)
        (waiting,) = await deliver(client, one.route.uid, parked=True)
        (new,) = await deliver(client, one.route.uid)
        await until(lambda: len(one.calls) == 2)
        await until_stored(client, own.PARKED, 1)
        await until_stored(client, own.DELIVERIES, 0)
    assert {call.webhook_id for call in one.calls} == {waiting, new}
    info: StreamInfo = await client.jetstream().stream_info(own.PARKED)
    message = await client.jetstream().get_msg(own.PARKED, info.state.first_seq)
    assert LATER.items() <= (message.headers or {}).items()
    assert (message.subject, message.data) == (names.parked_subject(one.route.uid), b"{}")


async def test_a_delivery_of_a_later_format_that_no_sender_came_for_is_kept_in_dead(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with one_webhook(tmp_path, nats_server.url, parked_seconds=1) as one:
        await client.jetstream().publish(names.delivery_subject(one.route.uid), b"{}", headers=LATER)
        await until_stored(client, own.DEAD, 1, seconds=40)
        await until_stored(client, own.PARKED, 0)
    (letter,) = await dead_letters(client)
    assert LATER.items() <= letter.headers.items()
    assert letter.word == "ParkedExpired"
    assert one.calls == []


async def test_headers_of_a_later_version_are_passed_over(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with one_webhook(tmp_path, nats_server.url) as one:
        headers = {**DELIVERY, "Hookline-Format": "1", "Hookline-Trace": "00-abc"}
        await client.jetstream().publish(names.delivery_subject(one.route.uid), b"{}", headers=headers)
        await until(lambda: len(one.calls) == 1)
    assert one.calls[0].webhook_id == "evt_later"
