"""One POST and its answer, over the connections of pool.

Decides what of a request is sent, and when a call whose kept connection turned out to be dead goes once more. It never
follows a redirect, keeps a cookie, reads a proxy from the environment, adds a header of its own (except Host and
Content-Length), rewrites a URL or decodes a body, and it judges no answer: delivery/http/attempt does.

The egress policy is asked here for ports and literal addresses, before anything else; for all others in pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from hookline.delivery.http.answer_framing import BadAnswerError, Reading
from hookline.delivery.http.egress_guard import EgressGuard, EgressRefusedError
from hookline.delivery.http.lookup import Lookup, NameServers
from hookline.delivery.http.pool import Pool, ReceivingEnd
from hookline.delivery.http.progress import Phase, Progress, current_call
from hookline.delivery.http.target import Target
from hookline.delivery.http.tls import TlsContext
from hookline.delivery.http.tunnel import ProxyCredentials
from hookline.resources.egress_policy import EgressPolicy

MOST_UNACKNOWLEDGED_SECONDS = 5.0
"""How long a request in a kept connection may go unacknowledged: a node that is lost, or a firewall that forgot the
connection, drops what comes without a word. Half the time of a call that has less than twice that."""


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


class AiohttpTransport:
    """Sends requests over the connections of aiohttp.

    Of aiohttp it uses the TLS connections, and writes the request and reads the answer itself. The session, the
    requests and the responses of aiohttp take 80 us of CPU a call, of 140 us for a bare client in all, for what no
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
        self._guard = EgressGuard(policy)
        self._lookup = lookup or NameServers()
        self._pool = Pool(self._guard, self._lookup, proxy_credentials or ProxyCredentials())

    async def send(self, post: Post) -> Answer:
        """The answer to `post`, its body still unread.

        A pooled connection that breaks before an answer is usually one that the receiver, or who is between, gave up
        while it was idle; or what comes over it belongs to no answer. The request then goes once more, over a new
        connection: a delivery may arrive twice anyway, and neither waits for its next attempt nor counts against the
        endpoint because of an idle connection. RFC 9112, 9.3.1, and for 408 RFC 9110, 15.5.9.
        """
        progress, target = post.progress, post.target
        if self._guard.refresh():
            self._pool.clear_dns_cache()
        refusal = self._guard.refusal_of(target.literal_text, target.port)
        if refusal is not None:
            raise EgressRefusedError(refusal)
        current_call.set(progress)
        try:
            answer = await self._send(post)
        except (aiohttp.ServerDisconnectedError, OSError, BadAnswerError) as error:
            if not progress.reused:
                raise
            let_go(error)
        else:
            if not (progress.reused and _says_that_it_was_idle(answer)):
                return answer
            answer.close()
        progress.begin_anew()
        return await self._send(post)

    async def _send(self, post: Post) -> Answer:
        pool = self._pool
        end = await pool.take(post.target, post.tls_context, post.tenant, post.connect_timeout_seconds)
        try:
            answer = await _exchange(pool, end, post)
        except BaseException:
            pool.drop(end)
            raise
        post.progress.reach(Phase.BODY)
        return answer

    async def aclose(self) -> None:
        """Closes all connections; calls still under way fail."""
        await self._pool.close()
        await self._lookup.close()


async def _exchange(pool: Pool, end: ReceivingEnd, post: Post) -> Answer:
    """Send a request in one piece; the answer, once its head has come."""
    transport = end.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    if end.ended is not None:
        raise end.ended
    if post.progress.reused:
        end.bound_unacknowledged(min(MOST_UNACKNOWLEDGED_SECONDS, post.connect_timeout_seconds / 2))
    reading = end.reading = Reading()
    length = b"Content-Length: %d\r\n\r\n" % len(post.body)
    request = b"".join((post.target.request_line, post.head, length, post.body))
    end.sent_bytes = len(request)
    transport.write(request)
    while (status := reading.status) is None:
        await end.more()
    return Answer(status, reading, pool, end)


def let_go(error: BaseException | None) -> None:
    """Free what the frames of an error hold, the body among it, now and not when cycles are collected (seldom).

    They hold the connection as well, which keeps what ended it; the event loop has 256 KiB for each.
    """
    while error is not None and error.__traceback__ is not None:  # causes may go round in a circle
        error.__traceback__ = None
        if isinstance(error, aiohttp.ClientConnectorError):
            error.os_error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _says_that_it_was_idle(answer: Answer) -> bool:
    """HAProxy and others say so to a connection that they give up, and it may cross a request."""
    return answer.status == 408 and answer.reading.closes


class Answer:
    """An answer whose head has come. `reading` says what of it there is."""

    __slots__ = ("_end", "_pool", "reading", "status")

    def __init__(self, status: int, reading: Reading, pool: Pool, end: ReceivingEnd) -> None:
        self.status = status
        self.reading = reading
        self._pool = pool
        self._end = end

    async def until_over(self) -> None:
        """Returns once it is whole, or longer than what is read. Raises what ended it instead."""
        while not self.reading.is_over:
            await self._end.more()

    def close(self) -> None:
        """Puts the connection back into the pool, or closes it if it may not carry another call."""
        self._end.reading = None
        if self.reading.is_reusable:
            self._pool.keep(self._end)
        else:
            self._pool.drop(self._end)
