"""The connections below a call: how one is made, checked, kept and used again, on aiohttp's pool.

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
import select
import socket
from typing import Any

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
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
_KEYS_KEPT = 4096
_LITTLE_BYTES = 16 * 1024
"""Of a request: what a socket that can be written to takes at once, nearly always."""

require(aiohttp.TCPConnector, "_get", "_release", "_wrap_create_connection", "_wrap_existing_connection")
require(ResponseHandler, "connection_lost", "connection_made", "data_received", "force_close")


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


class Pool(aiohttp.TCPConnector):
    """aiohttp's pool, with the policy asked for each new socket, and for a kept connection about to be used again."""

    def __init__(self, guard: EgressGuard, lookup: Lookup, proxy_credentials: ProxyCredentials) -> None:
        self._guard = guard
        self._tunnels = Tunnels(lookup, proxy_credentials)
        super().__init__(
            resolver=CheckedResolver(guard, lookup),
            socket_factory=self._open_socket,
            limit=0,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ttl_dns_cache=DNS_CACHE_SECONDS,
        )
        # Half for idle connections: calls, lookups and NATS need some as well.
        self._most_idle = open_files_limit() // 2
        # aiohttp's pool goes by endpoints, and keeps those as well that have ended.
        self._idle: set[ResponseHandler] = set()
        factory: Any = functools.partial(ReceivingEnd, loop=asyncio.get_running_loop(), idle=self._idle)
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
                progress.reach(Phase.ANSWER)
                return connection
            connection.close()

    async def _get(self, key: ConnectionKey, traces: list[Any]) -> Connection | None:
        return None if current_call.get().needs_new_connection else await super()._get(key, traces)

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        assert isinstance(protocol, ReceivingEnd), "the factory makes no others"
        should_close = should_close or len(self._idle) >= self._most_idle
        # To ask the socket takes 8 us in a busy sender. What is little may lie here until the next use, which asks.
        if (should_close or protocol.sent_bytes > _LITTLE_BYTES) and not _is_written(protocol.transport):
            # Whoever answers without reading would have one body after another wait here. Closed in any other way, TLS
            # waits for half a minute for what is unread.
            protocol.abort()
            should_close = True
        super()._release(key, protocol, should_close=should_close)
        idle = self._conns.get(key)
        if idle and idle[-1][0] is protocol:
            self._idle.add(protocol)
            # aiohttp takes the one that was unused for longest. The one that was used last is warm in the caches, which
            # saves 12 % of a delivery's CPU with 500 connections, and the others may end once a burst is over.
            idle.rotate(1)

    def _may_reuse(self, connection: Connection) -> bool:
        protocol = connection.protocol
        if not isinstance(protocol, ReceivingEnd) or protocol.transport is None:
            return False
        if protocol.should_close or not _is_at_rest(protocol.transport):
            # What it said while it lay in the pool would pass for the answer to this call. Or it has ended, or the last
            # request is still unread.
            return False
        return protocol.proxy == self._guard.proxy and self._guard.refusal(protocol.address) is None

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


class PoolKey(aiohttp.ClientRequest):
    """aiohttp's pool key for one receiver and one tenant. Never sent."""

    tenant = ""

    @functools.cached_property
    def connection_key(self) -> ConnectionKey:
        """The key of the pool, which is made anew each time otherwise.

        aiohttp knows of no proxy here, so that the field for its headers is free to tell tenants apart.
        """
        return super().connection_key._replace(proxy_headers_hash=hash(self.tenant))


def pool_key(target: Target, context: TlsContext, tenant: str) -> PoolKey:
    """What the pool knows the connections by that a call of `tenant` to `target` may use. Kept with the context."""
    key: PoolKey | None = context.pool_keys.get((tenant, target.authority))
    if key is None:
        if len(context.pool_keys) >= _KEYS_KEPT:
            context.pool_keys.clear()
        url = yarl.URL(str(target.origin), encoded=True)
        key = context.pool_keys[tenant, target.authority] = PoolKey("POST", url, ssl=context)
        key.tenant = tenant
    return key
