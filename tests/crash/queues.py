"""What may happen to the queue as a whole, each in a run of its own, with what became of every confirmed event.

A real `hookline sender` or `hookline run`, real nats-servers and a real TLS receiver. Events are published all the
while, one after the other, and count once they are confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import nats.errors

from doubles import own
from doubles.command import RunningCommand, running
from doubles.disk import NoDisk, full, small_disk
from doubles.frozen import stand_still
from doubles.local import SECRET, dead_letters, hook, receiver_of, until, write_book
from doubles.nats_cluster import Cluster, leader_of, nats_cluster, until_ready
from doubles.waiting import until_it_is
from hookline.events.envelope import Event
from hookline.local import book_folder
from hookline.local.nats_server import NatsServer, known_url
from hookline.local.receiver import ReceivedCall, Receiver
from hookline.local.samples import allowed_secret, ca_secret, to_yaml, webhook
from hookline.routing.routes import DispatcherRecord, Keys, Route, book_of
from hookline.stream import names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable, connect
from hookline.stream.inspect import left_in_former
from hookline.stream.publish import Publisher, publish_event
from hookline.stream.streams import find

SETTLED_SECONDS = 120.0
"""How long all confirmed events may take to arrive once a fault is over."""

_DISK_MIB = 64
_EVERY_SECONDS = 0.02
_PATIENCE_SECONDS = 3.0


class NotHere(Exception):
    """This machine or checkout cannot produce the fault."""


@dataclass
class Tally:
    """What became of the events of one run."""

    confirmed: list[str] = field(default_factory=list)
    refused: int = 0
    """At the door: the publisher heard that they are not stored, or not known to be."""
    arrived: Counter[str] = field(default_factory=Counter)
    dead: set[str] = field(default_factory=set)

    @property
    def lost(self) -> set[str]:
        return set(self.confirmed) - self.arrived.keys() - self.dead

    @property
    def repeated(self) -> int:
        return sum(count - 1 for count in self.arrived.values())


@contextlib.asynccontextmanager
async def publishing(url: str, tally: Tally) -> AsyncIterator[None]:
    """Publish one event after the other until the end of the block."""
    client = await connect(url, name="publisher", connect_seconds=60)
    publisher = Publisher(client)

    async def for_ever() -> None:
        while True:
            event_id = f"evt_{uuid.uuid4().hex}"
            event = Event(event_id, "default", "IdentityCreated", datetime.now(UTC).isoformat(), b"{}")
            try:
                await publish_event(publisher, event, patience_seconds=_PATIENCE_SECONDS)
                tally.confirmed.append(event_id)
            except (StreamUnavailable, StreamRefused):
                tally.refused += 1
            await asyncio.sleep(_EVERY_SECONDS)

    task = asyncio.create_task(for_ever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def note(tally: Tally) -> Callable[[ReceivedCall], None]:
    def noted(call: ReceivedCall) -> None:
        tally.arrived[call.webhook_id] += 1

    return noted


def receiver_for(tally: Tally) -> Receiver:
    return Receiver(secret=SECRET, on_call=note(tally))


def write_copies(folder: Path, copies: int, *entries: tuple[Route, Keys]) -> None:
    record = DispatcherRecord(allow_cidrs=("127.0.0.0/8",), stream_replicas=copies)
    book_folder.write(book_of(entries, record), folder)


async def settled(tally: Tally, client: Client | None = None) -> None:
    """Wait until every confirmed event has arrived, or is a dead letter."""

    async def look() -> bool:
        if tally.lost and client is not None:
            with contextlib.suppress(Exception):
                tally.dead |= {each.event_id for each in await dead_letters(client)}
        return not tally.lost

    for _ in range(int(SETTLED_SECONDS)):
        if await look():
            return
        await asyncio.sleep(1)


async def in_cluster(folder: Path, fault: Callable[[Cluster, Client], Awaitable[None]]) -> Tally:
    """Three servers that keep three copies each; `fault` happens while events are published."""
    tally = Tally()
    async with nats_cluster(folder / "nats") as cluster, receiver_for(tally) as receiver:
        client = await connect(cluster.urls, name="test", connect_seconds=60)
        await until_ready(client)
        write_copies(folder / "book", 3, hook("one", receiver))
        words = ["sender", "--book", str(folder / "book"), "--nats", cluster.urls, "--listen", "127.0.0.1:0"]
        with running(folder / "log", *words, "--installation=matrix"):
            async with publishing(cluster.urls, tally):
                await until(lambda: len(tally.arrived) > 20, seconds=90)
                await fault(cluster, client)
                count = len(tally.confirmed)
                await until(lambda: len(tally.confirmed) > count + 20, seconds=120, what="publishing again")
            await settled(tally, client)
        await client.close()
    return tally


async def kill(cluster: Cluster, client: Client, count: int) -> None:
    """The leader of EVENTS first; back after a while."""
    first = await leader_of(client, own.EVENTS)
    victims = sorted(cluster.servers, key=lambda each: each.name != first)[:count]
    for each in victims:
        await each.kill()
    await asyncio.sleep(3)
    if count == 1:
        await until_another_leads(client, first)
    for each in victims:
        await each.start()


async def until_another_leads(client: Client, first: str) -> None:
    """Raises TimeoutError after 30 s."""
    async with asyncio.timeout(30):
        while True:
            # Nobody answers, or the answer names nobody, while there is no leader.
            with contextlib.suppress(nats.errors.Error, KeyError):
                if await leader_of(client, own.EVENTS) != first:
                    return
            await asyncio.sleep(0.2)


async def freeze(cluster: Cluster, client: Client, *, leader: bool) -> None:
    first = await leader_of(client, own.EVENTS)
    victim = next(each for each in cluster.servers if (each.name == first) is leader)
    victim.freeze()
    try:
        await asyncio.sleep(15)
    finally:
        victim.thaw()


async def full_disk_of_one(folder: Path) -> Tally:
    """The store of one server of a cluster; the server is restarted once there is room, as its probe has it done."""
    with small_disk(folder / "nats" / "n1" / "store", _DISK_MIB) as disk:

        async def fault(cluster: Cluster, client: Client) -> None:
            with full(disk):
                await asyncio.sleep(8)
            server = cluster.named("n1")
            await server.kill()
            await server.start()

        return await in_cluster(folder, fault)


async def full_disk_of_run(folder: Path) -> Tally:
    """The data folder of `hookline run`, which restarts its own queue."""
    tally = Tally()
    with small_disk(folder / "disk", _DISK_MIB) as disk:
        data = disk / "data"
        async with receiver_for(tally) as receiver:
            documents = [ca_secret("ca", receiver.ca_pem), allowed_secret("signing", SECRET)]
            documents.append(
                webhook("one", url=receiver.url, event="IdentityCreated", secret_name="signing", ca_secret_name="ca")
            )
            (folder / "hooks.yaml").write_text(to_yaml(*(("", each) for each in documents)))
            words = ["run", str(folder / "hooks.yaml"), "--data", str(data), "--allow-cidr", "127.0.0.0/8"]
            with running(folder / "log", *words) as command:
                await asyncio.to_thread(command.until_says, "configuration loaded")
                url = known_url(data)
                assert url is not None
                async with publishing(url, tally):
                    await until(lambda: len(tally.arrived) > 20, seconds=60)
                    with full(disk):
                        await asyncio.sleep(5)
                    count = len(tally.confirmed)
                    await until(lambda: len(tally.confirmed) > count + 20, seconds=120, what="publishing again")
                await settled(tally)
    return tally


async def two_takers(folder: Path) -> Tally:
    """A second installation with another book, on the same NATS."""
    tally = Tally()
    async with one_server(folder) as url, receiver_for(tally) as receiver, receiver_of([]) as other:
        write_book(folder / "book", hook("one", receiver))
        write_book(folder / "other", hook("two", other, event="IdentityDeleted"))
        with sender(folder, "book", url, "--installation=first"):
            async with publishing(url, tally):
                await until(lambda: len(tally.arrived) > 20, seconds=60)
                with sender(folder, "other", url, "--installation=second") as second:
                    await asyncio.to_thread(second.until_says, "NATSInUse")
                    count = len(tally.confirmed)
                    await until(lambda: len(tally.confirmed) > count + 100, seconds=60)
            await settled(tally)
    return tally


async def taken_over(folder: Path) -> Tally:
    """By an installation that serves the same receiver; the former owner is frozen meanwhile, and wakes."""
    tally = Tally()
    async with one_server(folder) as url, receiver_for(tally) as receiver:
        write_book(folder / "book", hook("one", receiver))
        write_book(folder / "other", hook("one", receiver))
        client = await connect(url, name="test")
        with sender(folder, "book", url, "--installation=first") as first:
            async with publishing(url, tally):
                await until(lambda: len(tally.arrived) > 20, seconds=60)
                stand_still(first.process.pid)
                try:
                    with sender(folder, "other", url, "--installation=second", "--take-over-from=first") as second:
                        await asyncio.to_thread(second.until_says, "took over the queue")
                        await asyncio.sleep(2)
                        os.kill(first.process.pid, signal.SIGCONT)
                        await asyncio.to_thread(first.until_says, "NATSInUse")
                        count = len(tally.confirmed)
                        await until(lambda: len(tally.confirmed) > count + 100, seconds=60)
                        await settled(tally, client)
                finally:
                    os.kill(first.process.pid, signal.SIGCONT)
        await client.close()
    return tally


FORMER = "1593ce5"
"""The last commit whose streams bear no mark."""


async def upgrade(folder: Path) -> Tally:
    """Senders of the former version, then both, then the present one, then both, then the former one again."""
    tally = Tally()
    former = former_source(folder / "former")
    async with one_server(folder) as url, receiver_for(tally) as receiver:
        write_book(folder / "book", hook("one", receiver))
        client = await connect(url, name="test")
        async with publishing(url, tally):
            with sender(folder, "book", url, source=former, log="old-1") as old:
                await until(lambda: len(tally.arrived) > 50, seconds=90)
                with sender(folder, "book", url, "--installation=present", log="new"):
                    await more(tally, 100)
                    old.end()
                    await more(tally, 100)
                    with sender(folder, "book", url, source=former, log="old-2"):
                        await more(tally, 100)
                with sender(folder, "book", url, source=former, log="old-3"):
                    await more(tally, 100)
        with sender(folder, "book", url, "--installation=present", log="new-2"):
            await settled(tally, client)
        await client.close()
    return tally


ONE_NAME = "66e1f3e"
"""The last commit that knows one name of each stream."""


async def moved(folder: Path) -> Tally:
    """Streams that are moved while a sender of the former version is frozen, which wakes, and back again for it."""
    tally = Tally()
    former = former_source(folder / "former", ONE_NAME)
    mine = "--installation=present"
    async with one_server(folder) as url, receiver_for(tally) as receiver:
        one = hook("one", receiver)
        write_book(folder / "book", one)
        write_book(folder / "later", one, prefix=names.OWN_PREFIX)
        client = await connect(url, name="test")
        async with publishing(url, tally):
            with sender(folder, "book", url, mine, source=former, log="old-1") as old:
                await more(tally, 20)
                with sender(folder, "later", url, mine, log="new") as new:
                    await more(tally, 100)
                    assert (await find(client)).is_at(""), "moved beside a sender that knows one name"
                    stand_still(old.process.pid)
                    try:
                        await asyncio.to_thread(new.until_says, "the streams were moved")
                    finally:
                        os.kill(old.process.pid, signal.SIGCONT)
                    await more(tally, 50)
                    with sender(folder, "book", url, mine, source=former, log="old-2") as refused:
                        await asyncio.to_thread(refused.until_says, "StreamForeign")
                    old.end()
                    write_book(folder / "later", one, prefix="")
                    await until_it_is(
                        lambda: _left(client), lambda left: left == 0, what=lambda: "left in former streams"
                    )
            with sender(folder, "book", url, mine, source=former, log="old-3"):
                await more(tally, 50)
                await settled(tally, client)
        await client.close()
    return tally


async def _left(client: Client) -> int:
    """What is left in former streams; -1 while those of before have not their subjects back."""
    layout = await find(client)
    return await left_in_former(client, layout, 1) if layout.is_at("") else -1


async def more(tally: Tally, count: int) -> None:
    there = len(tally.arrived)
    await until(lambda: len(tally.arrived) > there + count, seconds=90, what="more events")


def former_source(folder: Path, commit: str = FORMER) -> Path:
    """The package as it was at a commit, out of this repository's history. Raises NotHere where there is none."""
    root = Path(__file__).parents[2]
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", root, "archive", commit, "operator"], capture_output=True, check=False)
    if archive.returncode:
        raise NotHere(f"the history of this checkout does not hold {commit}")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder / "operator"


@contextlib.asynccontextmanager
async def one_server(folder: Path) -> AsyncIterator[str]:
    data = folder / "nats"
    data.mkdir(parents=True)
    server = NatsServer(data)
    try:
        yield await server.start()
    finally:
        await server.stop()


@contextlib.contextmanager
def sender(
    folder: Path, book: str, url: str, *more_words: str, source: Path | None = None, log: str = ""
) -> Iterator[RunningCommand]:
    words = ["sender", "--book", str(folder / book), "--nats", url, "--listen", "127.0.0.1:0", *more_words]
    environment = {"PYTHONPATH": str(source)} if source is not None else {}
    command = RunningCommand(words, folder / (log or f"log-{book}"), environment)
    command.start()
    try:
        command.until_says("answering health and metrics")
        yield command
    finally:
        if command.process.poll() is None:
            command.end()


@dataclass(frozen=True)
class Row:
    """One run of the matrix."""

    name: str
    run: Callable[[Path], Awaitable[Tally]]
    outcome: str
    refuses: bool = False
    """Publishers must be refused while the fault lasts: no server can confirm what it cannot keep."""

    def judge(self, tally: Tally) -> None:
        """Raises AssertionError."""
        assert not tally.lost, f"{self.name}: {len(tally.lost)} of {len(tally.confirmed)} events are lost"
        assert len(tally.confirmed) > 20, f"{self.name}: hardly anything was published"
        assert tally.refused or not self.refuses, f"{self.name}: nobody was refused, so the fault was none"


