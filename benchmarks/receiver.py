"""The TLS receiver of the benchmarks, a process of its own: takes calls, notes when each came, fails as it is told.

Speaks just enough HTTP to be no bottleneck. A call is known by its path, `/<group>/…`, and its id,
`evt_<run>_<number>_<due>`: `due` is when it should have been published, in nanoseconds of the machine's monotonic
clock, so that latency counts from there and a publisher that falls behind hides nothing.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import multiprocessing.connection
import os
import random
import socket
import ssl
import time
from array import array
from dataclasses import dataclass, field
from typing import Any, cast

import trustme
import uvloop

CONTEXT = multiprocessing.get_context("spawn")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
FAILED = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
DRIP_SECONDS = 1.0
LATE_SECONDS = 2.0
ANSWER_SECONDS = 60.0
FAULTS = ("fail", "close", "hang")


def event_id(run: str, number: int, due_ns: int) -> str:
    return f"evt_{run}_{number}_{due_ns}"


@dataclass
class Heard:
    """Calls of one run that one group answered with 200."""

    calls: int = 0
    order: array[int] = field(default_factory=lambda: array("q"))
    """Numbers as they came first."""
    seconds: array[float] = field(default_factory=lambda: array("d"))
    """From due to first heard, for each of `order`."""
    at_s: array[float] = field(default_factory=lambda: array("d"))
    """When, monotonic, for each of `order`."""
    numbers: set[int] = field(default_factory=set)

    def note(self, number: int, due_ns: int) -> None:
        self.calls += 1
        if number not in self.numbers:
            now_ns = time.monotonic_ns()
            self.numbers.add(number)
            self.order.append(number)
            self.seconds.append((now_ns - due_ns) / 1e9)
            self.at_s.append(now_ns / 1e9)


@dataclass
class Told:
    """What the receiver was told to do, and what it heard."""

    modes: dict[str, str] = field(default_factory=dict)
    heard: dict[tuple[str, str], Heard] = field(default_factory=dict)
    faults: float = 0.0
    """Share of calls to groups of mode `faulty` that fail, by one of FAULTS."""
    chance: random.Random = field(default_factory=lambda: random.Random(5))

    def mode(self, group: str) -> str:
        mode = self.modes.get(group, "ok")
        if mode != "faulty":
            return mode
        return self.chance.choice(FAULTS) if self.chance.random() < self.faults else "ok"


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            whole = end + 4 + int(_value(head, b"content-length:") or 0)
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        group = head.split(b"/", 2)[1].split(b" ", 1)[0].decode()
        mode = self._told.mode(group)
        if mode in ("ok", "late"):
            _, run, number, due_ns = _value(head, b"webhook-id:").decode().split("_")
            self._told.heard.setdefault((group, run), Heard()).note(int(number), int(due_ns))
            if mode == "ok":
                self._transport.write(OK)
            else:
                asyncio.get_running_loop().call_later(LATE_SECONDS, self._transport.write, OK)
        elif mode == "fail":
            self._transport.write(FAILED)
        elif mode == "close":
            self._transport.close()
        elif mode == "drip":
            self._drip(OK)
        # "hang": no answer at all.

    def _drip(self, left: bytes) -> None:
        if left and not self._transport.is_closing():
            self._transport.write(left[:1])
            asyncio.get_running_loop().call_later(DRIP_SECONDS, self._drip, left[1:])


def _value(head: bytes, name: bytes) -> bytes:
    """Of a header, by its name in lower case and with its colon."""
    begin = head.find(b"\r\n" + name)
    if begin < 0:
        begin = head.lower().find(b"\r\n" + name)
        if begin < 0:
            return b""
    begin += 2 + len(name)
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else len(head)].strip()


def serve(pipe: multiprocessing.connection.Connection) -> None:
    """The process: sends (port, dead port, CA), then does as told until `end` or until its parent is gone."""
    uvloop.run(_serve(pipe))


async def _serve(pipe: multiprocessing.connection.Connection) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    told, loop, ended = Told(), asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(lambda: Line(told), "127.0.0.1", 0, ssl=context, backlog=4096)
    # Bound, so that nobody else gets the port, and not listening: connections are refused.
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    commands = _Commands(told, lambda: loop.create_server(lambda: Line(told), sock=dead, ssl=context, backlog=4096))

    def hear() -> None:
        try:
            words = pipe.recv()
        except EOFError:
            words = ("end",)
        if words[0] == "end":
            ended.set()
        else:
            loop.create_task(answer(words))

    async def answer(words: tuple[Any, ...]) -> None:
        pipe.send(await commands.do(*words))

    pipe.send((server.sockets[0].getsockname()[1], dead.getsockname()[1], ca.cert_pem.bytes().decode()))
    loop.add_reader(pipe.fileno(), hear)
    # uvloop makes it non-blocking, and a long answer would then fail half sent.
    os.set_blocking(pipe.fileno(), True)
    # Else a pause of its collector, 20 to 40 ms, is told as latency of the sender.
    gc.freeze()
    await ended.wait()
    loop.remove_reader(pipe.fileno())


class _Commands:
    def __init__(self, told: Told, revive: Any) -> None:
        self._told = told
        self._revive = revive

    async def do(self, word: str, *rest: Any) -> Any:
        match word, rest:
            case "count", (group, run):
                return len(self._told.heard.get((group, run), Heard()).numbers)
            case "calls", (group, run):
                return self._told.heard.get((group, run), Heard()).calls
            case "take", (group, run):
                return self._told.heard.pop((group, run), Heard())
            case "mode", (group, mode):
                self._told.modes[group] = mode
            case "faults", (share,):
                self._told.faults = share
            case "revive", ():
                await self._revive()
        return None


class Receiver:
    """The process, for those who use it. Ends when left."""

    def __enter__(self) -> Receiver:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.port, self.dead_port, self.ca = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(("end",))
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}/{path}"

    def dead_url(self, path: str) -> str:
        """Where nobody listens, before `revive`."""
        return f"https://127.0.0.1:{self.dead_port}/{path}"

    def count(self, group: str, run: str) -> int:
        """How many different events came."""
        return int(self._ask("count", group, run))

    def take(self, group: str, run: str) -> Heard:
        """All of a run, which is then forgotten."""
        heard = self._ask("take", group, run)
        assert isinstance(heard, Heard)
        return heard

    def mode(self, group: str, mode: str) -> None:
        """How a group answers: ok, fail, close, hang, drip (a byte a second), faulty."""
        self._ask("mode", group, mode)

    def faults(self, share: float) -> None:
        self._ask("faults", share)

    def revive(self) -> None:
        """Listen where nobody did."""
        self._ask("revive")

    def _ask(self, *words: object) -> Any:
        self._pipe.send(words)
        if not self._pipe.poll(ANSWER_SECONDS):
            raise RuntimeError(f"the receiver did not answer {words[0]} within {ANSWER_SECONDS:g} s")
        return self._pipe.recv()
