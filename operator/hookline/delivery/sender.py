"""The sender: has deliveries, calls the receivers, and stores what follows before it lets a delivery go.

A delivery is let go after 2xx, or after its retry, dead letter or parked copy is stored: a crash at any point repeats
it, none loses it. What keeps it until then is its holding. Which call may run now is decided in lanes, what follows an
outcome in retry.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from hookline.delivery import messages, traces
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.holding import DUE_AFTER_SECONDS, Copied, FromEvent, Holding, Queued
from hookline.delivery.http import redaction
from hookline.delivery.http.attempt import Caller
from hookline.delivery.http.call import call_of
from hookline.delivery.lane_key import LaneKey, lane_of, lanes_of
from hookline.delivery.messages import UNKNOWN_FORMAT, Delivery, MalformedDelivery, UnknownFormat
from hookline.delivery.open_event import OpenEvent
from hookline.delivery.policy import endpoint_state, retry
from hookline.delivery.policy.endpoint_state import SLOW, Kind
from hookline.delivery.policy.lanes import Lanes, LaneSnapshot, Terms
from hookline.delivery.policy.retry import Dead, Done, Outcome, Retry
from hookline.delivery.policy.shares import Members
from hookline.delivery.recently_acked import MessageKey
from hookline.delivery.route_book import RouteBook
from hookline.delivery.settlement import MALFORMED, Settlement
from hookline.events.envelope import stamp
from hookline.routing.routes import Keys, Route
from hookline.runtime import telemetry
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import Deadline, Workers, beside, cancel
from hookline.stream import names
from hookline.stream.clock import ServerClock
from hookline.stream.publish import Publisher
from hookline.stream.pull import PullLoop, Taken
from hookline.stream.streams import ACK_WAIT_SECONDS

log = structlog.get_logger(__name__)

MAX_IN_HAND = 128
"""Deliveries of one shard in our hands at once."""

SAFE_AFTER_SECONDS = 0.5
"""A call that takes longer has its delivery stored beside it, and its event is acked. Else one receiver that hangs
would hold its event for as long as a call may take, and after that time whoever takes over the queue begins anew."""

LONG_SECONDS, STRETCH_LOOK_SECONDS = 0.1, 0.05
"""A call that takes longer gives its place to another one; how often that is looked at."""

LOOK_SECONDS = 0.25
"""How often lanes are looked at that do not move, and calls whose delivery is to be stored beside them."""

MOST_IDLE = 64
"""Tasks that are kept for calls to come."""

RETURN_SECONDS = 2.0
"""At the end, after the grace, to return what outlasted it."""


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class Attempt:
    """What happened in one attempt, for logs and whoever watches."""

    delivery: Delivery
    route: Route
    outcome: Outcome
    decision: Done | Retry | Dead
    probe: bool = False
    """Of a failing endpoint."""
    given_back: bool = False
    """Whether nothing was decided: a probe of a failing endpoint, whose delivery stays parked as it was."""
    settled: bool = True
    """Whether what was decided is stored and acked. If not, the call will be made again."""
    keys: Keys | None = field(default=None, repr=False)
    """Those of the call, which the answer may repeat."""
    called_s: float = 0.0
    """When the call began, Unix time by our own clock, as its signature says."""
    at_s: float = 0.0
    """The same by NATS's clock."""
    next_at_s: float | None = None
    """When the next attempt is due, by NATS's clock."""


@dataclass(eq=False, slots=True)
class _Job:
    key: MessageKey
    holding: Holding
    delivery: Delivery
    lane: LaneKey
    on_probed: Callable[[], None] | None = None
    """Of a probe: to be called when it ended, also if it was not made after all."""
    copy_at_s: float = math.inf
    """When a copy of it is to be made unless its call has ended by then, by the monotonic clock."""
    timeout_seconds: int = 0
    """Bound of its call, as it was when the call began: what the Webhook has since does not end it sooner."""
    copying: asyncio.Task[None] | None = None
    is_gone: bool = False
    """Whether it is out of our hands."""
    stretched: bool = False
    """Whether its place is another one's."""

    @property
    def probe(self) -> bool:
        return self.on_probed is not None

    @property
    def parked(self) -> bool:
        return self.holding.is_parked


