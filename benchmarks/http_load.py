"""Load on an HTTP server: a process that sends the same POST over kept connections, as cheaply as asyncio can.

In a closed loop each connection sends its next request when it has its answer. In an open loop requests are due at
times fixed beforehand, and a request's clock starts when it was due, also while all connections are busy.
"""

from __future__ import annotations

import asyncio
import multiprocessing.connection
import ssl
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import cast

import uvloop
from benchmarks.child import Child
from benchmarks.figures import arrivals
from benchmarks.stage import Failed

from hookline.runtime.tuning import raise_open_files_limit

CONNECT_AT_ONCE = 50
END_SECONDS = 20.0
"""After its time: until a server answered what was under way, and to open connections."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(frozen=True)
class Load:
    """What is sent. `head` ends before the key of the request, which is the last of its headers."""

    port: int
    head: bytes
    body: bytes
    run: str
    """Begins each key."""
    connections: int
    seconds: float
    """0: one request on each connection, and then they are kept open until the next load."""
    per_second: float | None = None
    """None: a closed loop."""
    awake: bool = False
    """The client looks for answers all the time. Else whoever answers a client that sleeps pays for waking its core,
    and a slower server does so more often."""
    ca: str | None = None
    """With TLS."""
    local_address: str | None = None


@dataclass
class Answered:
    """What came of it."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    took_seconds: array[float] = field(default_factory=lambda: array("d"))

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def only(self, *statuses: int) -> Answered:
        """Itself. Raises Failed when a server answered otherwise, or not at all."""
        if not self.count or set(self.statuses) - set(statuses):
            raise Failed(f"the gateway answered {dict(self.statuses)}, and not {statuses}")
        return self


class Client(Child):
    """The process, for those who use it."""

    def __init__(self) -> None:
        super().__init__("an HTTP client", _work)

    async def send(self, load: Load) -> Answered:
        """Raises Failed."""
        self.tell(load)
        answered = await self.heard(load.seconds + END_SECONDS + load.connections / 200)
        assert isinstance(answered, Answered)
        return answered


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, on_answer: Callable[[_Connection, int], None]) -> None:
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not said to be

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        got = self._got + data if self._got else data
        end = got.find(_HEAD_END)
        at = got.lower().find(_LENGTH, 0, end) if end >= 0 else -1
        if at < 0 or len(got) < end + 4 + int(got[at + len(_LENGTH) : got.find(b"\r", at)]):
            self._got = got
            return
        self._got = b""
        self._on_answer(self, int(got[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        """0 stands for no answer."""
        if self._transport is not None:
            self._transport = None
            self._on_answer(self, 0)

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


class _Sending:
    """One load."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.answered = Answered()
        self._numbers = count()
        self._began: dict[_Connection, float] = {}
        """When the request under way on it began, or was due."""
        self._idle: list[_Connection] = []
        self._due: deque[float] = deque()
        """Requests that wait for a connection."""
        self._until_s = 0.0
        self._all_sent = False
        self._done = asyncio.Event()
        length = b"\r\nContent-Length: %d\r\n\r\n" % len(load.body)
        self._before = load.head + load.run.encode() + b"-"
        self._after = length + load.body

    async def connect(self) -> list[_Connection]:
        loop = asyncio.get_running_loop()
        load, places = self.load, asyncio.Semaphore(CONNECT_AT_ONCE)
        context = ssl.create_default_context(cadata=load.ca) if load.ca else None
        address = (load.local_address, 0) if load.local_address else None

        async def one() -> _Connection:
            async with places:
                _, protocol = await loop.create_connection(
                    lambda: _Connection(self._heard), "127.0.0.1", load.port, ssl=context, local_addr=address
                )
                if not load.seconds:
                    # At once: thousands of handshakes take longer than a connection may stay without a request.
                    self._send(protocol, time.monotonic())
                return protocol

        return await asyncio.gather(*(one() for _ in range(load.connections)))

    async def run(self, connections: Sequence[_Connection]) -> Answered:
        began_s = time.monotonic()
        if self.load.seconds:
            self._idle = list(connections)
        self._until_s = began_s + self.load.seconds
        if self.load.awake:
            self._stay_awake()
        if self.load.per_second is None:
            while self._idle and self.load.seconds:
                self._send(self._idle.pop(), time.monotonic())
            self._all_sent = True
        else:
            await self._send_when_due(arrivals(self.load.per_second, self.load.seconds, seed=11), began_s)
        if self._began or self._due:
            await self._done.wait()
        self.answered.seconds = time.monotonic() - began_s
        return self.answered

    def _stay_awake(self) -> None:
        if not self._done.is_set():
            asyncio.get_running_loop().call_soon(self._stay_awake)

    async def _send_when_due(self, due: Sequence[float], began_s: float) -> None:
        for after in due:
            at_s = began_s + after
            if (wait := at_s - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self._idle:
                self._send(self._idle.pop(), at_s)
            else:
                self._due.append(at_s)
        self._all_sent = True

    def _send(self, connection: _Connection, at_s: float) -> None:
        self._began[connection] = at_s
        connection.send(b"%b%d%b" % (self._before, next(self._numbers), self._after))

    def _heard(self, connection: _Connection, status: int) -> None:
        began_s = self._began.pop(connection, None)
        now_s = time.monotonic()
        if began_s is not None:
            self.answered.statuses[status] += 1
            self.answered.took_seconds.append(now_s - began_s)
        if status:
            if self._due:
                self._send(connection, self._due.popleft())
            elif self.load.per_second is None and now_s < self._until_s:
                self._send(connection, now_s)
            else:
                self._idle.append(connection)
        if self._all_sent and not self._began:
            self._done.set()


def _work(pipe: multiprocessing.connection.Connection) -> None:
    raise_open_files_limit()
    uvloop.run(_loads(pipe))


async def _loads(pipe: multiprocessing.connection.Connection) -> None:
    connections: list[_Connection] = []
    while True:
        try:
            load = await asyncio.to_thread(pipe.recv)
        except EOFError:
            return
        for each in connections:
            each.close()
        sending = _Sending(load)
        connections = await sending.connect()
        pipe.send(await sending.run(connections))
        if load.seconds:
            for each in connections:
                each.close()
