"""One sender process, from a route book folder and NATS, nothing else.

The order of its life: a first good book, the connection, then a session that delivers. Says of itself whether it lives,
whether it is ready, which book it serves and which endpoints are failing.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from hookline.delivery.attempts_log import AttemptsLog
from hookline.delivery.endpoints import UNKNOWN, Endpoints
from hookline.delivery.http.tunnel import ProxyCredentials
from hookline.delivery.messages import UNKNOWN_FORMAT, WEBHOOK_GONE
from hookline.delivery.policy.deleted_webhooks import GONE_SECONDS
from hookline.delivery.policy.endpoint_state import PROBE_SECONDS, Kind, State
from hookline.delivery.policy.parking_plan import PARKED_EXPIRED
from hookline.delivery.policy.retry import SCHEDULE_SPENT, Dead, Reason, Retry
from hookline.delivery.route_book import RouteBook, webhooks_in
from hookline.delivery.sender import Attempt
from hookline.delivery.session import Session, Snapshot
from hookline.delivery.settlement import EVENT_GONE, INTERNAL_ERROR, MALFORMED
from hookline.events.envelope import stamp_to_the_second
from hookline.routing.routes import Book, DispatcherRecord, RouteState
from hookline.runtime.background import background
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import unless
from hookline.runtime.tuning import collect_seldom
from hookline.stream.attempts_log import Lost
from hookline.stream.connection import (
    CLOSED,
    CONNECT_SECONDS,
    MOVED,
    Client,
    LoginRefused,
    QueueUnusable,
    StreamRefused,
    StreamUnavailable,
    away,
    close,
    connect,
    cut,
    unavailable_once,
)
from hookline.stream.owner import NOBODY, Installation
from hookline.stream.queue_problem import QueueProblem, QueueReason

log = structlog.get_logger(__name__)

GRACE_SECONDS = 30.0
"""How long calls under way may take at the end. As long as the longest timeout of a call."""

LAST_SECONDS = 2.0
"""How long NATS may take after the grace to take what is said at the end: what is given back, who leaves."""

PATIENT_CONNECT_SECONDS = 30.0
"""A patient sender waits for NATS for ever. It says so after the usual time, and then this often."""

AGAIN_SECONDS = 2.0
"""After a session that failed, before the next."""

MOST_FAILING = 15_000
MOST_UNREAD = 1000
"""Webhooks that a report names. The operator reads up to 4 MiB of it, and each takes some 200 and 500 bytes at most."""

_DEATHS = (SCHEDULE_SPENT, "Gone", WEBHOOK_GONE, PARKED_EXPIRED, MALFORMED, EVENT_GONE, INTERNAL_ERROR)
_PARKINGS = (RouteState.HELD.value, RouteState.DISABLED.value, UNKNOWN, UNKNOWN_FORMAT, *map(str, Kind))


class SenderProcess:
    """Runs until `stop` is set. A patient one waits for NATS for ever, and begins anew when it is cut off."""

    def __init__(
        self,
        folder: Path,
        nats_url: str,
        *,
        installation: Installation = NOBODY,
        credentials: Path | None = None,
        proxy_credentials: Path | None = None,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
        grace_seconds: float = GRACE_SECONDS,
        gone_seconds: float = GONE_SECONDS,
        probe_seconds: float = PROBE_SECONDS,
        patient: bool = False,
    ) -> None:
        self.metrics = SenderMetrics(
            outcomes=map(str, Reason), deaths=_DEATHS, parkings=_PARKINGS, losses=map(str, Lost)
        )
        self._books = RouteBook(folder, self.metrics)
        self._nats_url = nats_url
        self._installation = installation
        self._credentials = credentials
        self._proxy_credentials = ProxyCredentials(proxy_credentials)
        self._on_attempt = on_attempt
        self._grace_seconds = grace_seconds
        self._gone_seconds = gone_seconds
        self._patient = patient
        self._endpoints = Endpoints(probe_seconds=probe_seconds)
        self._attempts_log = AttemptsLog(self.metrics, self._settings)
        self._has_book = asyncio.Event()
        self._client: Client | None = None
        self._session: Session | None = None
        self._moved = asyncio.Event()
        self._was_ready = False
        self._problem: QueueProblem | None = None
        """Of the queue, as long as it is not ready."""
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()
        """Set while messages are taken."""
        self.metrics.watch(
            held=lambda: self._session.held if self._session else 0,
            endpoints={kind.value: functools.partial(self._endpoints.count, kind) for kind in Kind},
            connected=self._is_connected,
            queue_problems={each: functools.partial(self._has_problem, each) for each in QueueReason},
        )

    def live(self) -> str | None:
        """Why a restart is needed, if it is. An absent NATS is no reason."""
        return self._session.stuck() if self._session else None

    def unready(self) -> str | None:
        """Why no messages are taken, if that is so."""
        if self._stop.is_set():
            return "draining"
        if self._books.current is None:
            return f"no route book yet: {self._books.problem}"
        problem = self.queue_problem()
        if problem is not None:
            return f"{problem.reason}: {problem.message}"
        return None if self.ready.is_set() else "the queue is being set up"

    def queue_problem(self) -> QueueProblem | None:
        """Why the queue cannot be used, if that is so."""
        if self._problem is None and not self._is_connected():
            return away(self._client)
        return self._problem or (self._session.queue_problem() if self._session else None)

    def _has_problem(self, reason: QueueReason) -> bool:
        problem = self.queue_problem()
        return problem is not None and problem.reason is reason

    @property
    def endpoints(self) -> Endpoints:
        """What this sender knows of endpoints."""
        return self._endpoints

    def snapshot(self) -> Snapshot | None:
        """What is in hand now, for tests and for finding faults; None without a session."""
        return self._session.snapshot() if self._session else None

    def report(self) -> dict[str, object]:
        """For the operator: which book is served, what of it is not understood, which endpoints are failing or gone."""
        book, problem = self._books.current, self.queue_problem()
        failing = [
            (uid, state)
            for uid, state in self._endpoints.states()
            if state.kind is not Kind.BACKLOGGED and self._counts(uid, state)
        ]
        return {
            "queue": {"reason": problem.reason.value, "message": problem.message[:1024]} if problem else None,
            "served": book.served() if book else {},
            "webhooks": webhooks_in(book) if book else 0,
            "unread": dict(itertools.islice(book.unread.items(), MOST_UNREAD)) if book else {},
            "failing": [
                {
                    "uid": uid,
                    "kind": state.kind.value,
                    "since": stamp_to_the_second(state.since_s),
                    "reason": state.reason,
                    "status": state.status,
                    "generation": state.generation,
                }
                for uid, state in failing[:MOST_FAILING]
            ],
            "truncated": len(failing) > MOST_FAILING,
            "attempts_log": self._attempts_log.advice,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`, then drain.

        Unless it is patient raises StreamRefused, and StreamUnavailable as long as it was never ready.
        """
        self._stop = stop
        self._books.on_change(self._book_changed)
        try:
            await self._run(stop)
        finally:
            # Also when there is no connection over which the rest could have been written.
            self._attempts_log.end()

    async def _run(self, stop: asyncio.Event) -> None:
        async with background(self._books.watch(stop)):
            if not await unless(stop, self._has_book.wait()):
                return
            collect_seldom()
            connect_seconds = CONNECT_SECONDS
            while not stop.is_set():
                try:
                    await self._deliver(stop, connect_seconds)
                except (StreamUnavailable, StreamRefused) as error:
                    if not self._patient and not (self._was_ready and isinstance(error, StreamUnavailable)):
                        raise
                    self._note(_problem_of(error))
                    await unless(stop, asyncio.sleep(AGAIN_SECONDS))
                    connect_seconds = PATIENT_CONNECT_SECONDS

    async def _deliver(self, stop: asyncio.Event, connect_seconds: float) -> None:
        """One connection, from its making to its end."""
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        async def on_reconnect() -> None:
            if self._session is not None:
                self._session.reconnected()

        connecting = connect(
            self._nats_url,
            name="hookline-sender",
            credentials=self._credentials,
            connect_seconds=connect_seconds,
            on_reconnect=on_reconnect,
            on_closed=on_closed,
        )
        self._moved.clear()
        try:
            async with background(unavailable_once(self._moved, MOVED)):
                if await unless(stop, self._connected(connecting)):
                    async with background(unavailable_once(closed, CLOSED), self._cut_late(stop)):
                        await self._run_session(stop)
        finally:
            self.ready.clear()
            self._session = None
            if self._client is not None:
                await close(self._client)
                self._client = None

    def move_to(self, nats_url: str) -> None:
        """NATS is at this address from now on; what is in hand comes again there."""
        self._nats_url = nats_url
        self._moved.set()

    async def _cut_late(self, stop: asyncio.Event) -> None:
        """However NATS hangs, nothing waits for it beyond the end. What it was not told by then comes again."""
        await stop.wait()
        await asyncio.sleep(self._grace_seconds + LAST_SECONDS)
        if self._client is not None:
            cut(self._client)

    def _note(self, problem: QueueProblem | None) -> None:
        """Say a problem once, however often it is met."""
        if problem is not None and problem != self._problem:
            log.warning("waiting for the queue", reason=problem.reason.value, problem=problem.message)
        self._problem = problem

    def _is_ready(self) -> None:
        if self._problem is not None:
            log.info("the queue is there")
        self._problem = None
        self._was_ready = True
        self.ready.set()

    async def _connected(self, connecting: Coroutine[Any, Any, Client]) -> None:
        self._client = await connecting

    async def _run_session(self, stop: asyncio.Event) -> None:
        assert self._client is not None, "connected before there is a session"
        self._session = Session(
            self._client,
            self._books,
            self._endpoints,
            self.metrics,
            installation=self._installation,
            attempts_log=self._attempts_log,
            on_attempt=self._attempted,
            on_waiting=self._note,
            gone_seconds=self._gone_seconds,
            proxy_credentials=self._proxy_credentials,
        )
        await self._session.run(stop, grace_seconds=self._grace_seconds, on_ready=self._is_ready)

    def _counts(self, uid: str, state: State) -> bool:
        book = self._books.current
        route = book.route(uid) if book else None
        return route is not None and self._endpoints.state_of(route) is state

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    def _book_changed(self, book: Book) -> None:
        self._has_book.set()
        self._endpoints.failures.keep(book.route)
        if self._session is not None:
            self._session.book_changed(book)

    def _settings(self) -> DispatcherRecord | None:
        book = self._books.current
        return book.dispatcher if book else None

    def _attempted(self, attempt: Attempt) -> None:
        outcome, decision = attempt.outcome, attempt.decision
        self.metrics.attempted(str(outcome.reason), outcome.duration_seconds)
        if attempt.given_back or not attempt.settled:
            pass
        elif isinstance(decision, Retry):
            self.metrics.will_retry()
        elif isinstance(decision, Dead):
            self.metrics.died(decision.reason.partition(":")[0])
        self._attempts_log.note(attempt)
        self._on_attempt(attempt)


def _problem_of(error: StreamUnavailable | StreamRefused) -> QueueProblem:
    if isinstance(error, QueueUnusable):
        return error.problem
    refused = isinstance(error, StreamRefused | LoginRefused)
    return QueueProblem(QueueReason.NATS_REFUSED if refused else QueueReason.NATS_UNREACHABLE, str(error))