class Sender:
    """All deliveries in the hands of this process: of shards, and parked ones that parking hands over."""

    def __init__(
        self,
        pull: PullLoop,
        publisher: Publisher,
        settlement: Settlement,
        books: RouteBook,
        caller: Caller,
        endpoints: Endpoints,
        members: Members,
        metrics: SenderMetrics,
        clock: ServerClock,
        *,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        self._pull = pull
        self._publisher = publisher
        self._settlement = settlement
        self._books = books
        self._caller = caller
        self._endpoints = endpoints
        self._members = members
        self._metrics = metrics
        self._clock = clock
        self._on_attempt = on_attempt
        self._lanes: Lanes[LaneKey, _Job] = Lanes()
        self._held: dict[MessageKey, _Job] = {}
        self._workers = Workers(self._run, most_idle=MOST_IDLE)
        """For the calls."""
        self._tasks: set[asyncio.Task[None]] = set()
        """For all else."""
        self._placed: dict[_Job, float] = {}
        """Calls that hold a place, and since when, by the monotonic clock: in this order."""
        self._beginning: set[_Job] = set()
        """Those that hold a place, and whose turn has not come yet."""
        self._pacing: asyncio.TimerHandle | None = None

    def take(self, taken: Taken, *, on_probed: Callable[[], None] | None = None) -> bool:
        """A message: run it, let it wait, or put it aside; False when there is nothing left to be done about it.

        One with `on_probed` is a probe. It is called when the probe ended, also if it was not made after all.
        """
        holding = Queued(taken, self._pull, self._settlement)
        key = holding.key
        if key in self._held:
            # Delivered again while we are still at it (a server's crash forgets acks): one of us is enough.
            self._pull.release(taken)
            return False
        try:
            delivery = messages.read(taken.subject, taken.headers, taken.body)
        except MalformedDelivery as error:
            self._spawn(self._set_apart(taken, str(error)))
            return False
        except UnknownFormat as error:
            self._spawn(self._pass_on(taken, str(error)))
            return False
        if self._settlement.knows(taken):
            self._spawn(self._drop(taken))
            return False
        job = self._held[key] = _Job(key, holding, delivery, lane_of(delivery), on_probed)
        self._offer(job)
        return True

    def call_from(self, event: OpenEvent, delivery: Delivery) -> None:
        """A delivery that is called from its event. The event is told when it is done or stored."""
        holding = FromEvent(event, delivery)
        key = holding.key
        job = self._held[key] = _Job(key, holding, delivery, lane_of(delivery))
        try:
            self._offer(job)
        except Exception as error:  # noqa: BLE001  # its event would wait for it for ever
            self._spawn(self._failed(job, error))

    @property
    def held(self) -> int:
        """Deliveries in our hands."""
        return len(self._held)

    def lanes(self) -> Mapping[LaneKey, LaneSnapshot]:
        """What runs and waits in each lane now."""
        return self._lanes.snapshot().lanes

    def moving(self, now_s: float) -> Counter[str]:
        """Of each consumer, how many of its deliveries are being called, or are about to be, and have not been for
        long."""
        since_s = now_s - LONG_SECONDS
        moving = Counter(job.key[0] for job, at_s in self._placed.items() if at_s > since_s)
        moving.update(job.key[0] for job in self._beginning)
        return moving

    def parked_bytes(self) -> tuple[int, ...]:
        """The sizes of those deliveries in our hands that are parked ones."""
        return tuple(len(job.delivery.event.body) for job in self._held.values() if job.parked)

    def park_waiting(self, uid: str) -> None:
        """Park what waits in lanes of a Webhook, if that is where it belongs now."""
        route = self._route_of(uid)
        if not self._endpoints.why_parked(route):
            return
        for lane in lanes_of(uid):
            for job in self._lanes.evict(lane):
                if job.parked and self._endpoints.may_call(route):
                    self._offer(job)
                else:
                    self._spawn(self._set_aside(job, route))

    async def keep_alive(self) -> None:
        """Tell the queue that we still work on what we hold, park what waits in lanes that do not move, and keep copies
        of deliveries whose calls take long."""
        beat = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._lanes.sweep(time.monotonic())
            for job in self._lanes.overdue(time.monotonic()):
                self._fall_behind(job)
            for job in self._lanes.impatient(time.monotonic()):
                self._spawn(self._set_aside(job, self._route(job)))
            self._take_up_changes()
            self._copy_long_ones()
            beat += 1
            if beat % int(ACK_WAIT_SECONDS / 3 / LOOK_SECONDS) == 0:
                for job in list(self._held.values()):
                    await job.holding.working()

    async def stretch_long_calls(self) -> None:
        """Have calls that take long give their places to others. For ever."""
        while True:
            await asyncio.sleep(STRETCH_LOOK_SECONDS)
            if self._stretch(time.monotonic() - LONG_SECONDS):
                self._run_ready()

    def _stretch(self, since_s: float) -> bool:
        """Those that began by then; whether one gave its place."""
        long = list(itertools.takewhile(lambda job: self._placed[job] <= since_s, self._placed))
        for number, job in enumerate(long):
            if not self._lanes.stretch(job.lane):
                return number > 0
            job.stretched = True
            del self._placed[job]
        return bool(long)

    def _take_up_changes(self) -> None:
        """A changed Webhook, or a sender that left, may let run what waits: nothing else of its lane need ever end."""
        for lane, first in self._lanes.waiting():
            route = self._route(first)
            if route is not None:
                self._lanes.change(lane, self._terms(route))
        self._run_ready()

    async def drain(self, grace_seconds: float) -> None:
        """Let calls under way end, return what waits. What outlasts the grace is cancelled and returned."""
        for job in self._lanes.clear():
            self._spawn(self._return(job))
        self._workers.close()
        if under_way := self._tasks | self._workers.tasks:
            await asyncio.wait(under_way, timeout=grace_seconds)
        await cancel(self._tasks | self._workers.tasks)
        with contextlib.suppress(TimeoutError), Deadline(RETURN_SECONDS):
            await asyncio.gather(*(self._return(job) for job in list(self._held.values())), return_exceptions=True)
        await self.let_go()

    async def let_go(self) -> None:
        """End everything without storing anything: it comes again."""
        self._lanes.clear()
        self._workers.close()
        await cancel(self._tasks | self._workers.tasks)
        for job in list(self._held.values()):
            if isinstance(job.holding, Queued):
                await self._give_back(job)
        self._held.clear()

    def _copy_long_ones(self) -> None:
        """Have no event wait for a call that takes long."""
        now_s = time.monotonic()
        for job in self._held.values():
            if job.copy_at_s <= now_s and job.copying is None and isinstance(job.holding, FromEvent):
                job.copying = self._spawn(self._copy(job, job.holding))

    async def _copy(self, job: _Job, event: FromEvent) -> None:
        copy = Copied(event, self._publisher, self._clock)
        try:
            if await copy.make(job.timeout_seconds + DUE_AFTER_SECONDS):
                # First: what is cancelled while its event is acked has its copy all the same.
                job.holding = copy
                await event.settle(None)
            elif job.copy_at_s < math.inf:
                # A queue without room would be asked by hundreds of calls at once, each with its body.
                job.copy_at_s = time.monotonic() + ACK_WAIT_SECONDS / 3
        except Exception as error:  # noqa: BLE001  # its event waits for the call, as for one that takes no time
            log.error("a delivery could not be copied: this is a bug", problem=type(error).__name__)
            return
        job.copying = None

    async def _end_copying(self, job: _Job) -> None:
        """From now on its holding stays as it is."""
        job.copy_at_s = math.inf
        if job.copying is not None:
            await asyncio.wait([job.copying])

    def _offer(self, job: _Job) -> None:
        route = self._route(job)
        if route is None or not self._is_next(job, route):
            self._spawn(self._set_aside(job, route))
            return
        now_s = time.monotonic()
        brief = isinstance(job.holding, FromEvent)
        if self._lanes.offer(job.lane, self._terms(route), job, now_s=now_s, pinned=job.parked, brief=brief):
            self._begin(job)
        elif route.per_second:
            self._pace(self._lanes.wait_seconds_of(job.lane, now_s))

    def _is_next(self, job: _Job, route: Route) -> bool:
        """Whether the job is to be called: from its shard only while nothing of its Webhook is parked."""
        if not job.parked:
            return not self._endpoints.why_parked(route)
        return job.probe or self._endpoints.may_call(route)

    def _fall_behind(self, job: _Job) -> None:
        route = self._route(job)
        if route is not None and self._endpoints.turn_backlogged(route, SLOW):
            self.park_waiting(route.uid)
        self._spawn(self._set_aside(job, route))

    def _terms(self, route: Route) -> Terms:
        limit = self._members.share(route.max_concurrency, route.uid)
        rate = self._members.rate(route.per_second) if route.per_second else 0.0
        return Terms(route.namespace, limit, rate)

    def _pace(self, wait_s: float | None) -> None:
        """Have what waits for its rate run in time: the timer is that of the lane which waits for the shortest."""
        if wait_s is None:
            return
        loop = asyncio.get_running_loop()
        at_s = loop.time() + max(wait_s, 0.002)
        if self._pacing is not None:
            if self._pacing.when() <= at_s:
                return
            self._pacing.cancel()
        self._pacing = loop.call_at(at_s, self._run_ready)

    def _run_ready(self) -> None:
        if self._pacing is not None:
            self._pacing.cancel()
            self._pacing = None
        now_s = time.monotonic()
        for job in self._lanes.ready(now_s):
            self._begin(job)
        self._pace(self._lanes.wait_seconds(now_s))

    def _begin(self, job: _Job) -> None:
        self._beginning.add(job)
        self._workers.begin(job)

    async def _run(self, job: _Job) -> None:
        """One job that holds a place in its lane."""
        self._beginning.discard(job)
        try:
            route = self._route(job)
            if route is None or not self._is_next(job, route):
                await self._set_aside(job, route)
            else:
                now_s = self._placed[job] = time.monotonic()
                job.copy_at_s, job.timeout_seconds = now_s + SAFE_AFTER_SECONDS, route.timeout_seconds
                await self._attempt(job, route)
        except Exception as error:  # noqa: BLE001  # a bug in one attempt must not hold its message for ever
            await self._failed(job, error)
        finally:
            self._placed.pop(job, None)
            self._release_lane(job)

    async def _failed(self, job: _Job, error: Exception) -> None:
        try:
            await self._end_copying(job)
            await job.holding.failed(error)
        finally:
            self._let_go(job)

    def _release_lane(self, job: _Job) -> None:
        route = self._route(job)
        terms = self._terms(route) if route else Terms(job.delivery.event.tenant, 1)
        now_s = time.monotonic()
        for ready in self._lanes.finished(job.lane, terms, now_s=now_s, stretched=job.stretched):
            self._begin(ready)
        if terms.per_second:
            self._pace(self._lanes.wait_seconds_of(job.lane, now_s))

    async def _attempt(self, job: _Job, route: Route) -> None:
        delivery, now_s, at_s = job.delivery, time.time(), self._clock.now_s()
        if delivery.attempt == 1 and not job.probe and not delivery.replay:
            # A probe may leave its delivery as it was, and comes again and again.
            delay_seconds = max(0.0, at_s - job.holding.event_stored_s)
            self._metrics.first_attempt(job.holding.origin, delay_seconds)
        keys = self._keys(route)
        span = traces.attempt_begins(telemetry.tracing, delivery, route) if telemetry.tracing is not None else None
        traceparent = span.traceparent if span is not None else ""
        call = call_of(
            delivery.event,
            delivery.attempt,
            route,
            keys,
            now_s=now_s,
            replay=delivery.replay,
            traceparent=traceparent,
        )
        outcome = await self._caller.call(call)
        if span is not None:
            delivery = traces.attempt_ends(span, delivery, outcome)
        decision = retry.decide(
            outcome,
            attempt=delivery.attempt,
            schedule_seconds=route.schedule_seconds,
            jitter=random.random(),
        )
        if self._endpoints.attempted(route, outcome, probe=job.probe):
            self.park_waiting(route.uid)
        attempt = Attempt(delivery, route, outcome, decision, job.probe, keys=keys, called_s=now_s, at_s=at_s)
        if job.probe and endpoint_state.stays_first(outcome):
            attempt.given_back = True
            await self._give_back(job)
        else:
            attempt.settled = await self._settle(job, self._storing(attempt, keys))
        self._tell(attempt)

    def _storing(self, attempt: Attempt, keys: Keys) -> Coroutine[None, None, None] | None:
        """What is to be stored after an attempt, if anything is."""
        delivery, decision = attempt.delivery, attempt.decision
        if isinstance(decision, Retry):
            attempt.next_at_s = self._clock.now_s() + decision.wait_seconds
            return self._store_later(delivery.next_attempt(), attempt.next_at_s)
        if isinstance(decision, Dead):
            return self._store_dead(delivery, decision.reason, attempt.route, keys, attempt.outcome)
        return None

    def _tell(self, attempt: Attempt) -> None:
        """Whoever watches comes last, and cannot hold up anything."""
        try:
            self._on_attempt(attempt)
        except Exception as error:  # noqa: BLE001  # an observer's fault is not the delivery's
            log.error("an attempt could not be told", problem=type(error).__name__)

    async def _set_aside(self, job: _Job, route: Route | None) -> None:
        """Store it where it can wait. One whose Webhook is unknown here may be known to others."""
        try:
            await self._store_aside(job, route)
        except Exception as error:  # noqa: BLE001  # a bug here must not hold its message, or its event, for ever
            await self._failed(job, error)

    async def _store_aside(self, job: _Job, route: Route | None) -> None:
        once, delivery = job.holding.aside_once, job.delivery
        if once is None:
            await self._give_back(job)
            return
        why, subject = self._endpoints.why_parked(route), names.parked_subject(delivery.uid)
        if not why and isinstance(job.holding, FromEvent):
            subject = names.delivery_subject(delivery.uid)
        else:
            # What is of a shard would come back there at once.
            self._metrics.parked(why or Kind.BACKLOGGED.value)
        await self._settle(job, self._store(subject, delivery.event.body, delivery.headers(), once))

    async def _settle(self, job: _Job, storing: Coroutine[None, None, None] | None) -> bool:
        """Store what follows, then let go, then make room; whether that was done."""
        try:
            await self._end_copying(job)
            return await job.holding.settle(storing)
        finally:
            if storing is not None:
                # It may not have begun, and would be missed as never awaited.
                storing.close()
            self._let_go(job)

    async def _store(self, subject: str, body: bytes, headers: dict[str, str], once: str) -> None:
        await self._publisher.store(subject, body, headers, once=once)

    async def _store_later(self, delivery: Delivery, at_s: float) -> None:
        once = messages.later_token(delivery)
        await self._publisher.store_later(delivery.uid, delivery.event.body, delivery.headers(), at_s=at_s, once=once)

    async def _store_dead(self, delivery: Delivery, reason: str, route: Route, keys: Keys, outcome: Outcome) -> None:
        # `keys` are those of the call, which the answer may repeat: the book may have others by now, or none.
        now = stamp(self._clock.now_s())
        make = partial(messages.dead_letter, delivery, reason, route=route, keys=keys, outcome=outcome, failed_at=now)
        takes_long = redaction.takes_long(outcome.answer[: messages.MAX_ANSWER_BYTES], keys.secrets())
        letter = await beside(make) if takes_long else make()
        await self._store(letter.subject, letter.body, letter.headers, letter.once)

    async def _return(self, job: _Job) -> None:
        """At the end: whoever takes it next should have it at once."""
        if isinstance(job.holding, FromEvent):
            await self._set_aside(job, self._route(job))
        else:
            await self._give_back(job)

    async def _give_back(self, job: _Job) -> None:
        await job.holding.give_back()
        self._let_go(job)

    async def _drop(self, taken: Taken) -> None:
        await taken.ack()
        self._pull.release(taken)

    async def _set_apart(self, taken: Taken, problem: str) -> None:
        try:
            await self._settlement.set_apart(taken, MALFORMED, problem)
        finally:
            self._pull.release(taken)

    async def _pass_on(self, taken: Taken, problem: str) -> None:
        """Park it as it is, for a sender that can read it: there it takes no room from other Webhooks."""
        log.warning("a delivery of another version waits for a sender of that version", problem=problem)
        self._metrics.parked(UNKNOWN_FORMAT)
        subject, headers = names.parked_subject(names.uid_of(taken.subject)), messages.as_stored(taken.headers)
        try:
            await self._settlement.settle(taken, self._store(subject, taken.body, headers, f"park.{taken.place}"))
        finally:
            self._pull.release(taken)

    def _let_go(self, job: _Job) -> None:
        if job.is_gone:
            return
        job.is_gone = True
        # Of an event that came again another job may have its key by now.
        if self._held.get(job.key) is job:
            del self._held[job.key]
        if job.on_probed is not None:
            # Before there is room for another message: one would be given back, and come again, and again.
            job.on_probed()
        job.holding.release()

    def _route(self, job: _Job) -> Route | None:
        return self._route_of(job.delivery.uid)

    def _route_of(self, uid: str) -> Route | None:
        book = self._books.current
        return book.route(uid) if book else None

    def _keys(self, route: Route) -> Keys:
        book = self._books.current
        return book.keys(route.uid) if book else Keys(uid=route.uid)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
