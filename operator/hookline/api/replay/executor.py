"""Has stored what a Replay asks for, at its rate and behind live traffic, and writes down how far it is.

A crash at any step leaves a repeat at most: a delivery is stored first, then counted, and a dead letter is removed
last (docs/queue.md has the argument). Decides nothing about what is meant: `plan` does.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol, TypeVar

import structlog

from hookline.api.log import Expired, Log, Unreadable, Wanted
from hookline.api.replay import plan
from hookline.api.replay.plan import Asked, Item, Lines, Look, Tally, WebhookSeen
from hookline.delivery.messages import Delivery
from hookline.events.envelope import stamp_to_the_second
from hookline.resources.reasons import ReplayReason
from hookline.resources.replay import MAX_WEBHOOKS, Replay, ReplayPlace, ReplayStatus
from hookline.runtime.tasks import together
from hookline.stream import history, log_reader, names
from hookline.stream.connection import Client, QueueUnusable, StreamRefused, StreamUnavailable
from hookline.stream.history import Reach
from hookline.stream.layout import Layout, plain
from hookline.stream.log_reader import LogReach
from hookline.stream.publish import OutOfRoom, Publisher
from hookline.stream.stored import Stored
from hookline.stream.streams import find

log = structlog.get_logger(__name__)

CHECKPOINT_ITEMS = 500
CHECKPOINT_SECONDS = 2.0
"""How much is done between two words of how far it is: so much is done again after a crash, at most."""

LOOK_SECONDS = 0.5
"""How often it is asked how many deliveries of a Webhook wait."""

LAYOUT_SECONDS = 10.0
"""How often it is looked where the streams are."""

AGAIN_SECONDS = 1.0
"""Before what cannot be done now is tried again."""

STALE_SECONDS = 2.0
"""How long what was read may wait to be stored. After that it is read again: it may have been dropped or purged."""

T = TypeVar("T")
Phase = Literal["Complete", "Failed"]

_STORES_AT_ONCE = 32
_ATTEMPTS_IN_A_PAGE, _PAGES = 100, 10
"""Of one event, asked of the attempts log: more than a schedule has."""


class Gone(Exception):
    """The Replay is not there any more."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one Dispatcher, over the connection that there is now."""

    client: Client
    publisher: Publisher


class Webhooks(Protocol):
    """Where it is known which Webhooks there are."""

    async def of(self, namespace: str, names: Collection[str] = ()) -> Sequence[WebhookSeen]:
        """Those with these names at least; all of the namespace without any. Raises StreamUnavailable when that is not
        known now."""


Write = Callable[[ReplayStatus, ReplayReason, str], Awaitable[None]]
"""Writes down how far a Replay is, and why it is so. Raises Gone; else returns once it is written."""


