"""TCP proxies to which a test does what networks do, and one that reads NATS's protocol and names a sender's steps.

Nothing in the sender is changed for it. Whatever a sender says to NATS passes here, so a step that nobody thought of
is seen too.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

from hookline.events.envelope import ID_HEADER
from hookline.stream import names

HOST = "127.0.0.1"

_MESSAGES = {b"PUB", b"HPUB", b"MSG", b"HMSG"}
_ANSWERS = {b"+ACK": "ack", b"-NAK": "give back", b"+WPI": "still working"}
_COPY = b"\r\nHookline-Attempt: 1\r\n"
"""Of what is due later: a retry has another number."""
_STORED = {
    names.ANCHOR_SUBJECT: "store anchor",
    "hookline.deliveries.later": "store later",
    "hookline.deliveries": "store delivery",
    "hookline.parked": "store parked",
    "hookline.dead": "store dead letter",
    "hookline.backlog": "store set aside",
    "hookline.attempts": "store attempts",
    "hookline.unknown": "ask for Webhooks",
    "hookline.known": "answer for Webhooks",
}

_VERBS = {"CREATE", "UPDATE", "INFO", "GET", "NEXT", "DELETE", "PURGE"}


_QUEUED = {"store delivery", "store parked"}


class Way(Enum):
    """Which way bytes go."""

    THERE = "to the server"
    BACK = "to the sender"


class When(Enum):
    """When a process dies: with the step not done, or with the step done and the answer not heard."""

    BEFORE = "before"
    AFTER = "after"


@dataclass
class Passages:
    """Counts how often each step was passed, and calls `kill` at the one that was chosen."""

    step: str = ""
    when: When = When.BEFORE
    number: int = 0
    kill: Callable[[], None] = lambda: None
    counts: Counter[str] = field(default_factory=Counter)
    killed: bool = False
    stored: set[tuple[str, str]] = field(default_factory=set)
    """Webhook, by its uid, and event of each delivery that a sender stored."""

    def passed(self, step: str) -> bool:
        """One more passage; whether it is the one to die at."""
        self.counts[step] += 1
        return not self.killed and step == self.step and self.counts[step] == self.number

    def die(self) -> None:
        self.killed = True
        self.kill()


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await reader.read(65536):
        yield chunk


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What a NATS client or server says, one message or word at a time."""
    while line := await reader.readline():
        words = line.split()
        if words and words[0].upper() in _MESSAGES:
            line += await reader.readexactly(int(words[-1]) + 2)
        yield line


