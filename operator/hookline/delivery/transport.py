"""The connections below an attempt: one POST and its answer, carried by the connections of aiohttp.

Decides how a connection is made, checked and reused: TLS contexts, name lookup, the egress policy at every door, the
pool. It never follows a redirect, keeps a cookie, reads a proxy from the environment, adds a header of its own (except
Host and Content-Length), rewrites a URL or decodes a body, and it judges no answer: delivery/attempt.py does.

The egress policy is asked at three places, because each of the first two can be passed by: literal addresses before
anything else, every record of a DNS answer, and every socket before it connects. The addresses that were checked are
the ones that are connected to; there is no second lookup. A pooled connection is checked again before each use, so that
a policy that became stricter holds at once.
"""

from __future__ import annotations

import asyncio
import functools
import re
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage

from hookline.delivery.descriptors import raised_limit
from hookline.delivery.lookup import Lookup, NameServers
from hookline.delivery.progress import InvalidCallError, Phase, Progress, current_call
from hookline.delivery.tls import TlsContext
from hookline.delivery.tunnel import ProxyCredentials, Tunnels
from hookline.delivery.wall import CheckedResolver, EgressRefusedError, Wall
from hookline.egress import HTTPS_PORT, Address, EgressPolicy, Proxy, literal_address
from hookline.private_parts import require

