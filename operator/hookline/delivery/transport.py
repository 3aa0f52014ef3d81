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
import contextlib
import functools
import re
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import AddrInfoType, Connection

from hookline.delivery.answers import BadAnswerError, Reading
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
MOST_UNACKNOWLEDGED_SECONDS = 5.0
"""How long a request in a kept connection may go unacknowledged: a node that is lost, or a firewall that forgot the
connection, drops what comes without a word. Half the time of a call that has less than twice that."""
DNS_CACHE_SECONDS = 10
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
    tenant: str


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


require(aiohttp.TCPConnector, "_get", "_release", "_wrap_create_connection", "_wrap_existing_connection")
require(ResponseHandler, "connection_lost", "connection_made", "data_received", "force_close")


class _Answers(ResponseHandler):
    """The receiving end of one connection. It hangs up on whoever says more than belongs to the answer to a call."""

    address = ""
    """At the other end: of a tunnel, the one behind the proxy."""
    proxy: Proxy | None = None
    reading: Reading | None = None
    """The answer to the call that has this connection."""

    ended: BaseException | None = None
    """Why no more will come."""
    _more: asyncio.Future[None] | None = None
    _unacknowledged_ms = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: set[ResponseHandler]) -> None:
        super().__init__(loop)
        self._idle = idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""

    def connection_lost(self, exc: BaseException | None) -> None:
        self._idle.discard(self)
        if self.reading is not None:
            self.reading.end()
        self.ended = self.ended or exc or ConnectionResetError()
        super().connection_lost(exc)
        self._wake()

    def data_received(self, data: bytes) -> None:
        reading = self.reading
        if reading is None:
            self.ended = BadAnswerError("it answered before it was asked")
            self._hang_up()
            return
        try:
            reading.take(data)
        except BadAnswerError as error:
            self.ended = error
            self._hang_up()
        else:
            if reading.is_overfull:
                self._hang_up()
        self._wake()

    def bound_unacknowledged(self, seconds: float) -> None:
        """Have the kernel (that of Linux) end the connection once what was sent has gone unacknowledged for so long."""
        milliseconds = int(seconds * 1000)
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if self.transport is None or option is None or milliseconds == self._unacknowledged_ms:
            return
        self._unacknowledged_ms = milliseconds
        with contextlib.suppress(OSError):  # uvloop needs a free descriptor for this
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, milliseconds)

    async def more(self) -> None:
        """Returns once more of the answer has come. Raises what ended it instead."""
        if self.ended is not None:
            raise self.ended
        self._more = self._loop.create_future()
        await self._more

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _hang_up(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.abort()


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
            progress.reused = False
            connection = await super().connect(req, traces, timeout)
            assert connection.protocol is not None, "it was only just opened or taken"
            self._idle.discard(connection.protocol)
            progress.reused = progress.phase is Phase.LOOKUP
            if not progress.reused or self._may_reuse(connection):
                progress.phase = Phase.ANSWER
                return connection
            connection.close()

    async def _get(self, key: ConnectionKey, traces: list[Any]) -> Connection | None:
        return None if current_call.get().needs_new_connection else await super()._get(key, traces)

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
        if protocol.should_close or not _is_silent(protocol.transport):
            # What it said while it lay in the pool would pass for the answer to this call. Or it has ended.
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
    return _is_ready(transport, select.POLLOUT)


def _is_silent(transport: asyncio.Transport) -> bool:
    """Whether nothing has come that the event loop has yet to read: an answer unasked, or the connection's end."""
    return not transport.is_closing() and not _is_ready(transport, select.POLLIN)


def _is_ready(transport: asyncio.Transport, event: int) -> bool:
    sockets = select.poll()
    sockets.register(transport.get_extra_info("socket"), event)
    return bool(sockets.poll(0))


class _Door(aiohttp.ClientRequest):
    """aiohttp's pool key for one receiver and one tenant. Never sent."""

    tenant = ""

    @functools.cached_property
    def connection_key(self) -> ConnectionKey:
        """The key of the pool, which is made anew each time otherwise.

        aiohttp knows of no proxy here, so that the field for its headers is free to tell tenants apart.
        """
        return super().connection_key._replace(proxy_headers_hash=hash(self.tenant))


def _door(target: Target, context: TlsContext, tenant: str) -> _Door:
    door: _Door | None = context.doors.get((tenant, target.authority))
    if door is None:
        if len(context.doors) >= _TARGETS_KEPT:
            context.doors.clear()
        url = yarl.URL(str(target.origin), encoded=True)
        door = context.doors[tenant, target.authority] = _Door("POST", url, ssl=context)
        door.tenant = tenant
    return door


class AiohttpTransport:
    """Sends requests over the connections of aiohttp.

    Of aiohttp it uses the pool and the TLS connections, writes the request and reads the answer itself: its session and
    its own request and response objects take 80 us of CPU a call, of 140 us for a bare client in all, for what no
    delivery needs (cookies, redirects, tracing, URLs that are quoted anew), and its parser keeps no status of an answer
    that bytes follow.

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

        A pooled connection that breaks before an answer is usually one that the receiver, or who is between, gave up
        while it was idle; or what comes over it belongs to no answer. The request then goes once more, over a new
        connection: a delivery may arrive twice anyway, and neither waits for its next attempt nor counts against the
        endpoint because of an idle connection. RFC 9112, 9.3.1, and for 408 RFC 9110, 15.5.9.
        """
        progress, target = post.progress, post.target
        if self._wall.refresh():
            self._connector.clear_dns_cache()
        refusal = self._wall.refusal_of(target.literal_text, target.port)
        if refusal is not None:
            raise EgressRefusedError(refusal)
        current_call.set(progress)
        try:
            answer = await self._send(post)
        except (aiohttp.ServerDisconnectedError, OSError, BadAnswerError):
            if not progress.reused:
                raise
        else:
            if not (progress.reused and _says_that_it_was_idle(answer)):
                return answer
            answer.close()
        progress.phase, progress.needs_new_connection = Phase.LOOKUP, True
        return await self._send(post)

    async def _send(self, post: Post) -> Answer:
        door = _door(post.target, post.tls_context, post.tenant)
        connection = await self._connector.connect(door, [], _timeouts(post.connect_timeout_seconds))
        try:
            answer = await _exchange(connection, post)
        except BaseException:
            connection.close()
            raise
        post.progress.phase = Phase.BODY
        return answer

    async def aclose(self) -> None:
        """Closes all connections; calls still under way fail."""
        await self._connector.close()
        await self._lookup.close()


async def _exchange(connection: Connection, post: Post) -> Answer:
    """Send a request in one piece; the answer, once its head has come."""
    protocol, transport = connection.protocol, connection.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    assert isinstance(protocol, _Answers), "the factory makes no others"
    if protocol.ended is not None:
        raise protocol.ended
    if post.progress.reused:
        protocol.bound_unacknowledged(min(MOST_UNACKNOWLEDGED_SECONDS, post.connect_timeout_seconds / 2))
    reading = protocol.reading = Reading()
    length = b"Content-Length: %d\r\n\r\n" % len(post.body)
    transport.write(b"".join((post.target.request_line, post.head, length, post.body)))
    while (status := reading.status) is None:
        await protocol.more()
    return Answer(status, reading, connection, protocol)


def _says_that_it_was_idle(answer: Answer) -> bool:
    """HAProxy and others say so to a connection that they give up, and it may cross a request."""
    return answer.status == 408 and answer.reading.closes


@functools.lru_cache(maxsize=256)
def _timeouts(connect_seconds: float) -> aiohttp.ClientTimeout:
    # The whole call is bounded by the caller; aiohttp would round timers above the threshold up to full seconds.
    return aiohttp.ClientTimeout(total=None, connect=connect_seconds, ceil_threshold=float("inf"))


class Answer:
    """An answer whose head has come. `reading` says what of it there is."""

    __slots__ = ("_connection", "_protocol", "reading", "status")

    def __init__(self, status: int, reading: Reading, connection: Connection, protocol: _Answers) -> None:
        self.status = status
        self.reading = reading
        self._connection = connection
        self._protocol = protocol

    async def until_over(self) -> None:
        """Returns once it is whole, or longer than what is read. Raises what ended it instead."""
        while not self.reading.is_over:
            await self._protocol.more()

    def close(self) -> None:
        """Puts the connection back into the pool, or closes it if it may not carry another call."""
        self._protocol.reading = None
        if self.reading.is_reusable:
            self._connection.release()
        else:
            self._connection.close()