class _Failed(Exception):
    """A Replay that ends without being complete."""

    def __init__(self, reason: ReplayReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Executor:
    """Executes Replays, each by a `run` of its own. `clients` are the connections that there are now, by Dispatcher."""

    def __init__(
        self,
        clients: Callable[[], Mapping[str, Client]],
        webhooks: Webhooks,
        attempts: Log,
        *,
        now_s: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clients = clients
        self._queues: dict[str, Queue] = {}
        self.webhooks = webhooks
        self.attempts = attempts
        self.now_s = now_s
        self.sleep = sleep

    async def run(self, replay: Replay, write: Write) -> None:
        """Go on with a Replay from where it is until it is finished. Raises Gone."""
        run = _Run(self, replay, write)
        try:
            await run.all()
        except _Failed as error:
            await run.fail(error)

    async def queue(self, dispatcher: str) -> Queue:
        """Raises StreamUnavailable when there is no connection to it now."""
        client = self._clients().get(dispatcher)
        if client is None:
            raise StreamUnavailable(f"there is no connection to the queue of the Dispatcher {dispatcher} now")
        known = self._queues.get(dispatcher)
        if known is None or known.client is not client:
            known = self._queues[dispatcher] = Queue(client, Publisher(client))
        return known

    async def replay_letter(self, dispatcher: str, stream: str, seq: int, name: str) -> bool:
        """One dead letter, by its place; whether it was there and holds a delivery. `name` stands for a Replay's.

        Stored first and removed then: a crash between leaves a repeat at most, and whoever asks again within two
        minutes is known. Raises StreamUnavailable, StreamRefused, QueueUnusable.
        """
        queue = await self.queue(dispatcher)
        has = await history.reach(queue.client, stream)
        message = await history.message_at(queue.client, stream, seq) if has is not None else None
        delivery = plan.delivery_of(message) if message is not None else None
        if has is None or message is None or delivery is None:
            return False
        made = plan.again(delivery, name, int(has.now_s * 1000))
        await _store(queue.publisher, made, plan.letter_once(stream, message))
        await history.remove(queue.client, stream, has.created, [seq])
        return True


async def _store(publisher: Publisher, delivery: Delivery, once: str) -> None:
    subject = names.delivery_subject(delivery.uid)
    await publisher.store(subject, delivery.event.body, delivery.headers(), once=once)


@dataclass(slots=True)
class _Window:
    """What was stored of one stream since it was written last how far the Replay is."""

    dispatcher: str
    index: int
    stream: str
    began_s: float
    counting: bool
    """Not of what was counted before a crash."""
    read_s: float = -math.inf
    """When what is stored now was read, by the monotonic clock."""
    tally: Tally = field(default_factory=Tally)
    stored: list[int] = field(default_factory=list)
    """Sequences of the messages that it came from."""

    def is_due(self, now_s: float) -> bool:
        return self.tally.found >= CHECKPOINT_ITEMS or now_s - self.began_s >= CHECKPOINT_SECONDS

    def is_stale(self, now_s: float) -> bool:
        """Whether what was read may be gone."""
        return now_s - self.read_s > STALE_SECONDS

    def renew(self, now_s: float) -> None:
        self.began_s, self.tally, self.stored = now_s, Tally(), []


class _Run:
    """One Replay, from where it is to its end."""

    def __init__(self, around: Executor, replay: Replay, write: Write) -> None:
        self._around = around
        self._replay = replay
        self._status = replay.status
        self._write_down = write
        self._said = ReplayReason.PENDING
        self._due_s = 0.0
        """When the next delivery may be stored, by the monotonic clock."""
        self._looked_s = -math.inf
        """When it was looked which Webhooks there are, by the monotonic clock."""
        self._looks: dict[str, tuple[Look, int]] = {}
        """By uid of a Webhook: what waited of it at the last look, and how many more might then."""
        self._stored_of: Counter[str] = Counter()
        """Deliveries that were stored here, by uid of their Webhook."""
        self._gone: frozenset[str] = frozenset()
        self._known_s = -math.inf
        """Since when it is known how far it reaches, by the monotonic clock."""
        self._held_up = 0
        """How often something could not be done at once."""
        self._layouts: dict[str, tuple[float, Layout]] = {}
        """By Dispatcher: when it was looked where the streams are, by the monotonic clock, and where they were."""

    async def all(self) -> None:
        if self._status.started_at is None:
            self._status = await self._can(self._begun)
            await self._say(ReplayReason.RUNNING)
        self._known_s = time.monotonic()
        want = plan.asked(self._replay, self._status.webhooks)
        if not want.dry_run:
            await self._can(partial(self._is_disabled, want))
        for index in range(len(self._status.checkpoint)):
            await self._go_through(want, index)
        await self._end("Complete", ReplayReason.DRY_RUN if want.dry_run else ReplayReason.COMPLETE)

    async def fail(self, error: _Failed) -> None:
        await self._end("Failed", error.reason, str(error))

    async def _end(self, phase: Phase, reason: ReplayReason, why: str = "") -> None:
        now = stamp_to_the_second(self._around.now_s())
        self._status = self._status.model_copy(update={"phase": phase, "finished_at": now})
        await self._say(reason, why)

    async def _begun(self) -> ReplayStatus:
        """What it is for, and how far that reaches now."""
        metadata, named = self._replay.metadata, self._replay.spec.webhook
        there = await self._around.webhooks.of(metadata.namespace, [named.name] if named is not None else [])
        webhooks = plan.targets(self._replay, there)
        if not webhooks:
            raise _Failed(ReplayReason.WEBHOOK_NOT_FOUND, "its namespace has no Webhook that it names")
        if len(webhooks) > MAX_WEBHOOKS:
            raise _Failed(ReplayReason.TOO_MANY_WEBHOOKS, f"{len(webhooks)} Webhooks have these labels")
        want = plan.asked(self._replay, webhooks)
        places = [
            place
            for dispatcher in sorted({each.dispatcher for each in webhooks})
            for place in await self._places(want, dispatcher)
        ]
        return self._status.model_copy(
            update={
                "phase": "Running",
                "started_at": stamp_to_the_second(self._around.now_s()),
                "webhooks": webhooks,
                "checkpoint": tuple(places),
            }
        )

    async def _places(self, want: Asked, dispatcher: str) -> list[ReplayPlace]:
        client = (await self._around.queue(dispatcher)).client
        layout = await find(client)
        places = []
        for stream in (*layout.former_of(want.base), layout.stream(want.base)):
            has = await history.reach(client, stream)
            if has is not None and has.last:
                first = await history.first_since(client, has, want.since_s) if want.since_s else max(1, has.first)
                place = ReplayPlace(
                    dispatcher=dispatcher,
                    stream=stream,
                    created=has.created,
                    next=first,
                    settled=first,
                    end=has.last,
                )
                places.append(place)
        return places

    async def _go_through(self, want: Asked, index: int) -> None:
        """One stream, from where it was left."""
        place = self._status.checkpoint[index]
        if await self._can(partial(self._reach, place)) is None:
            return
        if want.removes and place.settled < place.next:
            # Counted, and perhaps not removed: what did that ended meanwhile.
            await self._read(want, index, place.settled, place.next - 1, counting=False)
        await self._read(want, index, place.next, place.end, counting=True)
        self._status = plan.settled(self._status, index)

    async def _reach(self, place: ReplayPlace) -> Reach | None:
        """None of a stream that was removed once it was empty, or deleted by somebody, also if it was made anew."""
        has = await history.reach((await self._around.queue(place.dispatcher)).client, place.stream)
        return has if has is not None and has.created == place.created else None

    async def _read(self, want: Asked, index: int, seq: int, end: int, *, counting: bool) -> None:
        place = self._status.checkpoint[index]
        pattern, most = want.pattern(place.dispatcher), max(1, int(want.rate * CHECKPOINT_SECONDS))
        window = _Window(place.dispatcher, index, place.stream, time.monotonic(), counting)
        while seq <= end:
            found, now_s = await self._can(partial(self._next, place, pattern, seq, end))
            if not found or found[0].stored_s >= want.until_s:
                break
            seq = await self._take(want, window, found[:most], seq, now_s)
            if window.is_due(time.monotonic()):
                await self._close(want, window, seq)
        await self._close(want, window, end + 1)

    async def _next(self, place: ReplayPlace, pattern: str, seq: int, end: int) -> tuple[list[Stored], float]:
        """What comes next of a stream, and what time it is by NATS, by which what waits has an age. Nothing when
        another stream has its name now: that was not asked for."""
        client = (await self._around.queue(place.dispatcher)).client
        try:
            found = await history.next_messages(client, place.stream, pattern, seq, end)
        except StreamUnavailable:
            if await self._reach(place) is None:
                return [], 0.0
            raise
        has = await self._reach(place)
        return (found, has.now_s) if has is not None else ([], 0.0)

    async def _take(self, want: Asked, window: _Window, found: Sequence[Stored], seq: int, now_s: float) -> int:
        """Have stored what the first of these messages mean, as many as there is room for; the sequence behind them.
        What was taken before ends before `seq`, which is returned when they are to be read again. `now_s` is NATS's
        time."""
        known_for_s = time.monotonic() - self._known_s
        wait_s = plan.lines_wait_s((each.stored_s for each in found), now_s, known_for_s) if want.only_failed else 0
        if wait_s > 0:
            await self._around.sleep(wait_s)
            return seq
        window.read_s, now_ms, held_up = time.monotonic(), int(now_s * 1000), self._held_up
        meant = [(message.seq, plan.items(want, window.stream, message, replayed_ms=now_ms)) for message in found]
        if not want.dry_run:
            uids = {item.webhook.uid for _, items in meant for item in items}
            meant = meant[: await self._room(want, window, uids, seq)]
            if window.is_stale(time.monotonic()):
                return seq
        items = [(seq, item) for seq, items in meant for item in items]
        wanted = await self._wanted(want, window.dispatcher, items)
        if self._held_up > held_up and window.is_stale(time.monotonic()):
            return seq
        window.tally.skipped += len(items) - len(wanted)
        if want.dry_run:
            window.tally.replayed += len(wanted)
            window.tally.unknown += sum(item.is_unknown for _, item in wanted)
        else:
            await self._store_all(want, window, wanted)
        return meant[-1][0] + 1

    async def _store_all(self, want: Asked, window: _Window, items: Sequence[tuple[int, Item]]) -> None:
        at_once = max(1, min(_STORES_AT_ONCE, want.rate // 10))
        for start in range(0, len(items), at_once):
            batch = items[start : start + at_once]
            await self._pace(len(batch) / want.rate)
            await together([partial(self._store, window, *each) for each in batch], at_once=at_once)

    async def _wanted(self, want: Asked, dispatcher: str, items: Sequence[tuple[int, Item]]) -> list[tuple[int, Item]]:
        """Those that are to be delivered, and whether nobody knows that they were not."""
        there = [(seq, each) for seq, each in items if each.delivery is not None and each.webhook.uid not in self._gone]
        if not want.only_failed:
            return there
        said = [
            (seq, item, await self._can(partial(self._lines_of, dispatcher, want.namespace, item)))
            for seq, item in there
        ]
        left = [each for each in said if not each[2].delivered]
        # Asked for behind the lines: what left the log before they were read lies before this, too.
        reaches = {
            uid: await self._can(partial(self._reach_of_log, dispatcher, want.namespace, uid))
            for uid in {item.webhook.uid for _, item, _ in left}
        }
        return [
            (seq, replace(item, is_unknown=plan.is_unknown(item, lines, reaches[item.webhook.uid])))
            for seq, item, lines in left
        ]

    async def _lines_of(self, dispatcher: str, namespace: str, item: Item) -> Lines:
        """What the attempts log says of a delivery; as much as it takes to know that it was made. Raises Unreadable,
        Expired."""
        assert item.delivery is not None, "what holds no delivery is skipped"
        wanted, lines, begin = Wanted(webhook=item.webhook.name, event_id=item.delivery.event.id), Lines(), ""
        self._around.attempts.check_attempts_of(dispatcher)
        for _ in range(_PAGES):
            page = await self._around.attempts.attempts(namespace, wanted, limit=_ATTEMPTS_IN_A_PAGE, begin=begin)
            lines, begin = lines.and_of(item.webhook.uid, page.items), page.more
            if lines.delivered or not begin:
                break
        self._around.attempts.check_attempts_of(dispatcher)
        return replace(lines, all=not begin)

    async def _reach_of_log(self, dispatcher: str, namespace: str, uid: str) -> LogReach:
        return await log_reader.reach_of_log((await self._around.queue(dispatcher)).client, namespace, uid)

    async def _store(self, window: _Window, seq: int, item: Item) -> None:
        delivery = item.delivery
        assert delivery is not None, "what holds no delivery is skipped"
        tries = itertools.count()

        async def stored() -> bool:
            in_doubt = next(tries) or window.is_stale(time.monotonic())
            if in_doubt and not await self._is_left(self._status.checkpoint[window.index], seq):
                return False
            await _store((await self._around.queue(window.dispatcher)).publisher, delivery, item.once)
            return True

        try:
            is_stored = await self._can(stored)
        except StreamRefused as error:
            window.tally.failed += 1
            log.warning(
                "a delivery cannot be replayed",
                replay=f"{self._replay.metadata.namespace}/{self._replay.metadata.name}",
                event_id=delivery.event.id,
                problem=str(error),
            )
            return
        if is_stored:
            self._stored_of[delivery.uid] += 1
            window.tally.replayed += 1
            window.tally.unknown += item.is_unknown
            window.stored.append(seq)

    async def _is_left(self, place: ReplayPlace, seq: int) -> bool:
        """Whether a message is there still, after it could not be stored for a while, or its turn came late."""
        client = (await self._around.queue(place.dispatcher)).client
        return await self._reach(place) is not None and await history.message_at(client, place.stream, seq) is not None

    async def _close(self, want: Asked, window: _Window, seq: int) -> None:
        """Count what was stored, write that down, and remove it then where it came from. All before `seq` is done."""
        if window.counting:
            self._status = plan.counted(self._status, window.index, seq, window.tally)
            if not want.removes:
                self._status = plan.settled(self._status, window.index)
            await self._say(ReplayReason.RUNNING)
        if want.removes:
            await self._can(partial(self._remove, self._status.checkpoint[window.index], window.stored))
        window.renew(time.monotonic())

    async def _remove(self, place: ReplayPlace, seqs: Sequence[int]) -> None:
        await history.remove((await self._around.queue(place.dispatcher)).client, place.stream, place.created, seqs)

    async def _pace(self, seconds: float) -> None:
        """Take the time that so much of the rate has."""
        now_s = time.monotonic()
        due_s = max(now_s, self._due_s)
        self._due_s = due_s + seconds
        if due_s > now_s:
            await self._around.sleep(due_s - now_s)

    async def _room(self, want: Asked, window: _Window, uids: Collection[str], seq: int) -> int:
        """How many messages may be taken, once any may: not while a Webhook is disabled, or has much waiting."""
        while True:
            try:
                room, reason = await self._looked(want, window.dispatcher, uids)
            except _Failed:
                await self._close(want, window, seq)
                raise
            if room:
                break
            if window.tally.found:
                # It may take long: what is done is written down first.
                await self._close(want, window, seq)
            if self._said is not reason:
                await self._say(reason)
            await self._around.sleep(LOOK_SECONDS)
        if self._said is not ReplayReason.RUNNING:
            await self._say(ReplayReason.RUNNING)
        return room

    async def _looked(self, want: Asked, dispatcher: str, uids: Collection[str]) -> tuple[int, ReplayReason]:
        """How many may be stored for each of these Webhooks, and why none may. Raises _Failed when there is none any
        more."""
        if await self._can(partial(self._is_disabled, want)):
            return 0, ReplayReason.WEBHOOK_DISABLED
        there = [uid for uid in uids if uid not in self._gone]
        rooms = [await self._can(partial(self._room_of, want, dispatcher, uid)) for uid in there]
        return min(rooms, default=want.rate), ReplayReason.WAITING

    async def _is_disabled(self, want: Asked) -> bool:
        """Whether a Webhook is not to be called now. Raises _Failed when there is none of them any more."""
        if self._looked_s > time.monotonic() - CHECKPOINT_SECONDS:
            return False
        there = await self._around.webhooks.of(want.namespace, [each.name for each in want.webhooks])
        gone = plan.gone(want, there)
        self._gone = frozenset(each.uid for each in gone)
        if len(gone) == len(want.webhooks):
            raise _Failed(ReplayReason.WEBHOOK_GONE, "the Webhook was deleted, or replaced by another one of its name")
        disabled = bool(plan.disabled(want, there))
        self._looked_s = -math.inf if disabled else time.monotonic()
        return disabled

    async def _room_of(self, want: Asked, dispatcher: str, uid: str) -> int:
        """What is left of the room of the last look, or what there is by a new one."""
        now_s = time.monotonic()
        before, room = self._looks.get(uid, (None, 0))
        left = room - (self._stored_of[uid] - before.stored) if before is not None else 0
        if before is not None and left > 0 and before.at_s > now_s - LOOK_SECONDS:
            return left
        client = (await self._around.queue(dispatcher)).client
        looked_s, layout = self._layouts.get(dispatcher, (-math.inf, plain()))
        if looked_s < now_s - LAYOUT_SECONDS:
            layout = await find(client)
            self._layouts[dispatcher] = now_s, layout
        waiting = await history.waiting_of(client, layout, uid)
        look = Look(now_s, waiting.now, self._stored_of[uid])
        room = plan.room(want.rate, before, look) if waiting.later <= plan.MOST_LATER else 0
        self._looks[uid] = look, room
        return room

    async def _can(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what may not be possible now, until it is."""
        while True:
            try:
                return await work()
            except (StreamUnavailable, QueueUnusable, OutOfRoom, Unreadable, Expired) as error:
                if self._said is not ReplayReason.QUEUE_UNAVAILABLE:
                    log.warning("a Replay cannot go on now", replay=self._replay.metadata.name, problem=str(error))
                    await self._say(ReplayReason.QUEUE_UNAVAILABLE, str(error))
                self._held_up += 1
                await self._around.sleep(AGAIN_SECONDS)

    async def _say(self, reason: ReplayReason, why: str = "") -> None:
        """Write down how far it is, and why it is so."""
        # Before it is written: what many deliveries find out at once is said once.
        self._said = reason
        message = plan.sentence(self._status, dry_run=self._replay.spec.dry_run)
        await self._write_down(self._status, reason, f"{why}; {message}" if why else message)
