"""What this sender knows of endpoints that are not well, and shares with all others through the bucket.

Decides which deliveries are parked (with the route's own state), and who probes: whoever replaces the state of
an endpoint by its next one. What a state means is decided in endpoint_state. Times are measured by the monotonic
clock from when this sender saw a state: neither clocks of other pods nor a clock that jumps matter.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from hookline.delivery.policy import endpoint_state
from hookline.delivery.policy.endpoint_state import PROBE_SECONDS, Failures, Kind, State
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.routing.routes import Route, RouteState
from hookline.runtime.tasks import within
from hookline.stream.connection import StreamUnavailable
from hookline.stream.endpoints import EndpointBucket, Entry

log = structlog.get_logger(__name__)

UNKNOWN = "Unknown"
"""Why a delivery is parked whose Webhook is not in the book."""

LOOK_SECONDS = 1.0
SETTLED_SECONDS = 2.0
"""How long an endpoint stays backlogged with nothing parked: other senders may park something until they know."""

VOID_SECONDS = 120.0
"""By then every sender has the book of a changed Webhook."""


@dataclass(slots=True)
class _Known:
    state: State
    seen_s: float
    jitter: float


@dataclass(frozen=True, eq=False, slots=True)
class _Turn:
    """What is to be told once all senders know it."""

    route: Route
    before: State | None
    state: State | None


OnTurned: TypeAlias = Callable[[Route, State | None, State | None], None]
"""Of an endpoint, what it was before and what it is now. No state: it is tried anew, since its Webhook was changed."""


def _told_nobody(_route: Route, _before: State | None, _state: State | None) -> None:
    pass


class Endpoints:
    """Lives as long as the process; `follow` has it share what it knows over one connection.

    It calls nobody of itself: whoever turns a state is told, by what is returned, whether what waits is to be parked.
    """

    def __init__(self, *, probe_seconds: float = PROBE_SECONDS) -> None:
        self._probe_seconds = probe_seconds
        self._known: dict[str, _Known] = {}
        self._revisions: dict[str, int] = {}
        self._unwritten: set[str] = set()
        self._untold: dict[str, _Turn] = {}
        """By uid, of those that turned here."""
        self._on_turned: OnTurned = _told_nobody
        self._bucket: EndpointBucket | None = None
        self._wake = asyncio.Event()
        self.failures = Failures()

    def state_of(self, route: Route) -> State | None:
        """The state that counts for this generation of the Webhook."""
        known = self._known.get(route.uid)
        return known.state if known is not None and known.state.generation == route.generation else None

    def why_parked(self, route: Route | None) -> str:
        """Why deliveries of this Webhook are parked; empty when they are called from their shard."""
        if route is None:
            return UNKNOWN
        if route.state is not RouteState.ACTIVE:
            return route.state.value
        state = self.state_of(route)
        return state.kind.value if state is not None else ""

    def may_call(self, route: Route | None) -> bool:
        """Whether its deliveries are called at all, be they parked ones."""
        return endpoint_state.may_call(self.why_parked(route))

    def states(self) -> Iterator[tuple[str, State]]:
        """All states, by uid."""
        for uid, known in self._known.items():
            yield uid, known.state

    @property
    def unshared(self) -> frozenset[str]:
        """The uids of those whose state here the other senders cannot know yet."""
        return frozenset(self._unwritten)

    def count(self, kind: Kind) -> int:
        return sum(known.state.kind is kind for known in self._known.values())

    def attempted(self, route: Route, outcome: Outcome, *, probe: bool = False) -> bool:
        """Record an attempt; whether the endpoint has another state since, for which deliveries are parked.

        While an endpoint is failing, any success means recovery; only a failed probe counts against it.
        """
        before, state = self.state_of(route), self._state_after(route, outcome, probe=probe)
        if state is not None:
            self._turn(route.uid, state, _Turn(route, before, state))
        return state is not None

    def _state_after(self, route: Route, outcome: Outcome, *, probe: bool) -> State | None:
        """The state that an endpoint turns to with this attempt, if it does."""
        now_s = time.time()
        turned, state = self.failures.attempted(route, outcome, now_s), self.state_of(route)
        kind = state.kind if state is not None else None
        if kind is Kind.GONE:
            return None
        if outcome.reason is Reason.DELIVERED:
            if kind is not Kind.FAILING:
                return None
            log.info("an endpoint is healthy again", webhook=route.title)
            return endpoint_state.backlogged(route, "Recovered", now_s)
        if turned is not None and turned.kind is Kind.GONE:
            log.warning("an endpoint is gone", webhook=route.title)
        elif state is not None and kind is Kind.FAILING:
            return endpoint_state.paused(state, outcome) if probe else None
        elif turned is not None:
            log.warning("an endpoint is failing", webhook=route.title, reason=turned.reason, status=turned.status)
        return turned

    def turn_backlogged(self, route: Route, reason: str) -> bool:
        """What is new is parked behind what waits; whether that is new."""
        if self.why_parked(route):
            return False
        log.info("an endpoint is backlogged", webhook=route.title, reason=reason)
        self._turn(route.uid, endpoint_state.backlogged(route, reason, time.time()))
        return True

    def catch_up(self, uid: str, now_s: float) -> None:
        """Nothing is parked: forget that the endpoint was backlogged, once that has settled. `now_s` is monotonic."""
        known = self._known.get(uid)
        if known and known.state.kind is Kind.BACKLOGGED and now_s - known.seen_s > SETTLED_SECONDS:
            self._turn(uid, None)

    def forget(self, uid: str) -> None:
        """Its Webhook was deleted, or its state is void."""
        if uid in self._known:
            self._turn(uid, None)
        self.failures.forget(uid)

    def forget_void(self, route: Route, now_s: float) -> None:
        """Forget a state of another generation than the route's, by monotonic time.

        One of a later generation is left for a while: this sender's own book may be the one that is behind.
        """
        known = self._known.get(route.uid)
        if known is None or known.state.generation == route.generation:
            return
        if known.state.generation < route.generation:
            self._turn(route.uid, None, _Turn(route, known.state, None))
            self.failures.forget(route.uid)
        elif now_s - known.seen_s > VOID_SECONDS:
            self.forget(route.uid)

    def is_due(self, route: Route, now_s: float) -> bool:
        """Whether a failing endpoint is to be probed now, by monotonic time."""
        known = self._known.get(route.uid)
        if known is None or self.state_of(route) is None or known.state.kind is not Kind.FAILING:
            return False
        wait = endpoint_state.probe_wait_seconds(known.state, first_seconds=self._probe_seconds, jitter=known.jitter)
        # A probe that is under way may last as long as a call may.
        under_way = route.timeout_seconds if known.state.under_way else 0
        return route.uid not in self._unwritten and now_s - known.seen_s >= wait + under_way

    async def claim(self, route: Route) -> bool:
        """Whether this sender makes the next probe: of all that want to, one. Raises StreamUnavailable."""
        state, uid = self.state_of(route), route.uid
        if state is None or self._bucket is None or uid in self._unwritten:
            return False
        before, state = self._known.get(uid), endpoint_state.begun(state)
        revision = await self._bucket.write(uid, state.encoded(), revision=self._revisions.get(uid, 0))
        if revision is None:
            self._wake.set()
            return False
        if self._known.get(uid) is not before:
            # A call that was under way turned it meanwhile: that is newer, and is written over the claim.
            self._revisions[uid] = max(revision, self._revisions.get(uid, 0))
            return False
        self._learn(uid, state, revision)
        return True

    async def follow(
        self, bucket: EndpointBucket, on_parked: Callable[[str], None], on_turned: OnTurned = _told_nobody
    ) -> None:
        """Share states over one connection until cancelled.

        `on_parked` is called with the uid of each Webhook for which another sender wrote a state, `on_turned` of each
        turn that this one wrote: of several senders that saw it, one.
        """
        self._on_turned = on_turned
        try:
            await bucket.listen(self._wake.set)
            while True:
                self._wake.clear()
                try:
                    await self.share(bucket, on_parked)
                except StreamUnavailable as error:
                    log.debug("states of endpoints cannot be shared now", problem=str(error))
                    await asyncio.sleep(LOOK_SECONDS)
                await within(self._wake, LOOK_SECONDS)
        finally:
            self._bucket = None
            self._on_turned = _told_nobody

    async def load(self, bucket: EndpointBucket) -> None:
        """Take in what the others know, before anything is called. Raises StreamUnavailable."""
        self._take_in(*await bucket.changes())

    async def share(self, bucket: EndpointBucket, on_parked: Callable[[str], None]) -> None:
        """Take in what others wrote and write what they cannot know, once; see `follow`. Raises StreamUnavailable.

        Probes are claimed in this bucket from now on.
        """
        self._bucket = bucket
        for uid in self._take_in(*await bucket.changes()):
            on_parked(uid)
        for uid in list(self._unwritten):
            await self._write(bucket, uid)

    async def _write(self, bucket: EndpointBucket, uid: str) -> None:
        known, revision, turn = self._known.get(uid), self._revisions.get(uid, 0), self._untold.get(uid)
        if known is not None:
            written = await bucket.write(uid, known.state.encoded(), revision=revision)
        else:
            written = await bucket.remove(uid, revision=revision) if revision else 0
        if self._known.get(uid) is known:
            # Else it turned again meanwhile, and is written once more.
            self._unwritten.discard(uid)
        if self._untold.get(uid) is turn:
            self._untold.pop(uid, None)
        if written is None:
            # Another one was first: what it wrote is read next.
            self._wake.set()
        elif written:
            self._revisions[uid] = max(written, self._revisions.get(uid, 0))
            if turn is not None:
                self._on_turned(turn.route, turn.before, turn.state)

    def _take_in(self, anew: bool, entries: list[Entry]) -> list[str]:
        """The uids of those that have a state since."""
        taken_in: list[str] = []
        if anew:
            # Perhaps the bucket was lost. What nobody else wrote since is written again.
            self._revisions.clear()
            self._unwritten = set(self._known)
        for entry in entries:
            if entry.revision <= self._revisions.get(entry.key, 0):
                continue
            self._unwritten.discard(entry.key)
            self._untold.pop(entry.key, None)
            state = endpoint_state.read(entry.value) if entry.value is not None else None
            self._learn(entry.key, state, entry.revision)
            if state is not None:
                taken_in.append(entry.key)
        return taken_in

    def _learn(self, uid: str, state: State | None, revision: int) -> None:
        self._revisions[uid] = max(revision, self._revisions.get(uid, 0))
        self._set(uid, state)

    def _turn(self, uid: str, state: State | None, turn: _Turn | None = None) -> None:
        self._set(uid, state)
        self._unwritten.add(uid)
        if turn is not None:
            self._untold[uid] = turn
        else:
            self._untold.pop(uid, None)
        self._wake.set()

    def _set(self, uid: str, state: State | None) -> None:
        if state is None:
            self._known.pop(uid, None)
            return
        self._known[uid] = _Known(state, time.monotonic(), random.random())
