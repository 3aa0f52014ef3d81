"""Test calls: one call of a Webhook with a sample, for a person who wants to see what comes back.

Made by the same route, egress policy, TLS and signature as a delivery, and past the queue. Decides which Webhooks may
be called so, and how many at once. It counts for nothing else: neither for the state of the endpoint, nor for what
metrics say of deliveries, nor for a lane. So a Webhook that is paused, failing or gone can be tested; one that its
owner disabled is never called.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import call_of
from hookline.delivery.recorder import Noted, Recorder
from hookline.delivery.route_book import RouteBook
from hookline.events.envelope import Event, stamp
from hookline.routing.routes import Book, Keys, Route, RouteState
from hookline.runtime.tasks import beside
from hookline.stream.attempt_record import AttemptRecord
from hookline.stream.clock import ServerClock
from hookline.stream.test_call import NotTested, Question, Serves, Why

log = structlog.get_logger(__name__)

AT_ONCE, AT_ONCE_OF_TENANT, AT_ONCE_OF_WEBHOOK = 32, 4, 1
"""Test calls under way in one sender."""


def refusal(route: Route | None, book: Book | None) -> tuple[Why, str] | None:
    """Why a Webhook is not called as a test, if it is not."""
    if route is None or book is None:
        return Why.NOT_SERVED, "this sender does not serve the Webhook any more; ask again"
    if route.state is RouteState.DISABLED:
        return Why.DISABLED, (
            "spec.enabled is false: a disabled Webhook is never called, not even as a test; "
            "write enabled: true and paused: true to have it called by tests alone"
        )
    if route.uid in book.unread:
        return Why.HELD, f"the Webhook is held: {book.unread[route.uid]}"
    if route.state is RouteState.HELD and not route.paused:
        return Why.HELD, "the Webhook is held: its conditions Accepted and SecretsResolved say what is missing"
    return None


class TestCalls:
    """Of one sender, `me`. `on_called` is given what is to be written down of each call."""

    def __init__(
        self,
        me: str,
        books: RouteBook,
        caller: Caller,
        clock: ServerClock,
        *,
        on_called: Callable[[Noted], None] = lambda _: None,
    ) -> None:
        self._me = me
        self._books = books
        self._caller = caller
        self._clock = clock
        self._on_called = on_called
        self._recorder = Recorder()
        self._tenants: Counter[str] = Counter()
        """Of each call under way its tenant."""
        self._uids: Counter[str] = Counter()

    def serves(self, question: Question) -> Serves | None:
        """What is said of a Webhook that is in the book; None of others."""
        route = self._route(question)
        if route is None:
            return None
        return Serves(self._me, route.uid, route.event or "", route.timeout_seconds, socket.gethostname())

    async def call(self, question: Question) -> AttemptRecord:
        """Raises NotTested."""
        route, book = self._route(question), self._books.current
        refused = refusal(route, book)
        if refused is not None:
            raise NotTested(*refused)
        assert route is not None, "one that is not served is refused"
        assert book is not None, "a route is of a book"
        if problem := question.problem():
            raise NotTested(Why.INVALID, problem)
        self._enter(route)
        try:
            return await self._call(question, route, book.keys(route.uid))
        finally:
            self._leave(route)

    async def _call(self, question: Question, route: Route, keys: Keys) -> AttemptRecord:
        at_s, called_s, body = self._clock.now_s(), time.time(), question.body.encode(errors="replace")
        event = Event(question.id, route.namespace, question.event_type, stamp(at_s), body)
        call = call_of(event, 1, route, keys, now_s=called_s, test=True)
        outcome = await self._caller.call(call)
        size = len(event.body)
        noted = Noted(event.id, event.type, 0, size, 1, route, keys, outcome, at_s, called_s, "", None, test=True)
        make = partial(self._recorder.record, noted)
        record = await beside(make) if self._recorder.takes_long([noted]) else make()
        log.info("a test call was made", webhook=route.title, reason=record.reason, status=record.status)
        self._on_called(noted)
        return record

    def _route(self, question: Question) -> Route | None:
        book = self._books.current
        if book is None:
            return None
        namespace, _, name = question.webhook.partition("/")
        return book.route(question.uid) if question.uid else book.named(namespace, name)

    def _enter(self, route: Route) -> None:
        if self._uids[route.uid] >= AT_ONCE_OF_WEBHOOK:
            raise NotTested(Why.BUSY, "a test call of this Webhook is under way; wait for its end")
        if self._tenants[route.namespace] >= AT_ONCE_OF_TENANT or self._tenants.total() >= AT_ONCE:
            raise NotTested(Why.BUSY, "too many test calls are under way; try again in some seconds")
        self._tenants[route.namespace] += 1
        self._uids[route.uid] += 1

    def _leave(self, route: Route) -> None:
        for counter, key in ((self._tenants, route.namespace), (self._uids, route.uid)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
