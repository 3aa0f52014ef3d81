"""Serves pages by HTTP/1.1, so that no client can hurt another one.

Decides who is let in, what of a request is refused before a page sees it, how long a client may take for the head of a
request and for reading its answer, and how serving ends. Never reads a body: a page does, with deadlines of its own;
what a page has not read yet is one read of the event loop (at most 256 KB).

Built on the protocol of uvicorn: its parser, its flow control and its way to call a page. Nothing of uvicorn's own
server, logs or answers is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, cast

import httptools
import structlog
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hookline.runtime.logs import frames_of
from hookline.runtime.private_parts import require
from hookline.runtime.tasks import Deadline, cancel
from hookline.runtime.tuning import give_memory_back, open_files_limit
from hookline.serving.refusal import Cut, Refusal, Why, Wording

log = structlog.get_logger(__name__)

require(HttpToolsProtocol, "_start_asgi_task", "connection_lost", "connection_made", "data_received", "eof_received")
require(HttpToolsProtocol, "on_message_begin", "on_headers_complete", "on_body")
require(HttpToolsProtocol, "on_message_complete", "on_response_complete", "pause_writing", "resume_writing")
require(RequestResponseCycle, "run_asgi", "send", "receive")
require(FlowControl, "pause_reading", "resume_reading")

_FIELD_BYTES = 128
"""What a header takes of memory beside its text: a tuple, two strings, their place in a list."""

_PIPELINED = 8
"""Requests on one connection that wait for the answer of the one before. Hardly a client sends any."""

_REFUSED_AT_ONCE = 256
"""Connections beyond their bound that are told so at the same time. More are closed without a word."""

_ACCEPTED_AT_ONCE = 64
"""Connections taken from the kernel before others get their turn."""

_BACKLOG = 2048
"""Connections that the kernel keeps until they are taken. Linux has 4,096 at most, unless it is told otherwise."""

GRACE_SECONDS = 25.0
"""How long requests under way may take at the end. Less than the 30 s that Kubernetes gives a pod."""

_LINGER_SECONDS = 2.0
"""How long what a client still sends is thrown away after its last answer. Closed at once, it would lose the answer."""

_ON_ITS_WAY_SECONDS = 0.25
"""How long a kept connection stays open at the end: a request may be on its way there, and would be reset unread. In 15
ends under load a tenth of the connections met that."""

_WAITING_BYTES = 64 * 1024
"""Of an answer that its client does not read, in the event loop; as many again, doubled, in the kernel. By themselves
they would take half a megabyte with TLS, and four."""

_NO_FILES_SECONDS = 0.5
"""How long nobody is let in after the process ran out of files."""

_LONGEST_ROUND_SECONDS = 1.0

_MANY_GONE = 1000
"""So many connections fewer than there were, and their memory goes back. Else what 10,000 handshakes took would stay
taken, 560 MB, and grow when as many come again."""

_FULL_AGAIN_SECONDS = 60.0
"""How long after a log line that says that all connections are in use there is no other one."""

_OTHER_PROTOCOL = frozenset({b"upgrade", b"http2-settings"})
"""Headers that only ask for another protocol (RFC 9110, section 7.8): they may be ignored."""

_silent = logging.getLogger("hookline.silent.uvicorn")
_silent.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may take. Times are kept to a quarter of the shortest of them, or a second.

    A connection without a request under way is given up, the one that waits longest first, when another one would be
    more than `connections`; when there is none of these, the other one gets 503. Never more than half of the files
    that the process may open.
    """

    connections: int = 10_000
    handshake_seconds: float = 10.0
    """Of TLS."""
    head_seconds: float = 10.0
    """From the first byte of a request, or from the beginning of its connection, to the end of its headers. As long
    may take the rest of a body after its answer."""
    idle_seconds: float = 75.0
    """Between two requests."""
    stall_seconds: float = 20.0
    """For a client that reads nothing of its answer."""
    head_bytes: int = 16 * 1024
    """Of URL and headers, each header counted with 128 bytes more: some 120 headers. As much may come between two
    parts of a body (extensions of chunks, trailers)."""


DEFAULT_BOUNDS = Bounds()


