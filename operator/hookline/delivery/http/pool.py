"""The connections below a call: how one is made by aiohttp, and how it is checked, kept and used again.

Decides which kept connection a call may take, when one is closed instead of kept, how many lie idle, and who shares
them: one tenant, one receiver, one TLS context. It writes no request and judges no answer.

The egress policy is asked here for every record of a DNS answer, and for every socket before it connects. The
addresses that were checked are the ones that are connected to; there is no second lookup. A kept connection is checked
again before each use, so that a policy that became stricter holds at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import select
import socket
import time
from typing import Any

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection

from hookline.delivery.http.answer_framing import BadAnswerError, Reading
from hookline.delivery.http.egress_guard import CheckedResolver, EgressGuard, EgressRefusedError
from hookline.delivery.http.lookup import Lookup
from hookline.delivery.http.progress import Phase, current_call
from hookline.delivery.http.target import Target
from hookline.delivery.http.tls import TlsContext
from hookline.delivery.http.tunnel import ProxyCredentials, Tunnels
from hookline.resources.egress_policy import Proxy
from hookline.runtime.private_parts import require
from hookline.runtime.tuning import open_files_limit

# Below the idle limits of common load balancers (60 s), above the gaps of a busy lane.
KEEP_ALIVE_SECONDS = 30
DNS_CACHE_SECONDS = 10
_LITTLE_BYTES = 16 * 1024
"""Of a request: what a socket that can be written to takes at once, nearly always."""

require(aiohttp.TCPConnector, "_release", "_wrap_create_connection", "_wrap_existing_connection")
require(ResponseHandler, "connection_lost", "connection_made", "data_received", "force_close")

Place = tuple[str, str, TlsContext]
"""Who may use a connection: a tenant, for host and port of a receiver, with this TLS context."""


class ReceivingEnd(ResponseHandler):
    """The receiving end of one connection. It hangs up on whoever says more than belongs to the answer to a call."""

    address = ""
    """At the other end: of a tunnel, the one behind the proxy."""
    proxy: Proxy | None = None
    sent_bytes = 0
    """Of the request that it carried last."""
    reading: Reading | None = None
    """The answer to the call that has this connection."""

    ended: BaseException | None = None
    """Why no more will come."""
    place: Place
    connection: Connection | None = None
    """As aiohttp has it, until it is closed."""
    idle_since_s = 0.0
    """When it carried a call last, by the monotonic clock."""
    _more: asyncio.Future[None] | None = None
    _unacknowledged_ms = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        super().__init__(loop)
        self._pool = pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.reading is not None:
            self.reading.end()
        self.ended = self.ended or exc or ConnectionResetError()
        super().connection_lost(exc)
        self._pool.lost(self)
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


class Idle:
    """Connections that carry no call. The one that was used last is taken first: it is warm in the caches, which saves
    CPU where there are many, and the others may end once a burst is over."""

    def __init__(self) -> None:
        self._ends: dict[Place, list[ReceivingEnd]] = {}
        """The one that was used last is last."""
        self.count = 0

    def add(self, end: ReceivingEnd) -> None:
        self._ends.setdefault(end.place, []).append(end)
        self.count += 1

    def pop(self, place: Place) -> ReceivingEnd | None:
        ends = self._ends.get(place)
        if ends is None:
            return None
        end = ends.pop()
        if not ends:
            del self._ends[place]
        self.count -= 1
        return end

    def discard(self, end: ReceivingEnd) -> bool:
        """Whether it was there."""
        ends = self._ends.get(end.place, [])
        if end not in ends:
            return False
        ends.remove(end)
        if not ends:
            del self._ends[end.place]
        self.count -= 1
        return True

    def older(self, than_s: float) -> list[ReceivingEnd]:
        """Those that carried their last call before then."""
        return [end for ends in self._ends.values() for end in ends if end.idle_since_s < than_s]


class Pool(aiohttp.TCPConnector):
    """Has aiohttp make connections, with the policy asked for each new socket, and for a kept one about to be used.

    They are kept here and not by aiohttp, which makes an object for each use and goes through its bounds and waiters.
    To aiohttp a connection is in use as long as it is open.
    """

    def __init__(self, guard: EgressGuard, lookup: Lookup, proxy_credentials: ProxyCredentials) -> None:
        self._guard = guard
        self._tunnels = Tunnels(lookup, proxy_credentials)
        super().__init__(
            resolver=CheckedResolver(guard, lookup),
            socket_factory=self._open_socket,
            limit=0,
            force_close=True,
            ttl_dns_cache=DNS_CACHE_SECONDS,
        )
        # Half for idle connections: calls, lookups and NATS need some as well.
        self._most_idle = open_files_limit() // 2
        self._idle = Idle()
        self._sweeping: asyncio.TimerHandle | None = None
        factory: Any = functools.partial(ReceivingEnd, loop=asyncio.get_running_loop(), pool=self)
        self._factory = factory

    async def take(self, target: Target, context: TlsContext, tenant: str, connect_seconds: float) -> ReceivingEnd:
        """A connection for a call of `tenant`: one that was kept, or a new one. To be kept or dropped afterwards."""
        progress, place = current_call.get(), (tenant, target.authority, context)
        while not progress.needs_new_connection and (kept := self._idle.pop(place)) is not None:
            if self._may_reuse(kept):
                progress.reused = True
                progress.reach(Phase.ANSWER)
                return kept
            self.drop(kept)
        progress.reused = False
        # Never sent: aiohttp takes from it where to connect, and with which TLS context.
        request = aiohttp.ClientRequest("POST", yarl.URL(str(target.origin), encoded=True), ssl=context)
        connection = await self.connect(request, [], _timeouts(connect_seconds))
        end = connection.protocol
        assert isinstance(end, ReceivingEnd), "the factory makes no others"
        end.place, end.connection = place, connection
        progress.reach(Phase.ANSWER)
        return end

    def keep(self, end: ReceivingEnd) -> None:
        """It may carry another call, if there is room for it."""
        transport = end.transport
        # To ask the socket takes 8 us in a busy sender. What is little may lie here until the next use, which asks.
        if (
            transport is None
            or transport.is_closing()
            or self._idle.count >= self._most_idle
            or (end.sent_bytes > _LITTLE_BYTES and not _is_written(transport))
        ):
            self.drop(end)
            return
        end.idle_since_s = time.monotonic()
        self._idle.add(end)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEEP_ALIVE_SECONDS, self._sweep)

    def drop(self, end: ReceivingEnd) -> None:
        """Close it."""
        connection, end.connection = end.connection, None
        if connection is not None:
            connection.close()

    def lost(self, end: ReceivingEnd) -> None:
        """It has ended. One that carries a call is dropped by that."""
        if end.connection is not None and self._idle.discard(end):
            self.drop(end)

    async def close(self, *, abort_ssl: bool = False) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        try:
            await super().close(abort_ssl=abort_ssl)
        finally:
            self._drop_older(math.inf)

    def _sweep(self) -> None:
        self._sweeping = None
        self._drop_older(time.monotonic() - KEEP_ALIVE_SECONDS)
        if self._idle.count:
            self._sweeping = self._loop.call_later(KEEP_ALIVE_SECONDS, self._sweep)

    def _drop_older(self, than_s: float) -> None:
        for end in self._idle.older(than_s):
            self._idle.discard(end)
            self.drop(end)

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        """Close it."""
        if not _is_written(protocol.transport):
            # Whoever answers without reading would have one body after another wait here. Closed in any other way, TLS
            # waits for half a minute for what is unread.
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)

    def _may_reuse(self, end: ReceivingEnd) -> bool:
        if end.transport is None or time.monotonic() - end.idle_since_s > KEEP_ALIVE_SECONDS:
            return False
        if end.should_close or not _is_at_rest(end.transport):
            # What it said while it lay in the pool would pass for the answer to this call. Or it has ended, or the last
            # request is still unread.
            return False
        return end.proxy == self._guard.proxy and self._guard.refusal(end.address) is None

    def _open_socket(self, addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        self._check(str(address[0]))
        current_call.get().reach(Phase.CONNECT)
        return socket.socket(family, kind, protocol)

    def _check(self, address: str) -> None:
        progress = current_call.get()
        progress.refusal = self._guard.refusal(address)
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
        proxy = self._guard.proxy
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
            assert isinstance(protocol, ReceivingEnd), "the factory makes no others"
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
    return _state(transport, select.POLLOUT) != 0


def _is_at_rest(transport: asyncio.Transport) -> bool:
    """Whether nothing waits either way: also nothing has come that the event loop has yet to read, such as an answer
    unasked or the connection's end."""
    if transport.is_closing() or transport.get_write_buffer_size() > 0:
        return False
    return _state(transport, select.POLLIN | select.POLLOUT) == select.POLLOUT


def _state(transport: asyncio.Transport, asked: int) -> int:
    """What of that the socket is ready for; besides, whether it broke."""
    sockets = select.poll()
    sockets.register(transport.get_extra_info("socket"), asked)
    ready = sockets.poll(0)
    return ready[0][1] if ready else 0


@functools.lru_cache(maxsize=256)
def _timeouts(connect_seconds: float) -> aiohttp.ClientTimeout:
    # The whole call is bounded by the caller; aiohttp would round timers above the threshold up to full seconds.
    return aiohttp.ClientTimeout(total=None, connect=connect_seconds, ceil_threshold=float("inf"))
