"""Another event with a key that was used before is refused, whoever took the first one, where a sender is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from controlplane.ports import free_port
from doubles import own
from doubles.command import hookline
from doubles.gateway import gateway_at
from doubles.local import count, sender, write_book
from doubles.nats import nats
from hookline.events.builtin_events import event_named, sample_of, to_text
from hookline.local.nats_server import NatsServer
from hookline.stream import names
from hookline.stream.admission import Admission
from hookline.stream.connection import Client, connect
from hookline.stream.publish import Former
from hookline.stream.same_event import Question, digest_of
from hookline.stream.streams import Retention, ensure

EVENT, OTHER_EVENT = "IdentityCreated", "IdentityDeleted"
BODY = to_text(sample_of(event_named(EVENT))).encode()
OTHER_BODY = BODY + b" "


@pytest.fixture
async def senders(tmp_path: Path, queue: Client, nats_server: NatsServer) -> AsyncIterator[None]:
    write_book(tmp_path / "book")
    async with sender(tmp_path / "book", nats_server.url):
        yield


async def sent(gateway: httpx.AsyncClient, key: str, body: bytes = BODY, event: str = EVENT) -> int:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    return (await gateway.post(f"/v1/events/{event}", content=body, headers=headers)).status_code


@pytest.mark.usefixtures("senders")
async def test_another_event_with_a_key_of_another_gateway_is_refused(nats_server: NatsServer, queue: Client) -> None:
    async with gateway_at(nats_server.url) as first, gateway_at(nats_server.url) as other:
        assert await sent(first, "k1") == 202
        # Whatever anybody else asks.
        for question in (b"", b"\xff", b"{}", b"[" * 5000):
            await queue.publish(names.SAME_SUBJECT, question)
        # And wherever he wants it to be stored by a sender, which may.
        asked = Question.of(Former(own.EVENTS, 1), "k1", digest_of(EVENT, BODY))
        elsewhere = names.dead_subject("default", "one")
        await queue.publish(names.SAME_SUBJECT, json.dumps(asdict(asked)).encode(), reply=elsewhere)
        deleted = to_text(sample_of(event_named(OTHER_EVENT))).encode()
        assert await sent(other, "k1", OTHER_BODY) == 409
        assert await sent(other, "k1", deleted, OTHER_EVENT) == 409
        assert await sent(other, "k1") == 200
        assert await sent(other, "k1", OTHER_BODY) == 409
        assert (await count(queue, own.EVENTS), await count(queue, own.DEAD)) == (1, 0)


async def test_without_a_sender_nobody_knows_and_it_is_asked_again_when_there_is_one(
    nats_server: NatsServer, queue: Client, tmp_path: Path
) -> None:
    write_book(tmp_path / "book")
    async with gateway_at(nats_server.url) as first, gateway_at(nats_server.url) as other:
        assert await sent(first, "k1") == 202
        assert await sent(other, "k1", OTHER_BODY) == 200
        async with sender(tmp_path / "book", nats_server.url):
            assert await sent(other, "k1", OTHER_BODY) == 409


async def test_a_gateway_that_may_not_ask_takes_it_for_a_repeat_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    permissions = {"publish": {"deny": [names.SAME_SUBJECT]}}
    users = [{"user": "all", "password": "a"}, {"user": "some", "password": "b", "permissions": permissions}]
    async with nats(tmp_path / "nats", port, authorization={"users": users}):
        client = await connect(f"nats://all:a@127.0.0.1:{port}", name="test")
        await ensure(client, Retention())
        await (await Admission.at(client)).store("default", EVENT, BODY, "k1", patience_seconds=5)
        await client.close()
        async with gateway_at(f"nats://some:b@127.0.0.1:{port}") as gateway:
            assert await sent(gateway, "k1", OTHER_BODY) == 200
    assert "does not permit" not in capfd.readouterr().out


@pytest.mark.usefixtures("senders")
@pytest.mark.parametrize(
    ("words", "id_", "said"),
    [((), "one", "another event was published"), (("--lines",), "one-1", "line 1: another event was published")],
)
async def test_the_command_refuses_it_too(
    nats_server: NatsServer, queue: Client, words: tuple[str, ...], id_: str, said: str
) -> None:
    await (await Admission.at(queue)).store("default", EVENT, BODY, id_, patience_seconds=5)
    command = ("publish", EVENT, "-", "--nats", nats_server.url, "--id", "one", *words)
    done = await asyncio.to_thread(hookline, *command, stdin=OTHER_BODY.replace(b"\n", b""))
    assert (done.returncode, done.stdout) == (
        2,
        b"published 0, already there 0, refused 1, for no Webhook\n" if words else b"",
    )
    assert said in done.stderr.decode()
