"""A Replay whose executor, or nats-server beside it, is killed at one step of it, and which is gone on with.

The executor is a process that asks NATS and kube-apiserver as a pod does; of both, what it says is heard on the wire.
NATS forgets names in no time here, so that whatever is stored a second time is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from crash.objects import Objects
from crash.parties import ExecutorProcess, NatsProcess
from crash.replaying import WINDOW
from crash.scenario import connected, until_true
from crash.steps import order, pattern_in
from crash.wire import NatsProxy, Passages, Way, When, delivery_of, reply_of, step_of, subject_of
from doubles import own
from doubles.local import count, publish
from doubles.replays import give_up, replay_of
from hookline.resources.replay import ReplayStatus
from hookline.stream import names
from hookline.stream.connection import Client
from hookline.stream.stored import read_from
from hookline.stream.streams import Retention, ensure

SOURCES = ("DeadLetters", "Events")
ITEMS = 4 * WINDOW - 8
REPEATS_AT_MOST = 2 * WINDOW
"""What was stored and is not counted yet, and dead letters that are counted and not removed yet."""

VICTIMS = ("executor", "nats-server")

_UID = "00000000-0000-4000-8000-000000000001"
_ROOT = "/apis/hookline.dev/v1alpha1/namespaces/default"
REPLAY, WEBHOOK = f"{_ROOT}/replays/outage", f"{_ROOT}/webhooks/one"
FORGETS_SECONDS = 0.1
"""The least that nats-server takes."""

_QUESTION = ("nothing: a question", "nothing: a question")

STEPS: Mapping[str, tuple[str, str]] = {
    "read Lease": _QUESTION,
    "write Lease": ("taken at the next start", "it has its own name, and goes on at once"),
    "list Replays": _QUESTION,
    "watch Replays": _QUESTION,
    "read Replay": _QUESTION,
    "read Webhook": _QUESTION,
    "names stream": _QUESTION,
    "info *": _QUESTION,
    "get *": _QUESTION,
    "store delivery": (
        "read again, from what was counted last, and stored",
        "stored once more under its name, which NATS knows for two minutes",
    ),
    "write Replay": (
        "what was stored since the last word is stored once more, and counted for the first time",
        "counted; dead letters of it that are left are stored once more, not counted, and removed",
    ),
    "delete message *": ("it is stored once more, not counted, and removed", "those behind it are, likewise"),
}
"""Steps of an executor: what follows a crash right before, and right after it."""

CHANGING = ("get *", "store delivery", "write Replay", "delete message *")
"""Steps at which nats-server is killed."""


@dataclass(frozen=True)
class Result:
    """The end of one run."""

    items: int
    lost: int
    repeated: int
    status: ReplayStatus
    left: int
    """Dead letters."""
    early: int
    """Dead letters that were removed before their delivery was stored and counted."""
    exits: Sequence[int]


@dataclass(frozen=True)
class ReplayCell:
    """The executor, or nats-server, killed right before or after the passage `number` of a step."""

    victim: str
    source: str
    step: str
    when: When
    number: int

    async def run(self, folder: Path) -> Result:
        """Raises AssertionError when something is lost, miscounted, removed too early or repeated too often, or when
        nobody was killed."""
        passages = Passages(self.step, self.when, self.number)
        result = await replayed(folder, self.source, passages, victim=self.victim)
        assert passages.killed, f"{self}: passed {passages.counts[self.step]} times only"
        assert list(result.exits).count(-9) == (self.victim == "executor"), f"{self}: {result}"
        judge(self, result, REPEATS_AT_MOST)
        return result


def judge(what: object, result: Result, repeats_at_most: int) -> None:
    """Raises AssertionError."""
    status = result.status
    counts = (status.phase, status.found, status.replayed, status.skipped, status.failed)
    assert counts == ("Complete", result.items, result.items, 0, 0), f"{what}: {result}"
    assert (result.lost, result.left, result.early) == (0, 0, 0), f"{what}: {result}"
    assert result.repeated <= repeats_at_most, f"{what}: {result}"


class ReplayProxy(NatsProxy):
    """Hears as well whether a dead letter is removed before its delivery is stored and counted."""

    def __init__(self, port: int, passages: Passages, objects: Objects) -> None:
        super().__init__(port, passages)
        self.letters: dict[int, str] = {}
        """Events of dead letters, by their sequence."""
        self.early: set[int] = set()
        self._objects = objects
        self._asked: dict[bytes, str] = {}
        """Events of deliveries that are on their way, by where their answers come."""
        self._stored: set[str] = set()

    def _may_pass(self, piece: bytes, way: Way) -> bool:
        passes = super()._may_pass(piece, way)
        if way is Way.THERE:
            self._hear(piece)
        elif passes and (event_id := self._asked.pop(subject_of(piece), "")) and b'"error"' not in piece:
            self._stored.add(event_id)
        return passes

    def _hear(self, piece: bytes) -> None:
        step = step_of(piece)
        if step == "store delivery":
            self._asked[reply_of(piece)] = delivery_of(piece)[1]
        elif step == "delete message DEAD":
            seq = json.loads(piece.split(b"\r\n")[-2])["seq"]
            if self.letters[seq] not in self._stored or seq >= status_in(self._objects).checkpoint[0].next:
                self.early.add(seq)


def status_in(objects: Objects) -> ReplayStatus:
    return ReplayStatus.model_validate(objects.held[REPLAY].get("status") or {})


@dataclass
class Stage:
    """All that a Replay needs. `ids` are those of its events."""

    client: Client
    server: NatsProcess
    wire: ReplayProxy
    objects: Objects
    ids: Sequence[str]
    ca_pem: str

    def executor(self, folder: Path, **settings: Any) -> ExecutorProcess:
        return ExecutorProcess(folder, f"nats://127.0.0.1:{self.wire.port}", self.objects.url, self.ca_pem, **settings)

    async def until_done(self) -> None:
        async def done() -> bool:
            return status_in(self.objects).phase != "Running" and status_in(self.objects).started_at is not None

        await until_true(done, "the end of the Replay")

    async def result(self, source: str, exits: Sequence[int]) -> Result:
        found = await _delivered(self.client)
        return Result(
            items=len(self.ids),
            lost=len(set(self.ids) - found.keys()),
            repeated=found.total() - len(found),
            status=status_in(self.objects),
            left=await count(self.client, own.DEAD) if source == "DeadLetters" else 0,
            early=len(self.wire.early),
            exits=tuple(exits),
        )


@contextlib.asynccontextmanager
async def stage(
    folder: Path, source: str, passages: Passages, *, forgets: bool = True, **spec: Any
) -> AsyncIterator[Stage]:
    """A NATS with what is to be replayed, and objects that ask for it."""
    async with (
        Objects(passages) as objects,
        NatsProcess(folder / "nats") as server,
        ReplayProxy(server.port, passages, objects) as wire,
        connected(server.url) as client,
    ):
        await ensure(client, Retention(), prefix=names.OWN_PREFIX)
        if forgets:
            config = (await client.jetstream().stream_info(own.DELIVERIES)).config
            config.duplicate_window = FORGETS_SECONDS
            await client.jetstream().update_stream(config)
        ids = await _asked_for(client, source)
        if source == "DeadLetters":
            wire.letters |= await _letters(client)
        manifest = replay_of(source=source, **spec)
        metadata = {"namespace": "default", "creationTimestamp": "2026-11-30T14:00:00Z", "generation": 1}
        objects.put(REPLAY, {**manifest, "metadata": {"name": "outage", "uid": "r1", **metadata}})
        webhook = {"url": "https://example.com/", "event": "IdentityCreated"}
        objects.put(WEBHOOK, {"metadata": {"name": "one", "uid": _UID, **metadata}, "spec": webhook})
        yield Stage(client, server, wire, objects, ids, trustme.CA().cert_pem.bytes().decode())


async def _asked_for(client: Client, source: str) -> Sequence[str]:
    if source == "Events":
        return await publish(client, ITEMS)
    ids = [f"evt_{number}" for number in range(ITEMS)]
    await give_up(client, _UID, ids)
    return ids


async def _letters(client: Client) -> dict[int, str]:
    return {each.seq: each.headers["Hookline-Event-Id"] for each in await _all(client, own.DEAD)}


async def _delivered(client: Client) -> Counter[str]:
    return Counter(each.headers["Hookline-Event-Id"] for each in await _all(client, own.DELIVERIES))


async def _all(client: Client, stream: str) -> list[Any]:
    found: list[Any] = []
    while some := await read_from(client, stream, ">", found[-1].seq + 1 if found else 1):
        found += some
    return found


async def replayed(folder: Path, source: str, passages: Passages, *, victim: str = "executor") -> Result:
    """One Replay, from its beginning to its end."""
    async with stage(folder, source, passages) as there:
        executor = there.executor(folder)
        if victim == "executor":
            passages.kill = executor.kill
        async with executor.running(), _started_again(there.server, passages, victim):
            await there.until_done()
        return await there.result(source, executor.exits)


@contextlib.asynccontextmanager
async def _started_again(server: NatsProcess, passages: Passages, victim: str) -> AsyncIterator[None]:
    """A nats-server that is killed comes back."""
    died = asyncio.Event()

    async def bring_back() -> None:
        await died.wait()
        await server.kill()
        await asyncio.sleep(0.3)
        await server.start()

    if victim != "nats-server":
        yield
        return

    def die() -> None:
        server.kill_now()
        died.set()

    passages.kill = die
    bringing = asyncio.create_task(bring_back())
    try:
        yield
        await bringing
    finally:
        bringing.cancel()
        await asyncio.gather(bringing, return_exceptions=True)


async def passages_of(folder: Path, source: str) -> Mapping[str, int]:
    """How often each step is passed when nothing goes wrong."""
    passages = Passages()
    place = folder / source
    place.mkdir(parents=True)
    judge("without a fault", await replayed(place, source, passages), 0)
    return passages.counts


async def cells(folder: Path) -> list[ReplayCell]:
    """For each step of each source a passage in the middle."""
    found = []
    for source in SOURCES:
        passed = await passages_of(folder, source)
        for victim in VICTIMS:
            steps = [each for each in passed if victim == "executor" or pattern_in(CHANGING, each)]
            for step in order(steps, STEPS):
                number = max(1, passed[step] // 2)
                found += [ReplayCell(victim, source, step, when, number) for when in When]
    return found


def row(cell: ReplayCell, result: Result) -> str:
    pattern = pattern_in(STEPS, cell.step)
    assert pattern is not None, f"replays.py has no line for {cell.step!r}"
    follows = STEPS[pattern][cell.when is When.AFTER] if cell.victim == "executor" else "tried again until it is there"
    return (
        f"| {cell.victim} killed | {cell.source} | {cell.when.value} `{cell.step}` | {result.items} | {result.lost} "
        f"| {result.repeated} | {follows} |"
    )
