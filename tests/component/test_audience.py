"""Whoever publishes is told for how many Webhooks the event is, if there is a sender to ask; nobody is kept from it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from controlplane.ports import free_port
from doubles import own
from doubles.command import hookline
from doubles.local import SAMPLE, hook, receiver_of, sender, write_book
from doubles.nats import nats
from hookline.local.nats_server import NatsServer
from hookline.routing.routes import RouteState
from hookline.stream import names
from hookline.stream.audience import ask_audience
from hookline.stream.connection import Client, connect
from hookline.stream.streams import Retention, ensure


async def published(url: str, *words: str, body: bytes = SAMPLE) -> tuple[int, str, str]:
    command = ("publish", "IdentityCreated", "-", "--nats", url, *words)
    done = await asyncio.to_thread(hookline, *command, stdin=body)
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode()


async def test_a_publisher_is_told_for_how_many_webhooks_an_event_is(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with receiver_of([]) as receiver:
        entries = [hook("a", receiver), hook("b", receiver, state=RouteState.HELD)]
        entries += [hook("c", receiver, state=RouteState.DISABLED), hook("d", receiver, event="IdentityDeleted")]
        write_book(tmp_path / "book", *entries)
        async with sender(tmp_path / "book", nats_server.url):
            code, out, _ = await published(nats_server.url)
            assert (code, out.partition("tenant default  ")[2]) == (0, "for 2 Webhooks, 1 of them waiting, 1 disabled")
            _, out, _ = await published(nats_server.url, "--json")
            assert json.loads(out)["webhooks"] == {"called": 1, "waiting": 1, "disabled": 1}
            line = json.dumps(json.loads(SAMPLE)).encode()
            code, out, _ = await published(nats_server.url, "--lines", "--tenant", "nobody", body=line)
            assert (code, out) == (0, "published 1, already there 0, refused 0, for no Webhook")
            # Whatever anybody else asks.
            for question in (b"", b"\xff", b"." * 5000, b"default.IdentityCreated"):
                await client.publish(names.AUDIENCE_SUBJECT, question)
            # And wherever he wants it to be stored by a sender, which may.
            elsewhere = names.dead_subject("default", "one")
            await client.publish(names.AUDIENCE_SUBJECT, b"default.IdentityDeleted", reply=elsewhere)
            assert await ask_audience(client, "default", "IdentityDeleted") is not None
            assert (await client.jetstream().stream_info(own.DEAD)).state.messages == 0


async def test_a_publisher_that_may_not_ask_publishes_without_a_word(tmp_path: Path) -> None:
    port = free_port()
    permissions = {"publish": {"deny": [names.AUDIENCE_SUBJECT]}}
    users = [{"user": "all", "password": "a"}, {"user": "some", "password": "b", "permissions": permissions}]
    async with nats(tmp_path / "nats", port, authorization={"users": users}):
        client = await connect(f"nats://all:a@127.0.0.1:{port}", name="test")
        await ensure(client, Retention())
        await client.close()
        code, out, err = await published(f"nats://some:b@127.0.0.1:{port}")
    assert (code, err) == (0, "")
    assert out.endswith("tenant default")


async def test_an_answer_that_is_none_counts_as_no_answer(client: Client) -> None:
    said = [
        b"",
        b"[]",
        b"{}",
        b'{"called": -1, "waiting": 0, "disabled": 0}',
        b'{"called": true}',
        b"5",
        b"[" * 100_000,
    ]
    answers = iter(said)

    async def answer(message: object) -> None:
        await client.publish(message.reply, next(answers))  # type: ignore[attr-defined]

    await client.subscribe(names.AUDIENCE_SUBJECT, cb=answer)
    for _ in said:
        assert await ask_audience(client, "default", "A") is None
    assert next(answers, None) is None
