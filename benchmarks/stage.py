"""What the delivery benchmarks run on: nats-servers of their own, senders as a pod starts them, and a route book.

    publish -> nats-server -> sender -> TLS receiver

Starts and ends processes by their pid. Measures nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.engines import PRESENT, Engine
from benchmarks.processes import cpu_seconds
from benchmarks.receiver import Receiver, event_id

from hookline.events import envelope
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer
from hookline.routing.routes import DispatcherRecord, Keys, Route, RouteState, book_of
from hookline.stream import names
from hookline.stream.connection import Client, QueueUnusable, StreamUnavailable, connect
from hookline.stream.publish import LARGE_BYTES, Publisher
from hookline.stream.streams import Retention, ensure

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
BODY = json.dumps({"data": "x" * 1010}).encode()
TENANT = "bench"
READY_SECONDS = 60.0
IN_FLIGHT = 500
"""Events that a publisher has under way at once where it publishes as fast as it can."""

Entry = tuple[Route, Keys]


class Failed(Exception):
    """A measurement could not be made; the message says which and why."""


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def uid_of(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def webhook(name: str, url: str, ca: str, **changes: Any) -> Entry:
    """A Webhook that hears the event of its own name, with the defaults of the resource unless changed."""
    fields: dict[str, Any] = {
        "uid": uid_of(name),
        "namespace": TENANT,
        "name": name,
        "generation": 1,
        "state": RouteState.ACTIVE,
        "event": name,
        "url": url,
        "timeout_seconds": 15,
        "schedule_seconds": (5, 300, 1800),
        "max_concurrency": 10,
    }
    return Route(**{**fields, **changes}), Keys(uid=uid_of(name), signing=SECRET, ca_pem=ca)


def healthy(receiver: Receiver, count: int, group: str = "ok", **changes: Any) -> list[Entry]:
    """`count` Webhooks `ok-0`, `ok-1`, … that the receiver answers."""
    names_ = (f"{group}-{number}" for number in range(count))
    return [webhook(name, receiver.url(f"{group}/{name}"), receiver.ca, **changes) for name in names_]


@dataclass
class Sender:
    """One `hookline sender` process."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def page(self, path: str) -> str | None:
        """What it answers, None while it does not."""
        with contextlib.suppress(OSError, StopIteration, ValueError):
            with self.log.open() as lines:
                port = next(json.loads(line)["port"] for line in lines if '"port"' in line)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                return str(answer.read().decode())
        return None

    def check(self) -> None:
        if self.process.poll() is not None:
            raise Failed(f"the sender ended: {self.log.read_text()[-1000:]}")

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As a kubelet does."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


class Server(Protocol):
    """The nats-server of a stage, or several that are one queue."""

    url: str

    @property
    def pids(self) -> Sequence[int]: ...

    async def start(self) -> str: ...

    async def stop(self) -> None: ...


class OneServer(NatsServer):
    """As `hookline run` starts it."""

    @property
    def pids(self) -> Sequence[int]:
        assert self.pid is not None
        return [self.pid]


@dataclass
class Producer:
    """Whoever publishes to a queue."""

    client: Client
    publisher: Publisher
    engine: Engine
    """Of the queue's senders."""

    async def publish(self, name: str, run: str, number: int, due_ns: int, body: bytes = BODY) -> None:
        """One event for the Webhook `name` of TENANT, or `tenant/name`. Raises StreamUnavailable, StreamRefused."""
        tenant, _, event = name.rpartition("/")
        id_ = event_id(run, number, due_ns)
        is_large = len(body) > LARGE_BYTES and self.engine == PRESENT
        subject = (names.large_subject if is_large else names.event_subject)(tenant or TENANT, event)
        try:
            await self.publisher.store(subject, body, {envelope.ID_HEADER: id_}, once=id_)
        except QueueUnusable:
            # A former engine may have another name for the stream of events, which has stored this one all the same.
            if self.engine == PRESENT:
                raise


@dataclass
class Stage(Producer):
    """One queue with its book and senders."""

    data: Path
    receiver: Receiver
    server: Server
    copies: int = 1
    """Of each stream."""
    log: bool = True
    """Whether senders write the attempts log."""
    senders: list[Sender] = field(default_factory=list)
    _started: int = 0

    @property
    def book(self) -> Path:
        return self.data / "book"

    @property
    def queue_pid(self) -> int:
        """Of the only server, or of the first."""
        return self.server.pids[0]

    def write_book(self, entries: Iterable[Entry]) -> None:
        book_folder.write(book_of(entries, _dispatcher(self.copies, self.log)), self.book)

    async def add_sender(self) -> Sender:
        """One more, ready."""
        self._started += 1
        log = self.data / f"sender-{self._started}.log"
        words = ["sender", "--book", str(self.book), "--nats", self.server.url, "--listen", "127.0.0.1:0"]
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", "hookline.cli.main", *words, "--grace-seconds", "3"],
                stdout=out,
                stderr=out,
                env=self.engine.environment(),
            )
        sender = Sender(process, log)
        self.senders.append(sender)
        deadline = time.monotonic() + READY_SECONDS
        while await asyncio.to_thread(sender.page, "/readyz") is None:
            sender.check()
            if time.monotonic() > deadline:
                raise Failed(f"a sender was not ready within {READY_SECONDS:g} s: {log.read_text()[-1000:]}")
            await asyncio.sleep(0.05)
        return sender

    async def end_sender(self, sender: Sender) -> None:
        self.senders.remove(sender)
        await asyncio.to_thread(sender.stop)

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of all senders, and of all nats-servers."""
        return sum(cpu_seconds(each.pid) for each in self.senders), sum(map(cpu_seconds, self.server.pids))


@contextlib.asynccontextmanager
async def stage(
    data: Path,
    receiver: Receiver,
    entries: Iterable[Entry],
    *,
    sync_interval: str = "always",
    senders: int = 1,
    engine: Engine = PRESENT,
    server: Server | None = None,
    copies: int = 1,
    log: bool = True,
) -> AsyncIterator[Stage]:
    """All of it, set up in a folder, and ended whatever happens.

    A `server` that is given has an interval of its own. Streams of a former engine are made by its first sender.
    """
    data.mkdir(parents=True, exist_ok=True)
    server = server or OneServer(data, sync_interval=sync_interval)
    try:
        async with producer(await server.start(), engine) as by:
            if engine is PRESENT:
                await ensure(by.client, Retention(), replicas=copies, take_large=True)
            on = Stage(by.client, by.publisher, engine, data, receiver, server, copies, log)
            on.write_book(entries)
            try:
                for _ in range(senders):
                    await on.add_sender()
                yield on
            finally:
                await asyncio.gather(*(asyncio.to_thread(each.stop) for each in on.senders))
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def producer(url: str, engine: Engine = PRESENT) -> AsyncIterator[Producer]:
    """A connection to publish over."""
    client = await connect(url, name="bench", connect_seconds=30)
    try:
        yield Producer(client, Publisher(client), engine)
    finally:
        with contextlib.suppress(StreamUnavailable, TimeoutError):
            await asyncio.wait_for(client.close(), 5)


async def until(what: Callable[[], bool], limit_seconds: float, title: str) -> None:
    """Wait until it is so. Raises Failed."""
    deadline = time.monotonic() + limit_seconds
    while not what():
        if time.monotonic() > deadline:
            raise Failed(f"not within {limit_seconds:g} s: {title}")
        await asyncio.sleep(0.02)


def _dispatcher(copies: int, log: bool) -> DispatcherRecord:
    """Everything on loopback may be called: receivers share this machine's addresses."""
    wanted: dict[str, Any] = {"allow_cidrs": ("127.0.0.0/8",), "allow_own": True, "stream_replicas": copies}
    wanted["attempts_enabled"] = log
    known = DispatcherRecord.model_fields
    return DispatcherRecord(**{name: value for name, value in wanted.items() if name in known})
