"""The attempts log beside deliveries: it has each call, holds no secret, and whatever happens to it they go on."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trustme
from nats.js.errors import NotFoundError

from controlplane.ports import free_port
from doubles import own
from doubles.command import HOOKLINE
from doubles.local import (
    Running,
    hook,
    publish,
    receiver_of,
    sender,
    until,
    until_stored,
    write_book,
)
from doubles.nats import Accounts, nats
from doubles.raw_receiver import Line, RawReceiver
from doubles.waiting import eventually, until_it_is
from hookline.delivery.policy.retry import Reason
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import DispatcherRecord, Keys, Route, book_of
from hookline.stream import names
from hookline.stream.attempt_record import AttemptRecord, decode, decode_unheard
from hookline.stream.connection import Client, connect
from hookline.stream.permissions import RIGHTS, Role


async def stored(client: Client) -> list[tuple[str, dict[str, str], bytes]]:
    """What the stream holds."""
    js = client.jetstream()
    try:
        state = (await js.stream_info(names.ATTEMPTS)).state
    except NotFoundError:
        return []
    places = range(max(1, state.first_seq), state.last_seq + 1)
    messages = [await js.get_msg(names.ATTEMPTS, seq) for seq in places]
    return [(each.subject or "", each.headers or {}, each.data or b"") for each in messages]


async def written(client: Client) -> list[AttemptRecord]:
    return [record for subject, _, body in await stored(client) if "_unheard" not in subject for record in decode(body)]


def of_metrics(running: Running, name: str) -> float:
    lines = running.pod.metrics.text().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def logged(running: Running) -> float:
    return of_metrics(running, "hookline_attempts_log_written_total")


def lost(running: Running, why: str = "") -> float:
    name = "hookline_attempts_log_lost_total"
    return of_metrics(running, f'{name}{{reason="{why}"}}' if why else name)


async def test_each_call_is_in_the_log_and_in_the_metric_and_nothing_is_lost(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver, receiver_of(calls, Answer(503), Answer(200)) as flaky:
        entries = [hook(f"hook-{number}", receiver) for number in range(3)]
        write_book(tmp_path / "book", *entries, hook("flaky", flaky, event="Flaky", schedule_seconds=(0,)))
        async with sender(tmp_path / "book", nats_server.url) as running:
            ids = [*await publish(client, 100), *await publish(client, 1, event="Flaky")]
            await publish(client, 3, event="NobodyHears")
            await until(lambda: sum(1 for each in running.attempts if each.outcome.status == 200) == 301)
            await until_stored(client, own.DELIVERIES, 0)
        records = await written(client)
        messages = await stored(client)
    assert len(records) == len(calls) == len(running.attempts) == logged(running)
    assert of_metrics(running, "hookline_attempts_total") == logged(running)
    assert lost(running) == 0
    assert Counter(each.event_id for each in records) == Counter(call.webhook_id for call in calls)
    assert {each.event_id for each in records} == set(ids)
    failed = next(each for each in records if each.status == 503)
    assert (failed.reason, failed.attempt, failed.follows) == (Reason.HTTP_STATUS, 1, "Retry")
    assert failed.next_at_s is not None
    assert failed.next_at_s >= failed.at_s
    done = next(each for each in records if each.event_id == ids[0])
    assert (done.reason, done.follows, done.next_at_s, done.request_bytes) == ("Delivered", "Done", None, 2)
    assert (done.url.rpartition("/")[0], done.event_type) == (receiver.url, "IdentityCreated")
    assert {"webhook-id", "webhook-timestamp", "webhook-signature", "hookline-attempt"} <= done.request_headers.keys()
    assert done.request_headers["webhook-signature"] == ""
    assert done.request_headers["webhook-id"] == done.event_id
    assert set(records[0].phases_s) == {"lookup", "connect", "tls", "first_byte"}
    assert sum(records[0].phases_s.values()) <= records[0].duration_s + 0.001
    assert {tuple(each.phases_s) for each in records[50:]} >= {("first_byte",)}
    titles = {headers.get("Hookline-Webhook") for subject, headers, _ in messages if "_unheard" not in subject}
    assert titles == {"default/flaky", *(f"default/hook-{number}" for number in range(3))}
    unheard = [each for subject, _, body in messages if "_unheard" in subject for each in decode_unheard(body)]
    assert [(each.event_type, each.count) for each in unheard] == [("NobodyHears", 3)]


SECRETS = {
    "query": "token=canary-in-query-93f1",
    "header": "Bearer canary-in-header-7be2",
    "signing": "whsec_" + "Q2FuYXJ5" * 5,
}


async def echo(line: Line) -> None:
    """Says all that it heard: plain, in base64, in a header, as the name of one, and in the middle of a word."""
    while (heard := await line.hear()) is not None:
        said = (heard.head + SECRETS["signing"].encode()).replace(b"\r\n", b" | ")
        body = b'{"you": "' + said + b'", "64": "' + base64.b64encode(said) + b'"}'
        head = [
            b"HTTP/1.1 500 No",
            b"content-length: %d" % len(body),
            b"x-echo: " + said,
            b"x-name-canary-in-header-7be2: 1",
            b"Set-Cookie: session=of-the-receiver-4411",
            b"X-Api-Token: of-the-receiver-4412",
            b"Location: https://user:of-the-receiver-4413@b.example/x?sig=of-the-receiver-4414#f",
            b"x-bytes: \xff\x1b[31m\x00",
            b"Server: nginx",
        ]
        await line.say(b"\r\n".join(head) + b"\r\n\r\n" + body)


async def test_no_secret_is_in_the_log_whatever_a_receiver_answers(
    tmp_path: Path, nats_server: NatsServer, client: Client, tls: ssl.SSLContext, ca: trustme.CA
) -> None:
    async with RawReceiver(tls, echo) as receiver:
        async with receiver_of([]) as any_receiver:
            route, _ = hook("one", any_receiver, url=f"https://127.0.0.1:{receiver.port}/hook", schedule_seconds=())
        keys = Keys(
            uid=route.uid,
            query=SECRETS["query"],
            signing=SECRETS["signing"],
            headers=(("Authorization", SECRETS["header"]),),
            ca_pem=ca.cert_pem.bytes().decode(),
        )
        write_book(tmp_path / "book", (route, keys))
        async with sender(tmp_path / "book", nats_server.url):
            await publish(client, 3, body=b'{"canary": "in-body-551"}')
            await until(lambda: len(receiver.heard) == 3)
        messages = await stored(client)
        (first, *_) = await written(client)
    raw = b"\n".join(body + str(headers).encode() + subject.encode() for subject, headers, body in messages)
    for word in ("canary-in", "in-query", "in-header", "Q2FuYXJ5", "in-body", "of-the-receiver"):
        assert word.encode() not in raw
        # As it stands in base64 behind any number of bytes, without what hangs on its neighbours.
        for before in range(3):
            coded = base64.b64encode(bytes(before) + word.encode())[2 + before : -4]
            assert len(coded) < 6 or coded not in raw
    assert first.url == f"https://127.0.0.1:{receiver.port}/hook"
    assert first.request_headers["Authorization"] == ""
    assert first.answer_headers["server"] == "nginx"
    assert first.answer_headers["location"] == "https://b.example/x"
    assert first.answer_headers["set-cookie"] == ""
    assert first.answer_headers["x-bytes"].isprintable()
    assert b"[redacted]" in first.answer


async def test_what_fails_is_told_with_how_far_it_came(tmp_path: Path, nats_server: NatsServer, client: Client) -> None:
    async with receiver_of([]) as receiver:
        route, keys = hook("one", receiver, schedule_seconds=())
    write_book(tmp_path / "book", (route, keys))  # whose receiver is gone
    async with sender(tmp_path / "book", nats_server.url) as running:
        await publish(client)
        await until(lambda: len(running.attempts) == 1)
    (record,) = await written(client)
    assert (record.reason, record.status, record.follows) == ("ConnectionRefused", None, "Dead")
    assert record.answer_headers == {}
    assert set(record.phases_s) == {"lookup", "connect"}


async def foreign(client: Client) -> str:
    await client.jetstream().add_stream(name=names.ATTEMPTS, subjects=["of.another.application"])
    return "Foreign"


async def taken(client: Client) -> str:
    await client.jetstream().add_stream(name="OTHER", subjects=["hookline.attempts.>"])
    return "Foreign"


@pytest.mark.parametrize("obstacle", [foreign, taken])
async def test_a_stream_of_another_application_costs_the_log_and_no_delivery(
    tmp_path: Path, nats_server: NatsServer, client: Client, obstacle: Callable[[Client], object]
) -> None:
    why = await obstacle(client)  # type: ignore[misc]
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client, 100)
            await until(lambda: len(calls) == 100)
            await until(lambda: lost(running, why) == 100)
            assert running.pod.unready() is None
    assert (len(calls), logged(running)) == (100, 0)


async def test_a_user_without_a_right_to_it_costs_the_log_and_no_delivery(tmp_path: Path) -> None:
    """As one that was made for a version before."""
    accounts, port = Accounts(), free_port()
    may = RIGHTS[Role.SENDER]
    before = [each for each in may.publish if not names.is_attempts(each)]
    assert len(before) == len(may.publish) - 1
    for name, rights in (("sender", (before, may.subscribe)), ("all", ((">",), (">",)))):
        (tmp_path / name).write_text(accounts.credentials(publish=rights[0], subscribe=rights[1]))
    calls: list[ReceivedCall] = []
    async with nats(tmp_path / "nats", port, **accounts.settings()), receiver_of(calls) as receiver:
        url = f"nats://127.0.0.1:{port}"
        write_book(tmp_path / "book", *(hook(f"hook-{number}", receiver) for number in range(4)))
        async with sender(tmp_path / "book", url, credentials=tmp_path / "sender") as running:
            client = await connect(url, name="test", credentials=tmp_path / "all")
            await publish(client, 50)
            await until(lambda: len(calls) == 200)
            await until(lambda: lost(running, "Denied") == 200)
            assert running.pod.unready() is None
            await client.close()
    assert (len(calls), logged(running)) == (200, 0)


async def test_what_a_restart_of_nats_takes_with_it_is_repeated_or_counted(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url, patient=True) as running:
            publishing = asyncio.create_task(publish(client, 200))
            await until(lambda: len(calls) > 40)
            await killed_and_back(nats_server)
            ids = await publishing
            await until(lambda: {call.webhook_id for call in calls} == set(ids), seconds=60)
            await until(lambda: logged(running) + lost(running) == len(running.attempts))
        records = await written(client)
    missing = Counter(each.delivery.event.id for each in running.attempts) - Counter(each.event_id for each in records)
    assert missing.total() <= lost(running)


async def test_a_sender_that_is_killed_loses_no_line_but_of_its_last_moment(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", *(hook(f"hook-{number}", receiver) for number in range(2)))
        words = ["sender", "--book", str(tmp_path / "book"), "--nats", nats_server.url, "--listen", "127.0.0.1:0"]
        process = await asyncio.create_subprocess_exec(HOOKLINE, *words, stderr=DEVNULL, stdout=DEVNULL)
        try:
            before = await publish(client, 40)
            await until(lambda: len(calls) == 80)
            await until_it_is(lambda: written(client), lambda there: len(there) == 80, what=lambda: "the log of 80")
            publishing = asyncio.create_task(publish(client, 100))
            await until(lambda: len(calls) > 100)
        finally:
            process.kill()
            await process.wait()
        async with sender(tmp_path / "book", nats_server.url):
            late = await publishing
            await until(lambda: len({(call.path_and_query, call.webhook_id) for call in calls}) == 280, seconds=60)
            await until_stored(client, own.DELIVERIES, 0)
    logged_, called = (
        Counter(each.event_id for each in await written(client)),
        Counter(call.webhook_id for call in calls),
    )
    assert logged_ <= called
    assert all(logged_[each] == called[each] for each in before)
    assert set((called - logged_).keys()) <= set(late)


@pytest.mark.parametrize(("room", "kept"), [(100_000_000, 2**24), (3_000_000, 0)])
async def test_where_nats_has_little_room_the_log_takes_a_part_of_it_or_none(
    tmp_path: Path, room: int, kept: int
) -> None:
    port, calls = free_port(), list[ReceivedCall]()
    store = {"store_dir": str(tmp_path / "nats"), "max_file_store": room}
    async with nats(tmp_path / "nats", port, jetstream=store), receiver_of(calls) as receiver:
        url = f"nats://127.0.0.1:{port}"
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", url) as running:
            client = await connect(url, name="test")
            await publish(client, 50)
            await until(lambda: len(calls) == 50)
            await until(lambda: (logged(running) if kept else lost(running, "Refused")) == 50)
            assert running.pod.unready() is None
            if kept:
                assert (await client.jetstream().stream_info(names.ATTEMPTS)).config.max_bytes == kept
                running.pod._attempts_log.reconnected()
                await publish(client, 1)
                await until(lambda: logged(running) == 51)
                assert (await client.jetstream().stream_info(names.ATTEMPTS)).config.max_bytes == kept
            await client.close()


async def killed_and_back(server: NatsServer) -> None:
    process = server._process
    assert process is not None
    process.kill()
    await process.wait()
    await server._spawn()


async def since(client: Client) -> str:
    """What the log says of since when no lines are missing."""
    metadata = (await client.jetstream().stream_info(names.ATTEMPTS)).config.metadata or {}
    return metadata.get(names.LOG_WHOLE_SINCE, "")


async def is_since(client: Client, is_meant: Callable[[str], bool]) -> bool:
    return is_meant(await since(client))


async def test_it_can_be_turned_off_and_on_and_changed_while_a_sender_runs(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []

    def write(entry: tuple[Route, Keys], **log: object) -> None:
        record = DispatcherRecord.model_validate({"allow_cidrs": ("127.0.0.0/8",), **log})
        book_folder.write(book_of([entry], record), tmp_path / "book")

    async with receiver_of(calls) as receiver:
        entry = hook("one", receiver)
        write(entry, attempts_enabled=False)
        async with sender(tmp_path / "book", nats_server.url) as running:
            await publish(client, 5)
            await until(lambda: len(calls) == 5)
            write(entry, attempts_seconds=3600, attempts_bytes=2**26)
            await until_stored(client, names.ATTEMPTS, 0)
            await publish(client, 5)
            await until(lambda: logged(running) == 5)
            assert await since(client) == ""
            write(entry, attempts_enabled=False)
            await eventually(partial(is_since, client, lambda said: said == names.LOG_OFF), what=lambda: "it is off")
            off_s = time.time()
            write(entry, attempts_seconds=3600, attempts_bytes=2**26)
            await eventually(partial(is_since, client, lambda said: said != names.LOG_OFF), what=lambda: "it is on")
            assert off_s - 1 < float(await since(client)) < time.time() + 1
        config = (await client.jetstream().stream_info(names.ATTEMPTS)).config
    assert (config.max_age, config.max_bytes, config.max_msgs_per_subject) == (3600, 2**26, 1024)
    assert len(await written(client)) == 5
    assert lost(running) == 0