# Below the idle limits of common load balancers (60 s), above the gaps of a busy lane.
KEEP_ALIVE_SECONDS = 30
DNS_CACHE_SECONDS = 10
# aiohttp buffers up to twice this per connection before it stops reading from the socket.
READ_BUFFER_BYTES = 32 * 1024
# Cookies and security policies of an ordinary web server outgrow aiohttp's 8 KiB, and a delivery must not fail on them.
MAX_ANSWER_HEADER_BYTES = 32 * 1024
# With the informational answers and empty lines before it, of which the parser takes any number.
MAX_ANSWER_HEAD_BYTES = 128 * 1024
# What comes after the head and is not of the body: sizes and extensions of chunks, trailers. A chunk, if only of one
# byte, costs about 1 us of CPU and at least five bytes of this, so that an answer has some 1,600 of them at most.
MAX_ANSWER_FRAMING_BYTES = 8 * 1024
# The parser goes on to the end of what it is fed, and one read from a socket may give 256 KiB: 7,000 answers.
FED_AT_ONCE_BYTES = 4 * 1024
# Each costs a parsed message; without a bound a flood of them takes a core until the call's time is over.
MAX_INFORMATIONAL_ANSWERS = 64
_TARGETS_KEPT = 4096
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PRINTABLE_ASCII = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart once: `origin` for the pool, `request_line` and `host`, a whole line, as they are sent."""

    origin: httpx.URL
    authority: str
    request_line: bytes = field(repr=False)
    host: str
    literal: Address | None
    literal_text: str | None
    port: int


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class Post:
    """One request. `head` are its header lines as they are sent, Host among them and without Content-Length."""

    target: Target
    head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    tls_context: TlsContext
    connect_timeout_seconds: float
    progress: Progress
    """Written to while the call runs."""


@functools.lru_cache(maxsize=_TARGETS_KEPT)
def target_of(url: str) -> Target:
    """The target that `url` names. Raises InvalidCallError, whose message repeats nothing of the URL.

    Path and query stay as typed, byte by byte: a receiver may have signed or routed on a spelling. Only what may not
    stand in a request line (spaces, control characters, non-ASCII) is percent-encoded as UTF-8.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() != "https":
        raise InvalidCallError("the URL must start with https://")
    end = min((index for index in map(rest.find, "/?#") if index >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:].partition("#")[0]
    if "@" in authority or "\\" in authority:
        raise InvalidCallError("the URL must not hold a user name, a password or a backslash before the path")
    try:
        origin = httpx.URL(f"https://{authority}/")
        request_target = quote(path if path.startswith("/") else f"/{path}", safe=_PRINTABLE_ASCII)
    except (httpx.InvalidURL, UnicodeError):
        raise InvalidCallError("the URL is not valid") from None
    host = origin.raw_host.decode("ascii")
    literal = literal_address(host)
    port = HTTPS_PORT if origin.port is None else origin.port
    if _HOST.fullmatch(host) is None or not 0 < port < 65536:
        raise InvalidCallError("the host or the port of the URL is not valid")
    return Target(
        origin=origin,
        authority=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        request_line=b"POST %b HTTP/1.1\r\n" % request_target.encode("ascii"),
        host=f"Host: {origin.netloc.decode('ascii')}\r\n",
        literal=literal,
        literal_text=None if literal is None else str(literal),
        port=port,
    )


require(aiohttp.TCPConnector, "_release", "_wrap_create_connection", "_wrap_existing_connection")
require(ResponseHandler, "data_received", "feed_data", "set_response_params")


class _Answers(ResponseHandler):
    """The receiving end of one connection, which hangs up on an answer that takes more than any real one.

    Before the end of the head that is an error. After it the answer ends there, as if it were whole: its status counts.
    """

    address = ""
    """At the other end: of a tunnel, the one behind the proxy."""
    proxy: Proxy | None = None

    _wire_bytes = 0
    """Of the answer to this call."""
    _head_bytes = 0
    _heads = 0
    """With those of informational answers."""
    _body: aiohttp.StreamReader | None = None
    """Of the answer, once its head has come."""
    _is_over = False

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: set[ResponseHandler]) -> None:
        super().__init__(loop)
        self._idle = idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""

    def connection_lost(self, exc: BaseException | None) -> None:
        self._idle.discard(self)
        super().connection_lost(exc)

    def set_response_params(self, **options: Any) -> None:
        self._wire_bytes, self._head_bytes, self._heads, self._body = 0, 0, 0, None
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data) or 1, FED_AT_ONCE_BYTES):  # without data it is asked to go on
            if self._is_over:
                return
            self._feed(data[start : start + FED_AT_ONCE_BYTES])

    def _feed(self, piece: bytes) -> None:
        self._wire_bytes += len(piece)
        super().data_received(piece)
        if self._is_over:
            return
        if self._body is None and self._wire_bytes > MAX_ANSWER_HEAD_BYTES:
            self.set_exception(BadHttpMessage("the head of the answer is too long"))
        error = self.exception()
        if error is not None:
            self._hang_up(error)
        elif self._body is not None and self._framing_bytes(self._body) > MAX_ANSWER_FRAMING_BYTES:
            self._end_answer(self._body)

    def _framing_bytes(self, body: aiohttp.StreamReader) -> int:
        # What the parser has not looked at counts as well: it stops only at more than is read of any body, or at chunks
        # that are too small.
        return self._wire_bytes - self._head_bytes - body.total_bytes

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        message, body = data
        if self._body is not None:
            self._end_answer(self._body)  # with a second one, that nobody asked for
            return
        self._heads += 1
        if self._heads > MAX_INFORMATIONAL_ANSWERS + 1:
            self.set_exception(BadHttpMessage("too many informational answers"))
            return
        super().feed_data(data, size)
        if _is_final(message):
            self._body, self._head_bytes = body, self._wire_bytes - body.total_bytes

    def _end_answer(self, body: aiohttp.StreamReader) -> None:
        self._is_over = True
        self.force_close()
        # Both would have it that the answer broke off, once the connection is lost.
        self._parser = self._payload = None
        if not body.is_eof():
            body.feed_eof()
        if self.transport is not None:
            self.transport.abort()

    def _hang_up(self, error: BaseException) -> None:
        self._is_over = True
        # aiohttp tells whoever waits for a head, and of a body not in all cases.
        if self._payload is not None and self._payload.exception() is None:
            self._payload.set_exception(error)
        if self.transport is not None:
            self.transport.abort()


def _is_final(message: RawResponseMessage) -> bool:
    """Whether it is the answer. 1xx come before it; there is nothing to be switched to with 101."""
    return message.code >= 200 or message.code == 101