ROWS = (
    Row("three NATS servers: the leader killed", partial(in_cluster, fault=partial(kill, count=1)),
        "another one leads; what was not confirmed is published again"),
    Row("three NATS servers: two of them killed", partial(in_cluster, fault=partial(kill, count=2)),
        "no quorum: publishers are refused until it is back", refuses=True),
    Row("three NATS servers: all killed", partial(in_cluster, fault=partial(kill, count=3)),
        "publishers are refused until they are back", refuses=True),
    Row("three NATS servers: the leader frozen for 15 s", partial(in_cluster, fault=partial(freeze, leader=True)),
        "another one leads; connections to the frozen one are replaced"),
    Row("three NATS servers: a follower frozen for 15 s", partial(in_cluster, fault=partial(freeze, leader=False)),
        "the other two are a quorum"),
    Row("three NATS servers: the disk of one full for 8 s", full_disk_of_one,
        "the other two are a quorum; the one is restarted once there is room"),
    Row("hookline run: the disk full for 5 s", full_disk_of_run,
        "publishers are refused; the queue is restarted once there is room", refuses=True),
    Row("a second installation on one NATS", two_takers, "it takes nothing, and says whose the streams are"),
    Row("a NATS taken over while the former owner is frozen", taken_over,
        "the new owner goes on where the former one had come to; that one wakes, and takes nothing"),
    Row("senders of 1593ce5 and of this version, forth and back", upgrade,
        "both share the consumers; the streams are adopted with all they hold"),
    Row("streams moved while a sender of 66e1f3e is frozen, and back for it", moved,
        "nothing is moved while it is here; it wakes and harms nothing; a new one of that version takes nothing"),
)  # fmt: skip


async def main(folder: Path) -> list[str]:
    """The rows of the table, one after the other: each has the machine to itself."""
    lines = []
    for number, row in enumerate(ROWS):
        place = folder / f"queue-{number}"
        place.mkdir(parents=True)
        try:
            tally = await row.run(place)
        except (NotHere, NoDisk) as error:
            lines.append(f"| {row.name} | | | | | not run: {error} |")
            continue
        row.judge(tally)
        figures = f"{len(tally.confirmed)} | {tally.refused} | {len(tally.lost)} | {tally.repeated}"
        lines.append(f"| {row.name} | {figures} | {row.outcome} |")
        sys.stderr.write(f"{lines[-1]}\n")
        shutil.rmtree(place, ignore_errors=True)
    return lines
