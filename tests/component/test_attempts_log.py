"""The attempts log beside deliveries: it has each call, holds no secret, and whatever happens to it they go on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trustme

from controlplane.ports import free_port
from doubles import own
from doubles.command import HOOKLINE
from doubles.disk import full
from doubles.local import (
    Running,
    hook,
    logged_calls,
    logged_messages,
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
from hookline.delivery import attempts_log
from hookline.delivery.policy.retry import Reason
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer
from hookline.local.receiver import Answer, ReceivedCall
from hookline.routing.routes import DispatcherRecord, Keys, Route, book_of
from hookline.stream import attempts_log as stream_attempts_log
from hookline.stream import names
from hookline.stream.api import api
from hookline.stream.attempt_record import decode_unheard
from hookline.stream.attempts_log import AttemptsStream, NotStored
from hookline.stream.connection import Client, StreamUnavailable, connect
from hookline.stream.owner import Installation, Mark
from hookline.stream.permissions import RIGHTS, Role
from hookline.stream.publish import OutOfRoom, Publisher
from hookline.stream.streams import LogBounds


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
        records = await logged_calls(client)
        messages = await logged_messages(client)
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
        messages = await logged_messages(client)
        (first, *_) = await logged_calls(client)
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
    (record,) = await logged_calls(client)
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
        records = await logged_calls(client)
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
            await until_it_is(
                lambda: logged_calls(client), lambda there: len(there) == 80, what=lambda: "the log of 80"
            )
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
        Counter(each.event_id for each in await logged_calls(client)),
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


async def quotes(line: Line) -> None:
    """Each takes two bytes in the log, so that a batch is larger than it seems."""
    while await line.hear() is not None:
        await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 12000\r\n\r\n" + b'"' * 12_000)


async def test_a_log_of_a_nats_that_takes_only_small_messages_has_each_call_and_breaks_no_connection(
    tmp_path: Path, tls: ssl.SSLContext, ca: trustme.CA
) -> None:
    port = free_port()
    async with nats(tmp_path / "nats", port, max_payload=28_000), RawReceiver(tls, quotes) as receiver:
        async with receiver_of([]) as any_receiver:
            url = f"https://127.0.0.1:{receiver.port}/hook"
            route, _ = hook("one", any_receiver, url=url, schedule_seconds=())
        keys = Keys(uid=route.uid, signing=SECRETS["signing"], ca_pem=ca.cert_pem.bytes().decode())
        write_book(tmp_path / "book", (route, keys))
        queue = f"nats://127.0.0.1:{port}"
        async with sender(tmp_path / "book", queue) as running:
            client = await connect(queue, name="test")
            await publish(client, 20)
            await until(lambda: logged(running) == 20)
            assert running.pod._client is not None
            assert running.pod._client.stats["reconnects"] == 0
            records = await logged_calls(client)
            await client.close()
    assert (len(records), lost(running)) == (20, 0)
    assert {len(each.answer) for each in records} == {12_000}


async def test_a_batch_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    """nats-server counts headers, which its client does not, and ends the connection of whoever sends too much."""
    port = free_port()
    async with nats(tmp_path / "nats", port, max_payload=28_000):
        client = await connect(f"nats://127.0.0.1:{port}", name="test")
        stream, subject = AttemptsStream(client), names.attempts_subject("default", "u1")
        await stream.ensure(LogBounds(), replicas=1, owner=Mark("id", "name", "1"), now_s=0, has_gap=False)
        for size in (27_990, 28_001):
            with pytest.raises(NotStored, match="max_payload"):
                await stream.store(subject, bytes(size), once=str(size), sender="one", webhook="default/one")
        await stream.store(subject, bytes(stream.most_bytes), once="fits", sender="one", webhook="default/one")
        assert client.is_connected
        await client.close()


async def test_senders_that_make_the_log_at_once_are_never_told_that_they_may_not(tmp_path: Path) -> None:
    """With little room each finds out how much there is, by setting it."""
    port, mark = free_port(), Mark("id", "name", "1")
    store = {"store_dir": str(tmp_path / "nats"), "max_file_store": 100_000_000}
    async with nats(tmp_path / "nats", port, jetstream=store):
        clients = [await connect(f"nats://127.0.0.1:{port}", name="test") for _ in range(3)]

        async def ensured(client: Client, bounds: LogBounds) -> int:
            stream = AttemptsStream(client)
            while True:
                with contextlib.suppress(StreamUnavailable):
                    return (await stream.ensure(bounds, replicas=1, owner=mark, now_s=0, has_gap=False))[0]

        for _ in range(15):
            for first in (LogBounds(), LogBounds(3600, 2**26)):
                wanted = (first, LogBounds(), LogBounds())
                await asyncio.gather(*map(ensured, clients, wanted))
                # As they do once all have the settings of one route book.
                sizes = [await ensured(client, LogBounds()) for client in clients]
                config = (await clients[0].jetstream().stream_info(names.ATTEMPTS)).config
                assert [config.max_bytes] * 3 == sizes
                assert 2**22 <= sizes[0] <= 2**26
                assert config.max_age == LogBounds().seconds
                await clients[0].jetstream().delete_stream(names.ATTEMPTS)
        for each in clients:
            await each.close()


async def update(client: Client, **changes: object) -> None:
    config = (await api(client, f"STREAM.INFO.{names.ATTEMPTS}"))["config"]
    answer = await api(client, f"STREAM.UPDATE.{names.ATTEMPTS}", **{**config, **changes})
    assert "error" not in answer


async def made_by(client: Client, subject: str) -> None:
    await client.jetstream().delete_stream(names.ATTEMPTS)
    await client.jetstream().add_stream(name=names.ATTEMPTS, subjects=[subject])


OURS = Installation("ours", "team-a/default")


@dataclass(frozen=True)
class Meddling:
    """What an administrator does to the stream, and what lines are then lost for."""

    what: str
    do: Callable[[Client], Awaitable[object]]
    loses: str = ""


MEDDLINGS = (
    Meddling("deleted", lambda client: client.jetstream().delete_stream(names.ATTEMPTS)),
    Meddling("purged", lambda client: client.jetstream().purge_stream(names.ATTEMPTS)),
    Meddling("other subjects", lambda client: update(client, subjects=["of.others"])),
    Meddling("tiny messages", lambda client: update(client, max_msg_size=10), "Refused"),
    Meddling("made by hand", lambda client: made_by(client, names.ATTEMPTS_SUBJECTS)),
    Meddling("sealed", lambda client: update(client, sealed=True), "Refused"),
    Meddling("of another application", lambda client: made_by(client, "of.others"), "Foreign"),
)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second is waited for."""
    waits = {"LOOK": 0.05, "FLUSH": 0.1, "PAUSE": 0.2, "SURE": 0.2, "AGAIN": 0.3, "CLOSED": 0.3}
    for name, seconds in waits.items():
        monkeypatch.setattr(attempts_log, f"{name}_SECONDS", seconds)


@pytest.mark.usefixtures("hurried")
async def test_whatever_an_administrator_does_to_the_stream_deliveries_go_on_and_each_line_is_written_or_counted(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    calls: list[ReceivedCall] = []
    async with receiver_of(calls) as receiver:
        write_book(tmp_path / "book", hook("one", receiver))
        async with sender(tmp_path / "book", nats_server.url, installation=OURS) as running:

            async def counted(count: int) -> None:
                wanted = len(calls) + count
                await publish(client, count)
                await until(lambda: len(calls) == wanted)
                await until(lambda: logged(running) + lost(running) == wanted == len(running.attempts))

            async def is_logged() -> bool:
                before = logged(running)
                await counted(1)
                return logged(running) > before

            await counted(1)
            for each in MEDDLINGS:
                before, of_this = lost(running), lost(running, each.loses) if each.loses else 0
                await each.do(client)
                await counted(50)
                assert bool(lost(running) - before) == bool(each.loses), each
                assert not each.loses or lost(running, each.loses) - of_this == lost(running) - before
                if each.what in ("sealed", "of another application"):
                    await client.jetstream().delete_stream(names.ATTEMPTS)
                await eventually(is_logged, seconds=20, what=lambda each=each: each.what)  # type: ignore[misc]
                last = running.attempts[-1].delivery.event.id
                assert last in {each.event_id for each in await logged_calls(client)}
            assert running.pod.unready() is None


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
    assert len(await logged_calls(client)) == 5
    assert lost(running) == 0


@pytest.mark.usefixtures("hurried")
async def test_a_log_whose_disk_was_full_has_all_that_is_not_counted_once_nats_was_started_again(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-server confirms a batch before it writes it, and takes nothing more after an error of its disk."""
    monkeypatch.setattr(stream_attempts_log, "ACK_SECONDS", 1.0)
    (small_disk / "data").mkdir()
    server, calls = NatsServer(small_disk / "data"), list[ReceivedCall]()
    await server.start()
    try:
        async with receiver_of(calls, delay_seconds=0.4) as receiver:
            write_book(tmp_path / "book", hook("one", receiver, max_concurrency=100))
            client = await connect(server.url, name="test")
            async with sender(tmp_path / "book", server.url, patient=True) as running:
                await publish(client, 20)
                await until(lambda: logged(running) == 20)
                await publish(client, 40)
                with full(small_disk):
                    await until(lambda: len(running.attempts) == 60)
                    await asyncio.sleep(2)
                assert running.pod.unready() is None
                # The streams of events met no error.
                await publish(client, 20)
                await until(lambda: len(running.attempts) == 80)
                assert logged(running) < 80
                await killed_and_back(server)
                await until(lambda: logged(running) + lost(running) == 80)
            records = await logged_calls(client)
            await client.close()
    finally:
        await server.stop()
    assert (len(calls), lost(running)) == (80, 0)
    in_log, called = Counter(each.event_id for each in records), Counter(call.webhook_id for call in calls)
    assert (in_log - called, called - in_log) == (Counter(), Counter())


@pytest.mark.usefixtures("hurried")
async def test_the_log_gives_its_older_half_to_events_where_nats_has_reached_its_bound(tmp_path: Path) -> None:
    port, calls = free_port(), list[ReceivedCall]()
    store = {"store_dir": str(tmp_path / "nats"), "max_file_store": 2**25}
    async with nats(tmp_path / "nats", port, jetstream=store), receiver_of(calls, delay_seconds=2) as receiver:
        url = f"nats://127.0.0.1:{port}"
        write_book(tmp_path / "book", hook("one", receiver))
        client = await connect(url, name="test")
        subject, stream = names.attempts_subject("default", "u1"), AttemptsStream(client)
        await stream.ensure(LogBounds(bytes=2**24), replicas=1, owner=Mark("", "", ""), now_s=0, has_gap=False)
        for number in range(256):
            await stream.store(subject, bytes(30_000), once=f"before-{number}", sender="one")
        async with sender(tmp_path / "book", url) as running:
            publisher, event = Publisher(client), names.event_subject("other", "NobodyHears")
            await publish(client, 10)

            async def fill() -> None:
                for number in range(1000):
                    await publisher.store(event, bytes(200_000), once=f"event-{number}")

            with pytest.raises(OutOfRoom):
                await fill()
            # Written once the calls end: these lines are refused.
            await until(lambda: lost(running, "Refused") == 10)

            async def is_taken() -> bool:
                with contextlib.suppress(OutOfRoom):
                    await publisher.store(event, bytes(200_000), once="one-more")
                    return True
                return False

            await eventually(is_taken, seconds=10)
            await publish(client, 10)
            await until(lambda: logged(running) == 10)
            assert (len(running.attempts), lost(running)) == (20, 10)
            assert 120 <= (await client.jetstream().stream_info(names.ATTEMPTS)).state.messages <= 140
            await client.close()