class _Connector(aiohttp.TCPConnector):
    """The pool, with the policy at its two last doors: a new socket, and a pooled connection about to be used again."""

    def __init__(self, wall: Wall, lookup: Lookup, proxy_credentials: ProxyCredentials) -> None:
        self._wall = wall
        self._tunnels = Tunnels(lookup, proxy_credentials)
        super().__init__(
            resolver=CheckedResolver(wall, lookup),
            socket_factory=self._open_socket,
            limit=0,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ttl_dns_cache=DNS_CACHE_SECONDS,
        )
        # Half for idle connections: calls, lookups and NATS need some as well.
        self._most_idle = raised_limit() // 2
        # aiohttp's pool goes by endpoints, and keeps those as well that have ended.
        self._idle: set[ResponseHandler] = set()
        factory: Any = functools.partial(_Answers, loop=asyncio.get_running_loop(), idle=self._idle)
        self._factory = factory

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        progress = current_call.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            assert connection.protocol is not None, "it was only just opened or taken"
            self._idle.discard(connection.protocol)
            progress.reused = progress.phase is Phase.LOOKUP
            if not progress.reused or self._may_reuse(connection):
                progress.phase = Phase.ANSWER
                return connection
            connection.close()

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if not _is_written(protocol.transport):
            # Whoever answers without reading would have one body after another wait here. Closed in any other way, TLS
            # waits for half a minute for what is unread.
            protocol.abort()
            should_close = True
        crowded = len(self._idle) >= self._most_idle
        super()._release(key, protocol, should_close=should_close or crowded)
        idle = self._conns.get(key)
        if idle and idle[-1][0] is protocol:
            self._idle.add(protocol)
            # aiohttp takes the one that was unused for longest. The one that was used last is warm in the caches, which
            # saves 12 % of a delivery's CPU with 500 connections, and the others may end once a burst is over.
            idle.rotate(1)

    def _may_reuse(self, connection: Connection) -> bool:
        protocol = connection.protocol
        if not isinstance(protocol, _Answers) or protocol.transport is None:
            return False
        if protocol.should_close:
            # It spoke unasked while it lay in the pool: what it said would pass for the answer to this call.
            return False
        return protocol.proxy == self._wall.proxy and self._wall.refusal(protocol.address) is None

    def _open_socket(self, addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        self._check(str(address[0]))
        current_call.get().phase = Phase.CONNECT
        return socket.socket(family, kind, protocol)

    def _check(self, address: str) -> None:
        progress = current_call.get()
        progress.refusal = self._wall.refusal(address)
        if progress.refusal is not None:
            raise EgressRefusedError(progress.refusal)

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: list[AddrInfoType],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """A connection to one of the addresses, with TLS; through the proxy if there is one."""
        proxy = self._wall.proxy
        if proxy is None:
            return await super()._wrap_create_connection(
                *args, addr_infos=addr_infos, req=req, timeout=timeout, client_error=client_error, **kwargs
            )
        places = [(str(host), int(port)) for *_, (host, port, *_) in addr_infos]
        addr_infos.clear()  # all are tried here, and aiohttp has none to go on with
        while True:
            place, tunnel = await self._tunnels.open(proxy, places, self._check)
            try:
                transport, protocol = await self._wrap_existing_connection(
                    *args, req=req, timeout=timeout, client_error=client_error, sock=tunnel, **kwargs
                )
            except BaseException as error:
                tunnel.close()
                self._tunnels.doubt(place)
                places.remove(place)
                if isinstance(error, aiohttp.ClientConnectorError) and places:
                    continue
                raise
            assert isinstance(protocol, _Answers), "the factory makes no others"
            protocol.proxy, protocol.address = proxy, place[0]
            return transport, protocol


def _is_written(transport: asyncio.Transport | None) -> bool:
    """Whether nothing of a request waits in this process for its receiver to read."""
    if transport is None or transport.is_closing():
        return True
    if transport.get_write_buffer_size() > 0:
        return False
    # That was what TLS holds. Of what the socket's transport holds neither event loop tells; while it holds something
    # that its receiver does not take, the socket is full.
    sockets = select.poll()
    sockets.register(transport.get_extra_info("socket"), select.POLLOUT)
    return bool(sockets.poll(0))


class _Door(aiohttp.ClientRequest):
    """What the pool of aiohttp knows a way to a receiver by. Never sent."""

    @functools.cached_property
    def connection_key(self) -> ConnectionKey:
        """The key of the pool, which is made anew each time otherwise."""
        return super().connection_key


def _door(target: Target, context: TlsContext) -> _Door:
    door: _Door | None = context.doors.get(target.authority)
    if door is None:
        if len(context.doors) >= _TARGETS_KEPT:
            context.doors.clear()
        url = yarl.URL(str(target.origin), encoded=True)
        door = context.doors[target.authority] = _Door("POST", url, ssl=context)
    return door


class AiohttpTransport:
    """Sends requests over the connections of aiohttp.

    Of aiohttp it uses the pool, the TLS connections and the parser of answers, and writes the request itself: its
    session and its own request and response objects take 80 us of CPU a call, of 140 us for a bare client in all, for
    what no delivery needs (cookies, redirects, tracing, URLs that are quoted anew).

    Whoever gets an answer must close it. Errors are those of aiohttp, EgressRefusedError and TimeoutError, and their
    texts may hold the URL: they are not to be shown. Made and used inside one running event loop.
    """

    def __init__(
        self,
        policy: Callable[[], EgressPolicy],
        lookup: Lookup | None = None,
        proxy_credentials: ProxyCredentials | None = None,
    ) -> None:
        self._wall = Wall(policy)
        self._lookup = lookup or NameServers()
        self._connector = _Connector(self._wall, self._lookup, proxy_credentials or ProxyCredentials())

    async def send(self, post: Post) -> Answer:
        """The answer to `post`, its body still unread.

        A pooled connection that breaks before an answer is usually one that the receiver closed at that very moment.
        The request then goes once more: a delivery may arrive twice anyway, and must not wait for its next attempt
        because of a closed idle connection.
        """
        progress, target = post.progress, post.target
        if self._wall.refresh():
            self._connector.clear_dns_cache()
        refusal = self._wall.refusal_of(target.literal_text, target.port)
        if refusal is not None:
            raise EgressRefusedError(refusal)
        current_call.set(progress)
        try:
            return await self._send(post)
        except (aiohttp.ServerDisconnectedError, OSError):
            if not progress.reused:
                raise
        progress.phase = Phase.LOOKUP
        return await self._send(post)

    async def _send(self, post: Post) -> Answer:
        door = _door(post.target, post.tls_context)
        connection = await self._connector.connect(door, [], _timeouts(post.connect_timeout_seconds))
        try:
            message, content = await _exchange(connection, post)
        except BaseException:
            connection.close()
            raise
        post.progress.phase = Phase.BODY
        return Answer(message.code, message.raw_headers, connection, content)

    async def aclose(self) -> None:
        """Closes all connections; calls still under way fail."""
        await self._connector.close()
        await self._lookup.close()


async def _exchange(connection: Connection, post: Post) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """Send a request in one piece; the head of the final answer, and the reader of its body."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(
        read_until_eof=True,
        auto_decompress=False,
        read_bufsize=READ_BUFFER_BYTES,
        max_field_size=MAX_ANSWER_HEADER_BYTES,
    )
    length = b"Content-Length: %d\r\n\r\n" % len(post.body)
    transport.write(b"".join((post.target.request_line, post.head, length, post.body)))
    while True:
        message, content = await protocol.read()
        if message.version[0] != 1 or message.code < 100:
            raise BadHttpMessage("not the status line of HTTP/1.x")
        if _is_final(message):
            return message, content


@functools.lru_cache(maxsize=256)
def _timeouts(connect_seconds: float) -> aiohttp.ClientTimeout:
    # The whole call is bounded by the caller; aiohttp would round timers above the threshold up to full seconds.
    return aiohttp.ClientTimeout(total=None, connect=connect_seconds, ceil_threshold=float("inf"))


class Answer:
    """The head of an answer, and its body, undecoded, in the pieces in which it arrives."""

    __slots__ = ("_connection", "_content", "_headers", "status")

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        connection: Connection,
        content: aiohttp.StreamReader,
    ) -> None:
        self.status = status
        self._headers = headers
        self._connection = connection
        self._content = content

    def header(self, name: bytes) -> str | None:
        """The values of a header, by its name in lower case, as one text; None if there is none."""
        values = [value for each, value in self._headers if each.lower() == name]
        return b", ".join(values).decode("latin-1") if values else None

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end."""
        return b"" if self._content.at_eof() else await self._content.readany()

    def close(self) -> None:
        """Puts the connection back into the pool, or closes it if something is unread at either end or it was not to be
        kept."""
        if self._content.at_eof():
            self._connection.release()
        else:
            self._connection.close()