@contextlib.asynccontextmanager
async def serving(
    app: ASGI3Application,
    *,
    host: str,
    port: int,
    wording: Wording,
    tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
    grace_seconds: float = GRACE_SECONDS,
) -> AsyncIterator[int]:
    """Serve `app` at `host`, empty for every address; gives the port. Raises OSError when it cannot be had.

    `wording` is how the server itself says no.

    At the end nobody is let in and no request is taken any more. What was begun is answered, for at most
    `grace_seconds`, and then cut. A chain that is loaded into `tls` meanwhile counts for connections from then on, as
    does another context, where a function gives it.

    What a client has proved of itself is in the scope of its requests, as the TLS extension of ASGI has it: the
    certificate alone, which TLS has verified, and as `hookline.context` the context that did.
    """
    listener = await _listen(host, port)
    door = _Door(app, listener, wording, tls if tls is None or callable(tls) else lambda: tls, bounds)
    door.open()
    try:
        yield listener.getsockname()[1]
    finally:
        await door.close(grace_seconds)


def fault_of_head(version: str, method: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Why a request with this head, whose header names are in small letters, is not taken; None if it is.

    What two programs might read in two ways is refused (RFC 9112, sections 3.2, 6.1 and 6.3), also where the parser
    lets it pass.
    """
    hosts = lengths = 0
    codings = []
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            lengths += 1
        elif name == b"transfer-encoding":
            codings.append(value.strip().lower())
    if version not in ("1.0", "1.1"):
        return "it is not of HTTP/1.1; send it as that"
    if method == "CONNECT":
        return "this is no proxy; send another method"
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return "it needs exactly one Host header"
    if codings and (codings != [b"chunked"] or version == "1.0"):
        return "the only Transfer-Encoding that is read is chunked, in HTTP/1.1; send a Content-Length instead"
    if lengths + len(codings) > 1:
        return "the length of its body is said twice; send one Content-Length, or Transfer-Encoding: chunked"
    return None


class _Door:
    """Lets connections in, and knows all of them."""

    def __init__(
        self,
        app: ASGI3Application,
        listener: socket.socket,
        wording: Wording,
        tls: Callable[[], ssl.SSLContext] | None,
        bounds: Bounds,
    ) -> None:
        self.bounds = bounds
        self.wording = wording
        self.closing = False
        self.inside: set[_Connection] = set()
        """All, from the moment that the kernel gave them."""
        self.waiting: OrderedDict[_Connection, None] = OrderedDict()
        """Those without a request under way, in the order in which they became so."""
        self.state = ServerState()
        self.config = Config(
            app,
            interface="asgi3",
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self.config.load()
        self.config.loaded_app = app  # loading it asks whether it makes an app when it is called
        self._listener = listener
        self._tls = tls
        self._most = min(bounds.connections, open_files_limit() // 2)
        self._loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()
        """Nobody is inside any more."""
        self._opening: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._say_full_at = -math.inf
        self._most_inside = 0
        """Since memory went back."""

    def open(self) -> None:
        self._loop.add_reader(self._listener, self._accept)
        self._watch = asyncio.create_task(self._end_what_is_due())

    async def close(self, grace_seconds: float) -> None:
        """Let nobody in, and wait for what is under way."""
        self.closing = True
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        self._listener.close()
        self._empty.clear()
        try:
            for each in list(self.inside):
                each.finish()
            with contextlib.suppress(TimeoutError), Deadline(grace_seconds):
                if self.inside:
                    await self._empty.wait()
                if self.state.tasks:
                    # Of clients that are gone: what they sent may still be worth its work.
                    await asyncio.wait(self.state.tasks)
        finally:
            for each in list(self.inside):
                each.abort()
            await cancel([self._watch, *self._opening, *self.state.tasks])

    def leave(self, connection: _Connection) -> None:
        self.inside.discard(connection)
        self.waiting.pop(connection, None)
        if not self.inside:
            self._empty.set()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError:
                # No file or memory is left: the kernel would say at once again that somebody waits.
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(
                    _NO_FILES_SECONDS, self._loop.add_reader, self._listener, self._accept
                )
                return
            self._let_in(sock)

    def _let_in(self, sock: socket.socket) -> None:
        full = len(self.inside) >= self._most
        if full:
            self._say_full()
        if full and self.waiting:
            longest, _ = self.waiting.popitem(last=False)
            longest.abort()
            full = False
        elif len(self.inside) >= self._most + _REFUSED_AT_ONCE:
            sock.close()
            return
        sock.setblocking(False)
        connection = _Connection(self, full=full)
        self.inside.add(connection)
        self._most_inside = max(self._most_inside, len(self.inside))
        if not full:
            self.waiting[connection] = None
        connection.opening = self._loop.create_task(self._open(connection, sock))
        self._opening.add(connection.opening)
        connection.opening.add_done_callback(functools.partial(self._opened, connection, sock))

    def _say_full(self) -> None:
        if self._loop.time() >= self._say_full_at:
            self._say_full_at = self._loop.time() + _FULL_AGAIN_SECONDS
            log.warning("all connections are in use", most=self._most, without_request=len(self.waiting))

    async def _open(self, connection: _Connection, sock: socket.socket) -> None:
        times = {"ssl_handshake_timeout": self.bounds.handshake_seconds, "ssl_shutdown_timeout": _LINGER_SECONDS}
        # A handshake that fails is the client's affair.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._tls() if self._tls is not None else None,
                **(times if self._tls is not None else {}),
            )

    def _opened(self, connection: _Connection, sock: socket.socket, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        connection.opening = None
        if not connection.is_open:
            sock.close()
            connection.let_go()
            self.leave(connection)

    async def _end_what_is_due(self) -> None:
        bounds = self.bounds
        shortest = min(bounds.head_seconds, bounds.idle_seconds, bounds.stall_seconds)
        while True:
            await asyncio.sleep(min(shortest / 4, _LONGEST_ROUND_SECONDS))
            self._look()

    def _look(self) -> None:
        now = self._loop.time()
        for each in [each for each in self.inside if each.due <= now]:
            try:
                each.end_what_is_due()
            except Exception as error:  # noqa: BLE001  # the times of all others depend on this
                log.error("a connection could not be ended: this is a bug", error=type(error).__name__)
                each.due = math.inf
        if self._most_inside - len(self.inside) >= _MANY_GONE:
            self._most_inside = len(self.inside)
            give_memory_back()


class _HeadWithBody:
    """In the place of a transport, for one answer: its head waits for its body, as ASGI has it. To write them one by
    one is a call of the kernel more, for each request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        """None before it is there, empty once it was written."""

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
        elif self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        else:
            self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self._transport.close()


class _Unfit(Exception):
    """Ends the reading of a request from within a callback of the parser."""


class _Connection(HttpToolsProtocol):
    """One client. Overrides of uvicorn's protocol are what is public in asyncio.Protocol and in httptools, and
    `_start_asgi_task`."""

    def __init__(self, door: _Door, *, full: bool) -> None:
        super().__init__(door.config, door.state, {})
        self.logger = _silent
        self.opening: asyncio.Task[None] | None = None
        self.is_open = False
        """Whether it was made: a handshake may be under way, or have failed."""
        self.due = math.inf
        """When something is to be ended, on the clock of the loop."""
        self._door = door
        self._full = full
        self._wait_until = math.inf
        self._stalled_until = math.inf
        self._running: RequestResponseCycle | None = None
        self._in_head = False
        self.headers = []
        self._unread_bytes = 0
        """Since something came of what was read."""
        self._deaf = False
        """Nothing more is read."""
        self._idle = False
        """Between two requests."""
        self._ends = False
        """With the answer under way."""
        self._why: Refusal | None = None
        """Why what came behind the requests under way is refused."""
        self._proved: dict[object, object] | None = None
        """What the client has proved of itself (ASGI, TLS extension)."""

    # What the transport says.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(_WAITING_BYTES)
        self.is_open = True
        self._proved = _proved_by(transport)
        if self._full:
            why = "all connections are in use; try again"
            self._refuse(Refusal(Why.UNAVAILABLE, why, retry_after_seconds=1.0))
        elif self._door.closing:
            self._shut()
        else:
            self._wait(self._door.bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._door.leave(self)
        while self.pipeline:
            self._never_begin(*self.pipeline.pop())
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.due = math.inf

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unread_bytes += len(data)
        try:
            self._feed(data)
            if self._unread_bytes + _FIELD_BYTES * len(self.headers) > self._door.bounds.head_bytes:
                self._too_large()
            if self._idle:
                self._idle = False
                self._wait(self._door.bounds.head_seconds)
            if self._newest is not None and self._newest.more_body and self._newest.body:
                # A page reads on when it wants more.
                self.flow.pause_reading()
        except _Unfit:
            self._stop_reading()
        except httptools.HttpParserCallbackError:
            self._why = self._why or Refusal(Why.BAD_REQUEST, "its URL cannot be read; send a path")
            self._stop_reading()
        except httptools.HttpParserError as error:
            # The words are the parser's own.
            self._why = Refusal(Why.BAD_REQUEST, f"this is not HTTP/1.1: {error}")
            self._stop_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_until = self.loop.time() + self._door.bounds.stall_seconds
        self.due = min(self._wait_until, self._stalled_until)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_until = math.inf
        self.due = self._wait_until

    # What the parser says.

    def on_message_begin(self) -> None:
        before = self._newest
        if (
            before is not None
            and not before.response_complete
            and (not before.keep_alive or len(self.pipeline) >= _PIPELINED)
        ):
            self._unfit(Why.BAD_REQUEST, "it was sent before others on its connection were answered; send it again")
        self._in_head = True
        super().on_message_begin()
        if self._proved is not None:
            self.scope["extensions"] = {"tls": dict(self._proved)}

    def on_headers_complete(self) -> None:
        if self._asks_for_another_protocol():
            return
        method = self.parser.get_method().decode()
        fault = fault_of_head(self.parser.get_http_version(), method, self.headers)
        if fault is not None:
            self._unfit(Why.BAD_REQUEST, fault)
        # What was read is more than the head, but seldom so much.
        most = self._door.bounds.head_bytes - _FIELD_BYTES * len(self.headers)
        if (
            self._unread_bytes > most
            and len(self.url) + sum(len(each) + len(value) for each, value in self.headers) > most
        ):
            self._too_large()
        super().on_headers_complete()
        # What comes behind a body is no header: nobody has looked at it when the page reads the headers.
        self.headers = []
        self._in_head = self._idle = False
        self._unread_bytes = 0
        if self._door.closing:
            self.cycle.keep_alive = False
        self._wait_until, self.due = math.inf, self._stalled_until
        self._door.waiting.pop(self, None)

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._asks_for_another_protocol():
            return
        self._unread_bytes = 0
        self.headers = []
        super().on_message_complete()
        if self.cycle.response_complete:
            self.cycle.more_body = False
            self._wait_for_request()

    # Requests and their answers.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, functools.partial(self._answer, cycle, app))

    async def _answer(
        self,
        cycle: RequestResponseCycle,
        app: ASGI3Application,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        writes, without_body = _HeadWithBody(self.transport), cycle.scope["method"] == "HEAD"

        async def sending(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                cycle.transport = cast(asyncio.Transport, writes)
                # A client that was not asked for its body may send it or not: what comes next could be either.
                if cycle.waiting_for_100_continue:
                    cycle.keep_alive = False
            elif message["type"] == "http.response.body" and not message.get("more_body") and not cycle.keep_alive:
                # Else uvicorn closes at once, and a client that still sends loses the answer.
                cycle.keep_alive, self._ends = True, True
            await send(message)
            # The next part of what has no length may take long.
            if without_body or cycle.chunked_encoding is not False:
                writes.flush()

        try:
            await app(scope, receive, sending)
        except Cut:
            if not cycle.response_started and not cycle.disconnected:
                log.error("a page cut an answer that it had not begun: this is a bug")
        except Exception as error:  # noqa: BLE001  # whatever a page does, its client gets an answer
            log.error("a page failed: this is a bug", error=type(error).__name__, at=frames_of(error))
        else:
            if not cycle.response_complete and not cycle.disconnected:
                log.error("a page gave no whole answer: this is a bug")
        if cycle.disconnected:
            return
        if not cycle.response_started:
            await self._send(Refusal(Why.INTERNAL, "this is a bug of Hookline; try again"), sending)
        elif not cycle.response_complete:
            writes.flush()
            self._close()

    def on_response_complete(self) -> None:
        """Instead of uvicorn's, which has a timer for each answer."""
        assert self._running is not None
        # What a request held is not kept until the next one.
        self._running.body = bytearray()
        self._running.scope = {}  # type: ignore[typeddict-item]
        self._running = None
        if self.transport.is_closing():
            self._wait(self._door.bounds.stall_seconds)
        elif self._ends or (self._door.closing and not self.pipeline):
            self._shut()
        elif self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._why is not None:
            self._refuse(self._why)
        else:
            if not self._in_head:
                self.scope = {}  # type: ignore[typeddict-item]
            self.flow.resume_reading()
            self._door.waiting[self] = None
            self._wait_for_request()

    # How it ends.

    def finish(self) -> None:
        """Serving ends: take no more requests."""
        if not self.is_open:
            self.abort()
        elif self._running is not None:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_ON_ITS_WAY_SECONDS, self._shut_if_idle)

    def _shut_if_idle(self) -> None:
        if not (self.transport.is_closing() or self._running is not None or self._in_head or self._deaf):
            self._shut()

    def abort(self) -> None:
        if self.is_open:
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def end_what_is_due(self) -> None:
        now = self.loop.time()
        if now >= self._stalled_until or self._deaf or self.transport.is_closing():
            self.abort()
        elif self._in_head:
            self._refuse(Refusal(Why.TOO_SLOW, "its headers did not come in time; send them at once"))
        else:
            self._shut()

    def _stop_reading(self) -> None:
        """What came cannot be read. Says so, behind the answers to what was read before."""
        assert self._why is not None
        self._deaf = True
        self.headers, self.url = [], b""
        last = self._newest
        if last is None or (last.response_complete and not last.more_body):
            self._refuse(self._why)
        elif last.response_complete:
            self._shut()
        elif last.more_body and last is not self._running:
            self._never_begin(*self.pipeline.popleft())
        elif last.more_body and last.response_started:
            self.abort()
        elif last.more_body:
            last.disconnected = True
            last.message_event.set()
            self._refuse(self._why)

    def _refuse(self, refusal: Refusal) -> None:
        """The last answer of this connection, made without a page."""
        if self.transport.is_closing():
            return
        said = self._door.wording(refusal)
        headers = {**said.headers, "Content-Length": str(len(said.body)), "Connection": "close"}
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[refusal.why], *lines, b"\r\n", said.body]))
        self._linger()

    async def _send(self, refusal: Refusal, send: ASGISendCallable) -> None:
        """In place of a page's answer."""
        said = self._door.wording(refusal)
        headers = {**said.headers, "Content-Length": str(len(said.body))}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": int(refusal.why), "headers": encoded})
        await send({"type": "http.response.body", "body": said.body, "more_body": False})

    def _shut(self) -> None:
        """Say nothing more."""
        if self._in_head or (self._newest is not None and self._newest.more_body):
            self._linger()
        else:
            self._close()

    def _close(self) -> None:
        self._deaf = True
        self._door.waiting.pop(self, None)
        self._wait(self._door.bounds.stall_seconds)
        self.transport.close()

    def _linger(self) -> None:
        """Close, but let the client finish first: it might lose what it was told."""
        self._deaf = True
        self._door.waiting.pop(self, None)
        self._wait(_LINGER_SECONDS)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def let_go(self) -> None:
        """It was never made: leave no cycle of references."""
        self.parser = None  # type: ignore[assignment]

    # Small things.

    @property
    def _newest(self) -> RequestResponseCycle | None:
        """Of the requests that came. Not the one that is answered, where a client does not wait for answers."""
        return self.cycle

    def _wait_for_request(self) -> None:
        """Or for the rest of the one that was answered."""
        bounds = self._door.bounds
        self._idle = idle = not self.cycle.more_body and not self._in_head and self._unread_bytes == 0
        self._wait(bounds.idle_seconds if idle else bounds.head_seconds)

    @staticmethod
    def _never_begin(cycle: RequestResponseCycle, _: ASGI3Application) -> None:
        """Leave no cycle of references."""
        cycle.on_response = lambda: None

    def _wait(self, seconds: float) -> None:
        self._wait_until = self.loop.time() + seconds
        self.due = min(self._wait_until, self._stalled_until)

    def _too_large(self) -> NoReturn:
        most = self._door.bounds.head_bytes
        what = "its URL and headers" if self._in_head else "what is no body between the parts of its body"
        self._unfit(Why.TOO_LARGE, f"{what} may have {most} bytes; send less")

    def _unfit(self, why: Why, detail: str) -> NoReturn:
        self._why = Refusal(why, detail)
        raise _Unfit

    def _asks_for_another_protocol(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _feed(self, data: bytes) -> None:
        """Read on. A wish for another protocol is ignored: the parser, which takes no body with it, reads the head
        again without. Java's client sends one (h2c) with each request that goes by plain HTTP."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [each for each in value.split(b",") if each.strip().lower() not in _OTHER_PROTOCOL]
                lines.append(b"connection:" + b",".join(kept))
            elif name not in _OTHER_PROTOCOL:
                lines.append(name + b":" + value)
        return b"\r\n".join([*lines, b"", b""])


def _proved_by(transport: asyncio.Transport) -> dict[object, object] | None:
    """None of a client that showed no certificate."""
    tls = transport.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True) if tls is not None else None
    if shown is None:
        return None
    return {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(shown)], "hookline.context": tls.context}


async def _listen(host: str, port: int) -> socket.socket:
    if not host:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        listener = socket.create_server(("", port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    else:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WAITING_BYTES)
    # Inherited, as the size is. asyncio sets it for no socket that was accepted by others, and then the body of an
    # answer waits 40 ms for the client's word that its head came.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener
