"""The attempts log, as a sender writes it: attempts are noted while calls run, and written in batches beside them.

Decides what is kept of an attempt, how much waits to be written, when a batch is, and what is lost. Nothing waits for
it, and nothing of it is needed: what cannot be written is counted, and said once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from hookline.delivery.policy.retry import Dead, Outcome, Reason, Retry
from hookline.delivery.recorder import AnswerAllowance, Noted, Recorder
from hookline.delivery.sender import Attempt
from hookline.events.envelope import valid_tenant
from hookline.routing.routes import DispatcherRecord, Keys, Route
from hookline.runtime.metrics import SenderMetrics
from hookline.runtime.tasks import Deadline, beside, within
from hookline.stream import names
from hookline.stream.attempt_record import (
    MAX_BATCH_RECORDS,
    Unheard,
    encode_unheard,
    with_marks,
)
from hookline.stream.attempts_log import AttemptsStream, Lost, NotStored
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.owner import Mark
from hookline.stream.streams import MAX_BATCH_BYTES, LogBounds

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.25
"""Between two looks at which batches are due."""

FLUSH_SECONDS, LATEST_SECONDS = 1.0, 5.0
"""How old a batch is when it is written, and how old at most, where so many are due that AT_A_LOOK leaves some waiting:
a message costs five times as much as a line in it. No age is waited for once half of the room is taken."""

AT_A_LOOK = 8
AT_ONCE = 64
"""Batches that are written for their age at one look, and that are under way at once."""

IN_A_ROW = 64
"""Lines that are made before others have their turn, half a millisecond."""

MOST_BYTES, MOST_OF_TENANT_BYTES = 16 * 1024 * 1024, 8 * 1024 * 1024
"""What waits to be written in one sender."""
_NOTE_BYTES = 1024
"""Of an attempt without its answer, in memory."""
_LINE_BYTES = 300

SHORT_BYTES = 256
"""An answer that is shorter costs no more than what stands around it."""
MOST_UNHEARD = 1024
"""Tenants with event types that nobody hears and that are counted one by one."""
UNHEARD_SECONDS = 5.0

CLOSED_SECONDS = 600.0
"""How long nothing is tried after NATS said that it may not be: each try is logged there."""
AGAIN_SECONDS = 5.0
"""After NATS refused the stream, or a batch: an administrator may have changed it, or it is to make room."""
PAUSE_SECONDS = 1.0
"""After a batch that was not confirmed: while streams have no leader NATS says so at once, each time."""
GROW_SECONDS = 600.0
"""How long a log with less room than it is to have waits before it asks NATS for more."""

SURE_SECONDS, MOST_RECENT = 1.0, 64
"""After how long the stream is asked whether it has a batch that it confirmed, and how many are kept until then: 2 MiB
at most. nats-server confirms before it writes, and says nothing if it then cannot write."""
FORGET_SECONDS = 15.0
"""After how long a batch counts as stored although the stream does not answer, while the connection is there: a silent
connection is noticed after ten seconds. Later NATS forgets the name of the batch, and somebody may have purged it."""

CALM_SECONDS = 60.0
"""Without a loss, before it is said that there is none any more."""

GAP_SECONDS = 30.0
"""How long the log waits before it says once more that lines are missing: to say so changes its stream."""

_FOLLOWS = {Retry: "Retry", Dead: "Dead"}


def note_of(attempt: Attempt) -> Noted:
    delivery, outcome = attempt.delivery, attempt.outcome
    event = delivery.event
    return Noted(
        event.id,
        event.type,
        delivery.event_seq,
        len(event.body),
        delivery.attempt,
        attempt.route,
        attempt.keys or Keys(uid=delivery.uid),
        outcome,
        attempt.at_s,
        attempt.called_s,
        follows_of(attempt),
        attempt.next_at_s if attempt.settled else None,
        attempt.probe,
        replay=delivery.replay,
    )


def follows_of(attempt: Attempt) -> str:
    """What the log says of what follows an attempt. What was decided counts only if it was stored."""
    if attempt.given_back:
        return "Parked"
    return _FOLLOWS.get(type(attempt.decision), "Done") if attempt.settled else "Again"


@dataclass(slots=True)
class _Batch:
    route: Route
    begun_s: float
    notes: list[Noted] = field(default_factory=list)
    line_bytes: int = 0
    """As its lines will have, roughly."""
    held_bytes: int = 0
    """In memory."""


@dataclass(slots=True)
class _Written:
    """A message, until NATS has it."""

    subject: str
    body: bytes = field(repr=False)
    once: str
    webhook: str
    tenant: str
    lines: int
    held_bytes: int
    is_done: bool = False
    """Whether it was confirmed, or given up."""
    is_under_way: bool = False
    is_asked: bool = False
    """Whether NATS was asked to store it, and may have done so."""
    seq: int = 0
    """Its place in the stream, as it was confirmed."""
    confirmed_s: float = 0.0
    """When that was, by the monotonic clock."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it is written, over one connection."""

    stream: AttemptsStream
    owner: Callable[[], Mark | None]
    """Whose the streams are."""
    now_s: Callable[[], float]
    """NATS's time."""


class AttemptsLog:
    """Of one sender process, whatever becomes of its connections.

    `settings` are those of the Dispatcher, None before there is a route book.
    """

    def __init__(self, metrics: SenderMetrics, settings: Callable[[], DispatcherRecord | None]) -> None:
        self._metrics = metrics
        self._settings = settings
        self._sender = with_marks(socket.gethostname())[:128] or "unknown"
        self._once = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._open: dict[str, _Batch] = {}
        """By the uids of their Webhooks, the oldest first."""
        self._full: deque[_Batch] = deque()
        self._unsent: deque[_Written] = deque()
        """Messages that NATS did not confirm yet."""
        self._recent: deque[_Written] = deque()
        """Those that it confirmed, until it is sure that they are stored."""
        self._verified_s = -math.inf
        """When the stream was last asked for them."""
        self._connection: int | None = None
        """The one that was last told of."""
        self._held: Counter[str] = Counter()
        """Bytes of each tenant."""
        self._held_bytes = 0
        self._in_a_row = 0
        """Lines that were made since others had their turn."""
        self._unheard: Counter[tuple[str, str]] = Counter()
        self._unheard_s = 0.0
        """When they were last written."""
        self._recorder = Recorder()
        self._allowance = AnswerAllowance()
        self._closed: Lost | None = None
        """Why nothing is written for a while, if that is so."""
        self._closed_until_s = 0.0
        self._trouble = ""
        """Why lines were lost lately, as it was said."""
        self._lost_since, self._lost_s = 0, 0.0
        """How many since that was said, and when the last ones were."""
        self._place: _Place | None = None
        self._wake = asyncio.Event()
        self._ensured: object = None
        """What the stream was last brought to; LOG_OFF of one that says that nothing is written."""
        self._gaps = self._gaps_told = 0
        """How often lines came to be missing, and how often of that the log says that they are."""
        self._gap_told_s = -math.inf
        self._is_made = False
        """Whether the stream was there once."""
        self._grow_at_s = math.inf
        """When the stream is to have more room, if it has less than it is to have."""
        self._paused_until_s = -math.inf
        """When batches are written again after one was not confirmed."""
        self._doubted_s = -math.inf
        """When the stream was last looked at because it refused a batch."""
        self._is_full = False
        """Whether NATS refused a batch because it has no room for anything."""
        self._advice = ""
        self._is_over = False
        self._looking = asyncio.Lock()
        """Held while batches are written."""

    def note(self, attempt: Attempt) -> None:
        """An attempt ended. Takes some microseconds, and never raises."""
        try:
            self.add(note_of(attempt))
        except Exception as error:  # noqa: BLE001  # an observer's fault is nobody else's
            log.error("an attempt could not be noted: this is a bug", problem=type(error).__name__)
            self._lose(Lost.FAULT, 1)

    def add(self, note: Noted) -> None:
        """What is to be written. Of a long answer nothing, where there is no room or no time for it."""
        settings = self._settings()
        if settings is None or not settings.attempts_enabled:
            return
        if self._closed is not None:
            self._lose(self._closed, 1)
            return
        route, now_s, outcome = note.route, time.monotonic(), note.outcome
        size = len(outcome.answer) + len(outcome.answer_head)
        if len(outcome.answer) > SHORT_BYTES and not self._may_keep(outcome, route.namespace, size, now_s):
            size -= len(outcome.answer)
            note.outcome = replace(outcome, answer=b"")
        if not self._has_room(route.namespace, size):
            self._lose(Lost.ROOM, 1)
            return
        batch = self._open.get(route.uid)
        if batch is not None and batch.line_bytes + size > MAX_BATCH_BYTES:
            self._fill(route.uid)
            batch = None
        if batch is None:
            batch = self._open[route.uid] = _Batch(route, now_s)
        batch.notes.append(note)
        batch.line_bytes += _LINE_BYTES + size
        self._hold(route.namespace, _NOTE_BYTES + size)
        batch.held_bytes += _NOTE_BYTES + size
        if len(batch.notes) >= MAX_BATCH_RECORDS or batch.line_bytes >= MAX_BATCH_BYTES:
            self._fill(route.uid)

    def _fill(self, uid: str) -> None:
        self._full.append(self._open.pop(uid))
        self._wake.set()

    def _may_keep(self, outcome: Outcome, tenant: str, size: int, now_s: float) -> bool:
        """Whether an answer is written. That of a failure tells more than that of a success."""
        share = 0.5 if outcome.reason is Reason.DELIVERED else 1.0
        return self._has_room(tenant, size) and self._allowance.take(len(outcome.answer), now_s, share=share)

    def unheard(self, tenant: str, event_type: str) -> None:
        """An event that no Webhook heard."""
        settings = self._settings()
        if settings is None or not settings.attempts_enabled or not valid_tenant(tenant):
            return
        place = (tenant, event_type)
        if place not in self._unheard and len(self._unheard) >= MOST_UNHEARD:
            place = (tenant, "")
            if place not in self._unheard and len(self._unheard) >= 2 * MOST_UNHEARD:
                return
        self._unheard[place] += 1

    @property
    def advice(self) -> str:
        """What a person should know of the stream and do, if anything."""
        settings = self._settings()
        return self._advice if settings is not None and settings.attempts_enabled else ""

    @property
    def held_bytes(self) -> int:
        """What waits to be written."""
        return self._held_bytes

    def _has_room(self, tenant: str, size: int) -> bool:
        needed = _NOTE_BYTES + size
        return self._held_bytes + needed <= MOST_BYTES and self._held[tenant] + needed <= MOST_OF_TENANT_BYTES

    def _hold(self, tenant: str, size: int) -> None:
        self._held_bytes += size
        self._held[tenant] += size
        if not self._held[tenant]:
            del self._held[tenant]

    def _lose(self, why: Lost, lines: int, problem: str = "") -> None:
        if not lines:
            return
        self._metrics.attempts_lost(why.value, lines)
        self._lost_since += lines
        self._gaps += 1
        self._lost_s = time.monotonic()
        self._say(why, problem)

    def _say(self, why: Lost, problem: str) -> None:
        """Once, until there was no loss for a while."""
        if not self._trouble:
            self._trouble = why.value
            log.warning(
                "attempts are missing in the attempts log; deliveries go on as ever", reason=why.value, problem=problem
            )

    def _stored(self, lines: int) -> None:
        self._metrics.attempts_logged(lines)
        if self._trouble and time.monotonic() - self._lost_s > CALM_SECONDS:
            log.info("attempts are in the attempts log again", lost=self._lost_since)
            self._trouble, self._lost_since = "", 0

    async def run(self, stream: AttemptsStream, owner: Callable[[], Mark | None], now_s: Callable[[], float]) -> None:
        """Write what was noted over one connection, for ever. `now_s` is NATS's time."""
        self._place = _Place(stream, owner, now_s)
        self._connection = stream.connection
        self._ensured = None
        if not self._is_over:
            self._closed = None
        self._write_again()
        while True:
            try:
                await self._look()
                await within(self._wake, LOOK_SECONDS)
                self._wake.clear()
            except Exception as error:  # noqa: BLE001  # an observer's fault is nobody else's
                log.error("the attempts log could not be written: this is a bug", problem=type(error).__name__)
                await asyncio.sleep(AGAIN_SECONDS)

    def reconnected(self) -> None:
        """Perhaps to another server, or as another user."""
        self._connection = self._place.stream.connection if self._place is not None else None
        self._ensured = None
        self._closed_until_s, self._paused_until_s = 0.0, -math.inf
        self._write_again()
        self._wake.set()

    def _write_again(self) -> None:
        """What was confirmed just before: nats-server may have been killed before it was on its disk. What is there is
        known by its name."""
        for each in self._recent:
            self._hold(each.tenant, each.held_bytes)
        self._unsent.extendleft(reversed(self._recent))
        self._recent.clear()

    async def drain(self, seconds: float) -> None:
        """Write what is left, within so many seconds."""
        with contextlib.suppress(TimeoutError), Deadline(seconds):
            await self._look(everything=True)
        self.end()

    def end(self) -> None:
        """Nothing is written any more, and what is noted from now on is lost."""
        if not self._is_over:
            self._is_over, self._closed = True, Lost.ENDED
            self._stored(sum(each.lines for each in self._recent))
            self._recent.clear()
            self._give_up_all(Lost.ENDED)

    async def _look(self, *, everything: bool = False) -> None:
        place, settings = self._place, self._settings()
        mark = place.owner() if place is not None else None
        if place is None or settings is None or mark is None or self._is_over:
            return
        if not everything and self._is_connection(place.stream):
            await self._verify(place.stream)
        if self._closed is not None and time.monotonic() < self._closed_until_s:
            return
        if time.monotonic() < self._paused_until_s and not everything:
            return
        # Whoever ends does not wait for an answer that nats-server, killed just before, may owe for seconds.
        is_made = everything and self._is_made
        if settings.attempts_enabled and not is_made:
            await self._ensure(place, settings, mark)
        elif not (settings.attempts_enabled or everything):
            await self._turn_off(place.stream)
        async with self._looking:
            if self._ensured is not None or (self._is_made and (everything or not settings.attempts_enabled)):
                await self._write(place, everything=everything)

    async def _verify(self, stream: AttemptsStream) -> None:
        """Whether what was confirmed is stored. What is not has another name from then on: nats-server knows the one
        that it confirmed, and would take it for stored."""
        now_s = time.monotonic()
        if not self._recent or now_s < max(self._recent[0].confirmed_s, self._verified_s) + SURE_SECONDS:
            return
        self._verified_s = now_s
        # A sender that ends writes batches meanwhile.
        asked = {each.once for each in self._recent}
        try:
            last_seq = await stream.last_seq()
        except (StreamUnavailable, StreamRefused) as error:
            log.debug("cannot ask whether the attempts log is stored", problem=str(error))
            if self._is_connection(stream):
                self._forget_recent(now_s - FORGET_SECONDS)
            return
        if not self._is_connection(stream):
            # Perhaps of a server that was killed, and gave places to others.
            return
        for _ in range(len(self._recent)):
            each = self._recent.popleft()
            if each.once not in asked:
                self._recent.append(each)
            elif each.seq > last_seq:
                self._hold(each.tenant, each.held_bytes)
                self._unsent.append(replace(each, once=self._name(), is_asked=False))
            elif each.confirmed_s <= now_s - SURE_SECONDS:
                self._stored(each.lines)
            else:
                self._recent.append(each)

    def _is_connection(self, stream: AttemptsStream) -> bool:
        """Whether the connection is the one that was last told of."""
        return self._connection is not None and stream.connection == self._connection

    def _name(self) -> str:
        return f"{self._once}.{next(self._numbers)}"

    async def _turn_off(self, stream: AttemptsStream) -> None:
        self._gaps += 1
        if self._ensured == names.LOG_OFF:
            return
        try:
            await stream.turn_off()
        except StreamUnavailable as error:
            log.debug("cannot look after the attempts log now", problem=str(error))
            await asyncio.sleep(LOOK_SECONDS)
            return
        except NotStored as error:
            log.warning("the attempts log does not say that it is turned off", problem=str(error))
        self._ensured, self._gap_told_s = names.LOG_OFF, -math.inf

    async def _ensure(self, place: _Place, settings: DispatcherRecord, mark: Mark) -> None:
        wanted = (settings.attempts_seconds, settings.attempts_bytes, settings.stream_replicas, mark)
        gaps, now_s = self._gaps, time.monotonic()
        has_gap = gaps > self._gaps_told and now_s >= self._gap_told_s + GAP_SECONDS
        if self._is_full:
            await self._make_room(place.stream)
        if wanted == self._ensured and not has_gap and now_s < self._grow_at_s:
            return
        bounds = LogBounds(settings.attempts_seconds, settings.attempts_bytes)
        try:
            size, copies = await place.stream.ensure(
                bounds, replicas=settings.stream_replicas, owner=mark, now_s=place.now_s(), has_gap=has_gap
            )
        except StreamUnavailable as error:
            log.debug("cannot look after the attempts log now", problem=str(error))
            await asyncio.sleep(LOOK_SECONDS)
        except NotStored as error:
            async with self._looking:
                self._close(error)
        else:
            if not self._is_over:
                self._ensured, self._closed, self._is_made = wanted, None, True
                if has_gap:
                    self._gaps_told, self._gap_told_s = gaps, now_s
                self._say_of_stream(size, copies, bounds.bytes, settings.stream_replicas)
                self._grow_at_s = time.monotonic() + GROW_SECONDS if size < bounds.bytes else math.inf

    async def _make_room(self, stream: AttemptsStream) -> None:
        """What is published is worth more than what was written down of calls."""
        self._is_full = False
        try:
            removed = await stream.halve()
        except (StreamUnavailable, StreamRefused) as error:
            log.debug("the attempts log cannot make room", problem=str(error))
        else:
            if removed:
                log.warning("NATS has no room; the older half of the attempts log was removed", batches=removed)

    def _say_of_stream(self, size: int, copies: int, wanted_size: int, wanted_copies: int) -> None:
        """Once, as long as it is so."""
        was_small = self._grow_at_s < math.inf
        if size < wanted_size and not was_small:
            log.warning("NATS has less room for the attempts log than it is to have", bytes=size)
        before, self._advice = self._advice, ""
        if copies < wanted_copies:
            self._advice = (
                f"the attempts log has {copies} copy and stays so, not {wanted_copies}: delete the stream "
                f"{names.ATTEMPTS} and what it holds to have it made anew"
            )
            if self._advice != before:
                log.warning(self._advice)

    def _close(self, error: NotStored) -> None:
        """Nothing is written for a while."""
        if self._is_over:
            return
        self._say(error.why, str(error))
        self._closed, self._ensured = error.why, None
        wait_seconds = AGAIN_SECONDS if error.why is Lost.REFUSED else CLOSED_SECONDS
        self._closed_until_s = time.monotonic() + wait_seconds
        self._give_up_all(error.why)

    def _give_up_all(self, why: Lost) -> None:
        """All but what may be stored and whose own answer is still to come."""
        for batch in (*self._full, *self._open.values()):
            self._give_up(batch.route.namespace, batch.held_bytes, len(batch.notes), why)
        self._full.clear()
        self._open.clear()
        for written in self._unsent:
            if why is Lost.ENDED or not (written.is_under_way or (written.is_asked and why is Lost.REFUSED)):
                self._drop(written, why)
        self._unsent = deque(each for each in self._unsent if not each.is_done)

    def _give_up(self, tenant: str, held_bytes: int, lines: int, why: Lost, problem: str = "") -> None:
        self._hold(tenant, -held_bytes)
        self._lose(why, lines, problem)

    async def _write(self, place: _Place, *, everything: bool) -> None:
        """Whenever it is cancelled, what is not written yet is kept, and written over the next connection."""
        if not await self._send(place.stream):
            return
        await self._write_unheard(place, everything=everything)
        self._fill_old(time.monotonic(), everything=everything)
        while self._full:
            batch = self._full[0]
            written = await self._written(batch, place.stream.most_bytes)
            if self._is_over:  # given up meanwhile
                return
            self._full.popleft()
            self._unsent += written
            if len(self._unsent) >= AT_ONCE and not await self._send(place.stream):
                return
        await self._send(place.stream)

    async def _send(self, stream: AttemptsStream) -> bool:
        """Whether all that was made is stored, or given up."""
        while self._unsent:
            sent = list(itertools.islice(self._unsent, AT_ONCE))
            await asyncio.gather(*(self._store(stream, each) for each in sent if not each.is_done))
            left = sum(not each.is_done for each in sent)
            self._unsent = deque(each for each in self._unsent if not each.is_done)
            if left:
                return False
        return True

    def _fill_old(self, now_s: float, *, everything: bool) -> None:
        """Batches that are old enough, or of whom too much waits, take no more."""
        may_be_pressed = self._held_bytes > MOST_OF_TENANT_BYTES // 2
        for old, (uid, batch) in enumerate(list(self._open.items())):
            age_s = now_s - batch.begun_s
            is_old = age_s >= LATEST_SECONDS or (old < AT_A_LOOK and age_s >= FLUSH_SECONDS)
            if everything or is_old or (may_be_pressed and self._is_pressed(batch.route.namespace)):
                self._full.append(self._open.pop(uid))
            elif not may_be_pressed:
                return  # all others are younger

    def _is_pressed(self, tenant: str) -> bool:
        """Whether half of the room is taken: lines would be lost while batches wait for their age."""
        return self._held_bytes > MOST_BYTES // 2 or self._held[tenant] > MOST_OF_TENANT_BYTES // 2

    async def _written(self, batch: _Batch, most_bytes: int) -> list[_Written]:
        """A batch as a message, or as several where it is larger than NATS takes. Others have their turn before the
        next one."""
        route = batch.route
        try:
            make = partial(self._recorder.batches, batch.notes, most_bytes)
            made = await beside(make) if self._recorder.takes_long(batch.notes) else make()
            self._in_a_row += len(batch.notes)
            if self._in_a_row >= IN_A_ROW:
                self._in_a_row = 0
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001  # one batch must not stop the others
            log.error("attempts could not be written: this is a bug", problem=type(error).__name__)
            self._give_up(route.namespace, batch.held_bytes, len(batch.notes), Lost.FAULT)
            return []
        if self._is_over:
            return []
        self._hold(route.namespace, sum(len(body) for body, _ in made) - batch.held_bytes)
        return [
            _Written(
                names.attempts_subject(route.namespace, route.uid),
                body,
                self._name(),
                route.title,
                route.namespace,
                lines,
                len(body),
            )
            for body, lines in made
        ]

    async def _store(self, stream: AttemptsStream, written: _Written) -> None:
        written.is_under_way = written.is_asked = True
        try:
            seq = await stream.store(
                written.subject, written.body, once=written.once, sender=self._sender, webhook=written.webhook
            )
        except StreamUnavailable as error:
            log.debug("a part of the attempts log is not stored yet", problem=str(error))
            self._not_confirmed(written)
        except NotStored as error:
            self._not_stored(written, error)
        except Exception as error:  # noqa: BLE001  # one batch must not stop the others
            log.error("attempts could not be stored: this is a bug", problem=type(error).__name__)
            self._drop(written, Lost.FAULT)
        else:
            self._confirmed(written, seq)
        finally:
            written.is_under_way = False

    def _confirmed(self, written: _Written, seq: int) -> None:
        if written.is_done:  # given up meanwhile, with the others
            return
        written.is_done = True
        self._hold(written.tenant, -written.held_bytes)
        self._recent.append(replace(written, is_done=False, is_under_way=False, seq=seq, confirmed_s=time.monotonic()))
        self._forget_recent()

    def _forget_recent(self, oldest_s: float = -math.inf) -> None:
        """Those that were confirmed before then count as stored, and so do the oldest of too many."""
        while self._recent and (len(self._recent) > MOST_RECENT or self._recent[0].confirmed_s < oldest_s):
            self._stored(self._recent.popleft().lines)

    def _not_confirmed(self, written: _Written) -> None:
        # It may have been deleted.
        self._ensured = None
        self._paused_until_s = time.monotonic() + PAUSE_SECONDS
        if self._closed not in (None, Lost.REFUSED):
            self._drop(written, self._closed)

    def _not_stored(self, written: _Written, error: NotStored) -> None:
        self._drop(written, error.why, str(error))
        if error.why is not Lost.REFUSED:
            self._close(error)
        elif time.monotonic() >= self._doubted_s + AGAIN_SECONDS:
            self._doubted_s = time.monotonic()
            self._is_full = error.full
            self._ensured = None

    def _drop(self, written: _Written, why: Lost, problem: str = "") -> None:
        if not written.is_done:
            written.is_done = True
            self._give_up(written.tenant, written.held_bytes, written.lines, why, problem)

    async def _write_unheard(self, place: _Place, *, everything: bool) -> None:
        at_s = time.monotonic()
        if not self._unheard or (at_s - self._unheard_s < UNHEARD_SECONDS and not everything):
            return
        self._unheard_s = at_s
        counted, self._unheard = self._unheard, Counter()
        by_tenant: dict[str, list[Unheard]] = {}
        for (tenant, event_type), count in counted.items():
            by_tenant.setdefault(tenant, []).append(Unheard(event_type, count, round(place.now_s(), 3)))
        for tenant, counts in by_tenant.items():
            # What is not stored is not tried again: it is a hint.
            once = self._name()
            with contextlib.suppress(StreamUnavailable, NotStored):
                await place.stream.store(
                    names.unheard_subject(tenant), encode_unheard(counts), once=once, sender=self._sender
                )