class Proxy:
    """Stands before a port of this machine. Each connection is one task; `cut` ends them all."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pass = {way: asyncio.Event() for way in Way}
        for each in self._pass.values():
            each.set()
        self.refuses = False
        """Whether new connections are reset."""
        self.delay_seconds = 0.0
        """Before each piece of data, each way."""
        self.connections = 0
        self.errors: list[Exception] = []
        """Of the proxy itself. Each cuts a connection, which would be taken for the fault that a test is about."""

    @property
    def port(self) -> int:
        assert self._server is not None, "started before it has a port"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0, limit=2**20)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()
        if self.errors:
            raise AssertionError("the proxy has a fault of its own, and cut a connection") from self.errors[0]

    def silence(self, *ways: Way) -> None:
        """Let nothing through, as a network that drops packets; the connections stay. Both ways unless told."""
        for way in ways or Way:
            self._pass[way].clear()

    def mend(self) -> None:
        """Be a good network again. What was held goes on."""
        self.refuses, self.delay_seconds = False, 0.0
        for each in self._pass.values():
            each.set()

    async def cut(self) -> None:
        """Reset all connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer = None
        try:
            if not self.refuses:
                far_reader, far_writer = await asyncio.open_connection(HOST, self._target, limit=2**20)
                await self._both_ways((reader, writer), (far_reader, far_writer))
        except OSError:
            pass  # nobody there: the sender sees a reset
        except Exception as error:  # noqa: BLE001  # whatever it is
            self.errors.append(error)
        finally:
            for each in (writer, far_writer):
                if each is not None:
                    each.transport.abort()

    async def _both_ways(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Until one of the two has ended."""
        pumps = [
            asyncio.create_task(self._pump(near[0], far[1], Way.THERE)),
            asyncio.create_task(self._pump(far[0], near[1], Way.BACK)),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                pump.result()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """One way, until it ends. What is late is late by itself: the pieces behind it do not wait for it twice."""
        underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        reading = asyncio.create_task(self._read(reader, underway))
        try:
            while await self._forward(*await underway.get(), writer, way):
                pass
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader, underway: asyncio.Queue[tuple[float, bytes]]) -> None:
        try:
            async for piece in self._pieces(reader):
                underway.put_nowait((time.monotonic() + self.delay_seconds, piece))
        except (OSError, asyncio.IncompleteReadError):
            pass  # it ended in the middle of a piece
        except Exception as error:  # noqa: BLE001  # whatever it is
            self.errors.append(error)
        finally:
            underway.put_nowait((0.0, b""))

    async def _forward(self, due_s: float, piece: bytes, writer: asyncio.StreamWriter, way: Way) -> bool:
        """Pass on one piece when it is due; whether the connection goes on."""
        if due_s > time.monotonic():
            await asyncio.sleep(due_s - time.monotonic())
        await self._pass[way].wait()
        if not piece or writer.is_closing() or not self._may_pass(piece, way):
            return False
        writer.write(piece)
        await writer.drain()
        return self._goes_on(piece, way)

    def _pieces(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        return chunks(reader)

    def _may_pass(self, piece: bytes, way: Way) -> bool:
        """Whether a piece goes through; the connection is reset otherwise."""
        return True

    def _goes_on(self, piece: bytes, way: Way) -> bool:
        """Whether the connection goes on after a piece went through."""
        return True


class NatsProxy(Proxy):
    """Between a sender and nats-server. Counts each step in `passages`, and ends the sender there if they say so."""

    def __init__(self, port: int, passages: Passages) -> None:
        super().__init__(port)
        self._passages = passages
        self._awaited: bytes | None = None

    def _pieces(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        return frames(reader)

    def _may_pass(self, piece: bytes, way: Way) -> bool:
        subject = subject_of(piece)
        if way is Way.BACK:
            return not (self._awaited is not None and subject == self._awaited and self._dies())
        step = step_of(piece)
        if step in _QUEUED:
            self._passages.stored.add(delivery_of(piece))
        if step is None or not self._passages.passed(step):
            return True
        if self._passages.when is When.BEFORE:
            return not self._dies()
        self._awaited = reply_of(piece) if _is_answered(step) else b""
        return True

    def _goes_on(self, piece: bytes, way: Way) -> bool:
        # What is not answered is done once it is through.
        return not (way is Way.THERE and self._awaited == b"" and self._dies())

    def _dies(self) -> bool:
        self._awaited = None
        self._passages.die()
        return True


def step_of(frame: bytes) -> str | None:
    """Which step a sender takes with this message; None if it stores, asks and answers nothing."""
    subject = subject_of(frame).decode()
    if subject.startswith("$JS.ACK."):
        word = next((name for text, name in _ANSWERS.items() if text in frame.partition(b"\r\n")[2]), "unknown answer")
        return f"{word} {_stream(subject)}"
    if subject.startswith("$JS.API."):
        return _api_step(subject)
    if subject.startswith("$KV."):
        return f"write {subject.split('.')[1]}"
    step = next((step for start, step in _STORED.items() if subject.startswith(f"{start}.") or subject == start), None)
    return "store copy" if step == "store later" and _COPY in frame else step


def delivery_of(frame: bytes) -> tuple[str, str]:
    """Webhook and event of a delivery that is stored; no event where it is named in another way, or not at all."""
    lines = frame.decode(errors="replace").split("\r\n")
    event_id = next((line.partition(": ")[2] for line in lines if line.startswith(f"{ID_HEADER}: ")), "")
    return subject_of(frame).decode().rpartition(".")[2], event_id


def _api_step(subject: str) -> str:
    """`$JS.API.CONSUMER.MSG.NEXT.HOOKLINE_EVENTS.HOOKLINE_fanout` is the step `pull EVENTS`."""
    words = subject.split(".")[2:]
    if words[:3] == ["CONSUMER", "MSG", "NEXT"]:
        return f"pull {_plain(words[3])}"
    if words == ["INFO"]:
        return "info account"
    verbs = {"CREATE", "UPDATE", "INFO", "GET", "NEXT", "DELETE", "PURGE", "NAMES"}
    verb = next((each for each in words if each in verbs), words[-1])
    kind = "consumer" if words[0] == "CONSUMER" else "stream"
    stream = next((each for each in words[1:] if each != verb and each not in {"DIRECT", "DURABLE", "MSG"}), "")
    kind = "message" if "MSG" in words and verb == "DELETE" else kind
    return f"{verb.lower()} {kind} {_plain(stream)}".rstrip()


def _stream(ack_subject: str) -> str:
    """The stream in `$JS.ACK.<stream>.<consumer>.…`; a longer form has domain and account before it."""
    words = ack_subject.split(".")
    return _plain(words[2] if len(words) < 11 else words[4])


def _plain(stream: str) -> str:
    """Without its prefix."""
    parts = names.parts_of(stream)
    return stream if parts is None else parts[1]


def _is_answered(step: str) -> bool:
    return step.startswith(("store", "create", "update", "info", "get", "names", "write", "purge", "delete"))


def subject_of(frame: bytes) -> bytes:
    """Empty of what is no message."""
    words = frame.partition(b"\r\n")[0].split()
    return words[1] if len(words) > 1 and words[0].upper() in _MESSAGES else b""


def reply_of(frame: bytes) -> bytes:
    """Where a client wants its answer."""
    words = frame.partition(b"\r\n")[0].split()
    sizes = 2 if words[0].upper() == b"HPUB" else 1
    return words[2] if len(words) == 3 + sizes else b""
