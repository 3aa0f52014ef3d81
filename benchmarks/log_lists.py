"""(l) Lists out of a large attempts log: how long the index takes to fill, what it needs, how long an answer takes.

The records lie in a stream as senders write them: batches of one Webhook each, what its lines have in common said once.
The log is read by a process of its own, as `hookline api` does.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from benchmarks.child import Child
from benchmarks.figures import Figure, quantile
from benchmarks.processes import cpu_seconds, resident_megabytes
from benchmarks.setting import Setting
from benchmarks.stage import OneServer, say, uid_of

from hookline.api.log import Attempt, Page, Wanted
from hookline.api.queue_log import QueueLog, Source
from hookline.runtime.tasks import cancel
from hookline.stream import names
from hookline.stream.attempt_record import FORMAT, FORMAT_HEADER, SENDER_HEADER, WEBHOOK_HEADER
from hookline.stream.connection import Client, connect
from hookline.stream.streams import LogBounds, ensure_attempts

TENANTS, WEBHOOKS = 100, 1000
BATCH = 64
HEARD_BY = 4
"""Webhooks of a tenant that hear each event, so many records has an event that no call of failed."""

FAILS_EACH = 50
IN_FLIGHT = 500
QUESTIONS = 200
FILL_SECONDS, ASK_SECONDS = 1800.0, 120.0
FOLLOWERS = 100
FOLLOWED_SECONDS = 5
FOLLOWED_RATE = 1000
"""Records a second that are written while FOLLOWERS follow."""

_FIRST = (
    b'{"event_id":"%b","event_type":"IdentityCreated","at_s":%.3f,"attempt":1,"reason":"Delivered","status":200,'
    b'"follows":"Done","url":"https://receiver-%d.example/hooks/hookline","event_seq":%d,"duration_s":0.0213,"phases_s":'
    b'{"first_byte":0.0207},"request_headers":{"content-type":"application/json","user-agent":"Hookline/0.1",'
    b'"webhook-id":true,"webhook-timestamp":"1764500000","webhook-signature":"",'
    b'"hookline-event":"IdentityCreated","hookline-attempt":'
    b'true},"request_bytes":1024,"answer_headers":{"date":"Mon, 30 Nov 2026 12:00:00 GMT","content-length":"2",'
    b'"server":"test"},"answer_bytes":2,"answer":"ok"}'
)
_OTHER = b'{"event_id":"%b","at_s":%.3f,"event_seq":%d,"duration_s":0.0%d}'
_FAILED = (
    b'{"event_id":"%b","at_s":%.3f,"event_seq":%d,"duration_s":0.0%d,"reason":"HTTPStatus","status":503,"follows":"Retry",'
    b'"next_at_s":%.3f,"detail":"the receiver answered 503 Service Unavailable","answer":"try again later"}'
)


def event_id(number: int) -> bytes:
    return b"evt_%032x" % (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)


def batches(count: int) -> Iterator[tuple[int, bytes]]:
    """Webhooks, by their number, each with a batch of records: `count` of these in all."""
    for first in range(0, count, BATCH):
        group, webhook = divmod(first // BATCH, HEARD_BY)
        tenant = group % TENANTS
        number = tenant + TENANTS * ((group // TENANTS * HEARD_BY + webhook) % (WEBHOOKS // TENANTS))
        lines = [_line(number, group * BATCH + at, at) for at in range(min(BATCH, count - first))]
        yield number, b"\n".join(lines)


def _line(webhook: int, event: int, at: int) -> bytes:
    at_s = 1_764_500_000 + event / 1000
    if at == 0:
        return _FIRST % (event_id(event), at_s, webhook, event + 1)
    if event % FAILS_EACH == 0:
        return _FAILED % (event_id(event), at_s, event + 1, event % 90 + 10, at_s + 5)
    return _OTHER % (event_id(event), at_s, event + 1, event % 90 + 10)


async def write(client: Client, some: Iterator[tuple[int, bytes]]) -> None:
    """Store batches as quickly as they are taken."""
    jetstream = client.jetstream(publish_async_max_pending=IN_FLIGHT)
    for number, body in some:
        tenant = f"team-{number % TENANTS}"
        headers = {FORMAT_HEADER: FORMAT, SENDER_HEADER: "sender-1", WEBHOOK_HEADER: f"{tenant}/hook-{number}"}
        subject = names.attempts_subject(tenant, uid_of(f"hook-{number}"))
        await jetstream.publish_async(subject, body, headers=headers, wait_stall=30.0)
    await jetstream.publish_async_completed()


async def measure(setting: Setting) -> list[Figure]:
    count = setting.sizes.records
    folder = setting.folder / "log"
    folder.mkdir()
    server = OneServer(folder, sync_interval="10s")
    await server.start()
    client = await connect(server.url, name="bench")
    try:
        await ensure_attempts(client, LogBounds(bytes=64 * 2**30), now_s=time.time())
        say(f"l: {count:,} records are written")
        await write(client, batches(count))
        with Child("the log's reader", _work, server.url, str(folder / "index"), count) as reader:
            figures = await _measure(setting, client, reader, count)
        with Child("the log's reader", _work, server.url, str(folder / "index"), count) as reader:
            began = time.monotonic()
            await reader.heard(FILL_SECONDS)
            again_s = time.monotonic() - began
        return [*figures, Figure("l.again", "restart with the index that is there", again_s, "s")]
    finally:
        await client.close()
        await server.stop()


async def _measure(setting: Setting, client: Client, reader: Child, count: int) -> list[Figure]:
    began = time.monotonic()
    filling = asyncio.create_task(reader.heard(FILL_SECONDS))
    most = 0.0
    while not filling.done():
        most = max(most, resident_megabytes(reader.pid))
        await asyncio.wait([filling], timeout=0.5)
    filled_s = time.monotonic() - began
    index_mb = filling.result()
    say(f"l: read after {filled_s:.0f} s")
    reader.tell("ask")
    asked: dict[str, list[float]] = await reader.heard(ASK_SECONDS)
    settled = resident_megabytes(reader.pid)
    reader.tell("follow")
    await reader.heard(ASK_SECONDS)
    before = cpu_seconds(reader.pid)
    for number in range(FOLLOWED_SECONDS):
        await write(client, itertools.islice(batches(count + 10**6), number * 16, number * 16 + FOLLOWED_RATE // BATCH))
        await asyncio.sleep(1)
    told = await reader.heard(ASK_SECONDS)
    cpu = (cpu_seconds(reader.pid) - before) / FOLLOWED_SECONDS * 100
    if told != FOLLOWERS:
        setting.remarks.append(f"(l) only {told} of {FOLLOWERS} followers were told of all.")
    quick = [(key, title) for key, title in _TITLES.items() if key in asked]
    return [
        Figure("l.records", "records", count),
        Figure("l.fill", "until all are read and indexed", filled_s, "s"),
        Figure("l.rate", "  records a second", count / filled_s, "/s"),
        Figure("l.disk", "index on disk, for a million records", index_mb / count * 1e6, "MB"),
        Figure("l.peak", "memory while it is filled, at most", most, "MB", at_most=512),
        Figure("l.memory", "memory after the questions", settled, "MB", at_most=256),
        *(
            Figure(f"l.{key}", title, max(asked[key]) * 1000, "ms", at_most=500 if key in _PROMISED else None)
            for key, title in quick
        ),
        *(Figure(f"l.{key}.p50", f"{title}, p50", quantile(asked[key], 0.5) * 1000, "ms") for key, title in quick),
        Figure(
            "l.follow", f"CPU with {FOLLOWERS} followers and {FOLLOWED_RATE:,} records a second", cpu, "% of a core"
        ),
    ]


_PROMISED = ("webhook", "event", "get")
_TITLES = {
    "webhook": "newest 100 of a Webhook, the slowest of 200",
    "event": "all of an event",
    "get": "one, whole",
    "namespace": "newest 100 of a namespace",
    "failed": "newest 100 of a Webhook with a reason",
    "status": "newest 100 of a namespace with a status",
    "type": "a type that there is not: one part of the list",
    "all": "newest 500 of all",
}


def _work(pipe: Connection, url: str, folder: str, count: int) -> None:
    uvloop.run(_serve(pipe, url, Path(folder), count))


async def _serve(pipe: Connection, url: str, folder: Path, count: int) -> None:
    client = await connect(url, name="bench")
    log = QueueLog([Source("default", client, folder)])
    running = asyncio.create_task(log.run())
    while not log.is_ready:
        await asyncio.wait([running], timeout=0.05)
        if running.done():
            running.result()
    pipe.send(sum(each.stat().st_size for each in folder.iterdir()) / 1e6)
    while (word := await asyncio.to_thread(pipe.recv)) != "end":
        pipe.send(await _asked(log, count) if word == "ask" else "ready")
        if word == "follow":
            version = (await log.attempts("", Wanted(), limit=1)).version
            followers = [_told(log, f"team-{number % TENANTS}", version) for number in range(FOLLOWERS)]
            pipe.send(sum(await asyncio.gather(*followers)))
    await cancel([running])


async def _told(log: QueueLog, namespace: str, version: str) -> int:
    """1 when it was told of something, or there was nothing for its namespace."""
    attempts: AsyncIterator[Attempt] = log.follow_attempts(namespace, Wanted(), version)
    try:
        async with asyncio.timeout(FOLLOWED_SECONDS + 3):
            async for _ in attempts:
                pass
    except TimeoutError:
        return 1
    return 0


async def _asked(log: QueueLog, count: int) -> dict[str, list[float]]:
    chance, events = random.Random(1), max(1, count // HEARD_BY)
    found: dict[str, list[float]] = {}

    async def timed(key: str, namespace: str, wanted: Wanted, limit: int = 100) -> Page[Attempt]:
        began = time.perf_counter()
        page = await log.attempts(namespace, wanted, limit=limit)
        found.setdefault(key, []).append(time.perf_counter() - began)
        return page

    for _ in range(QUESTIONS):
        number, event = chance.randrange(WEBHOOKS), chance.randrange(events)
        namespace, webhook = f"team-{number % TENANTS}", f"hook-{number}"
        page = await timed("webhook", namespace, Wanted(webhook=webhook))
        if page.items:
            began = time.perf_counter()
            await log.attempt(namespace, chance.choice(page.items).name)
            found.setdefault("get", []).append(time.perf_counter() - began)
        of_event = f"team-{event // BATCH % TENANTS}"
        await timed("event", of_event, Wanted(event_id=event_id(event).decode()))
        await timed("namespace", namespace, Wanted())
        await timed("failed", namespace, Wanted(webhook=webhook, reason="HTTPStatus"))
        await timed("status", namespace, Wanted(status="503"))
    for _ in range(QUESTIONS // 10):
        await timed("type", f"team-{chance.randrange(TENANTS)}", Wanted(event_type="NoSuchType"))
        await timed("all", "", Wanted(), 500)
    return found
