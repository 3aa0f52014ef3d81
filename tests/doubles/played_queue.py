"""A queue, its receivers and its time, all played: nothing happens before a test says so, and nothing waits.

What a sender asks for waits as an `Asked` until it is answered: done, refused, or without a word about whether it was
done. A sender may be lost at any such moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hookline.delivery import endpoints as endpoints_module
from hookline.delivery import fanout as fanout_module
from hookline.delivery import sender as sender_module
from hookline.delivery.endpoints import Endpoints
from hookline.delivery.fanout import Fanout
from hookline.delivery.http.call import Call
from hookline.delivery.messages import ATTEMPT_HEADER
from hookline.delivery.policy.event_room import EventRoom
from hookline.delivery.policy.retry import Outcome, Reason
from hookline.delivery.policy.shares import Members
from hookline.delivery.route_book import RouteBook
from hookline.delivery.sender import Sender
from hookline.delivery.set_aside import SetAside
from hookline.delivery.settlement import Settlement
from hookline.events.envelope import ID_HEADER, TIME_HEADER
from hookline.routing.routes import Book, Keys, Route, book_of
from hookline.runtime.metrics import SenderMetrics
from hookline.stream import names
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import ACK_SECONDS
from hookline.stream.pull import Origin, Taken

KNOWN_SECONDS = 120.0
"""For so long a stream knows a message by its name."""

LOOK_SECONDS = 0.25

OUTCOMES = {
    200: Outcome(Reason.DELIVERED, 200, "", 0.1),
    410: Outcome(Reason.GONE, 410, "", 0.1),
    500: Outcome(Reason.HTTP_STATUS, 500, "", 0.1),
}
_TOO_LATE = Outcome(Reason.TIMEOUT, None, "", 0.1)


class StillLoop(asyncio.SelectorEventLoop):
    """Its clock stands until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now_s

    def settle(self) -> None:
        """Run whatever need not wait."""
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            due = self._scheduled and self._scheduled[0].when() <= self.now_s  # type: ignore[attr-defined]
            if not self._ready and not due:  # type: ignore[attr-defined]
                break

    def go_on(self, seconds: float) -> None:
        """Let time pass, in steps as short as those in which a sender looks at what it holds."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(until_s, self.now_s + LOOK_SECONDS)
            self.settle()

    def end(self) -> None:
        # What ends may begin something else.
        while tasks := asyncio.all_tasks(self):
            for task in tasks:
                task.cancel()
            self.settle()
        self.close()


@dataclass(eq=False)
class Kept:
    """A message in a stream. `holder` has it in hand."""

    stream: str
    seq: int
    subject: str
    headers: dict[str, str]
    body: bytes
    stored_s: float
    delivered: int = 0
    holder: Pod | None = None
    last: Pod | None = None
    """Who had it in hand last."""
    settled: bool = False
    """Of an event, which stays."""

    def acked(self) -> bool:
        return self.settled

    @property
    def event_id(self) -> str:
        return self.headers[ID_HEADER]

    @property
    def uid(self) -> str:
        return names.uid_of(self.subject)


class How(Enum):
    """How the queue answers."""

    DONE = "done"
    REFUSED = "refused"
    DONE_UNHEARD = "done, and nobody hears of it"
    LOST = "not done, and nobody hears of it"
    BUG = "not done, with an exception that nobody expects"


@dataclass(eq=False)
class Asked:
    """What a sender wants the queue to do. Unanswered it ends after a while, done or not, without a word."""

    what: str
    event_id: str
    do: Callable[[], object]
    answer: asyncio.Future[None]


@dataclass(eq=False)
class Called:
    uid: str
    event_id: str
    attempt: int
    answer: asyncio.Future[Outcome]


class PlayedQueue:
    """The streams, and what was called. Time is the loop's."""

    def __init__(self, loop: StillLoop, book: Book) -> None:
        self.loop, self.book = loop, book
        self.kept: dict[str, dict[int, Kept]] = {each: {} for each in (names.EVENTS, names.DELIVERIES, names.PARKED)}
        self.dead: list[Kept] = []
        self.later: dict[str, tuple[float, Kept]] = {}
        """Scheduled messages by their subjects, with when they are due."""
        self.called: list[Called] = []
        self.stored: list[str] = []
        """Subjects of all that was stored, in order."""
        self.disturbed: set[str] = set()
        """Ids of events of which something may be repeated."""
        self.pods: list[Pod] = []
        """All that ever ran: whose process has died must not be collected while its loop runs."""
        self._known: dict[tuple[str, str], float] = {}
        self._seq = 0

    def put(self, subject: str, body: bytes, headers: Mapping[str, str], once: str | None = None) -> None:
        """Store a message, unless its name is known."""
        stream, now_s = names.stream_of(subject), self.loop.now_s
        if once is not None and now_s - self._known.get((stream, once), -KNOWN_SECONDS) < KNOWN_SECONDS:
            return
        if once is not None:
            self._known[stream, once] = now_s
        self._seq += 1
        kept = Kept(stream, self._seq, subject, dict(headers), body, now_s)
        self.stored.append(subject)
        if "Nats-Schedule" in headers:
            raise AssertionError("a scheduled message is stored by store_later")
        if stream == names.DEAD:
            self.dead.append(kept)
        else:
            self.kept.setdefault(stream, {})[kept.seq] = kept

    def publish(self, event_id: str, event_type: str, *, is_large: bool = False) -> Kept:
        """A large one is taken without its body."""
        headers = {ID_HEADER: event_id, TIME_HEADER: "2026-11-24T00:00:00.000+00:00"}
        subject = (names.large_subject if is_large else names.event_subject)("default", event_type)
        self.put(subject, b"{}", headers)
        self.stored.pop()
        return list(self.kept[names.EVENTS].values())[-1]

    def schedule(self, subject: str, uid: str, body: bytes, headers: Mapping[str, str], at_s: float) -> None:
        self._seq += 1
        self.stored.append(subject)
        kept = Kept(names.DELIVERIES, self._seq, names.delivery_subject(uid), dict(headers), body, at_s)
        self.later[subject] = (at_s, kept)

    def go_on(self, seconds: float) -> None:
        """Let time pass; what is due comes back to its shard."""
        until_s = self.loop.now_s + seconds
        while self.loop.now_s < until_s:
            self.loop.go_on(min(LOOK_SECONDS, until_s - self.loop.now_s))
            for subject, (at_s, kept) in list(self.later.items()):
                if at_s <= self.loop.now_s:
                    del self.later[subject]
                    self.kept[kept.stream][kept.seq] = kept

    def free(self) -> list[Kept]:
        """What nobody has in hand."""
        return [each for each in self._open() if each.holder is None]

    def in_hand(self) -> list[Kept]:
        return [each for each in self._open() if each.holder is not None]

    def ack_wait_passes(self, kept: Kept) -> None:
        """It may be taken again, whatever its holder does with it."""
        self.disturbed.add(kept.event_id)
        kept.holder = None

    def settle(self, kept: Kept) -> None:
        kept.settled, kept.holder = True, None
        if kept.stream != names.EVENTS:
            self.kept[kept.stream].pop(kept.seq, None)

    def keeps(self, uid: str, event_id: str) -> bool:
        """Whether a delivery lies in some stream."""
        queued = (each for stream in (names.DELIVERIES, names.PARKED) for each in self.kept[stream].values())
        scheduled = (each for _, each in self.later.values())
        return any((each.uid, each.event_id) == (uid, event_id) for each in (*queued, *scheduled, *self.dead))

    def _open(self) -> list[Kept]:
        return [each for stream in self.kept.values() for each in stream.values() if not each.settled]


class Pod:
    """A sender process: a real Fanout and a real Sender. It is their connection, their clock and their receivers."""

    def __init__(self, queue: PlayedQueue, *, at_once: bool = False) -> None:
        self.queue, self.loop = queue, queue.loop
        self.at_once = at_once
        """Whether the queue does at once what it is asked for."""
        self.asked: list[Asked] = []
        self.calls: list[Called] = []
        self.said: list[tuple[Kept, bytes]] = []
        """Words about messages that have not left yet."""
        self.words_leave = True
        """Whether they leave at once."""
        self.gone = False
        self.endpoints = Endpoints()
        me, metrics = cast(Any, self), SenderMetrics(outcomes=(), deaths=(), parkings=())
        books = RouteBook(Path("nowhere"), metrics)
        books.current = queue.book
        settlement = Settlement(me, metrics, me)
        self.sender = Sender(me, me, settlement, books, me, self.endpoints, Members("me"), metrics, me)
        self.room = EventRoom()
        aside = SetAside(me, settlement, me, metrics)
        parts = (settlement, books, self.endpoints, self.sender, aside, self.room, metrics)
        self.fanout = Fanout(me, me, *parts, whole=self.whole, on_room=lambda: None)
        self._messages: dict[str, Kept] = {}
        self._handling: list[asyncio.Task[None]] = []
        self._keeping = [self.start(self.sender.keep_alive()), self.start(self.sender.stretch_long_calls())]
        queue.pods.append(self)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.loop.settle()
        return task

    def take(self, kept: Kept) -> None:
        """What nobody has in hand is in this one's now."""
        kept.holder = kept.last = self
        kept.delivered += 1
        reply = f"{kept.stream}.{kept.seq}.{kept.delivered}"
        self._messages[reply] = kept
        origin = {names.EVENTS: Origin.EVENTS, names.DELIVERIES: Origin.SHARD, names.PARKED: Origin.PARKED}[kept.stream]
        consumer = {Origin.EVENTS: "fanout", Origin.SHARD: "shard"}.get(origin, f"unpark-{kept.uid}")
        is_head = names.is_large(kept.subject)
        taken = Taken(
            origin,
            consumer,
            kept.subject,
            {**kept.headers, "Nats-Msg-Size": str(len(kept.body))} if is_head else kept.headers,
            b"" if is_head else kept.body,
            kept.seq,
            int(kept.stored_s * 1e9),
            kept.delivered,
            cast(Any, self),
            reply,
            is_head=is_head,
        )
        self.loop.call_soon(self._dispatch, taken)
        self.loop.settle()

    def _dispatch(self, taken: Taken) -> None:
        if taken.origin is Origin.EVENTS:
            storing = self.fanout.take(taken)
            if storing is not None:
                self._handling.append(self.loop.create_task(storing))
        else:
            self.sender.take(taken)

    # The queue, as answers come.

    def answer(self, asked: Asked, how: How = How.DONE) -> None:
        self.asked.remove(asked)
        if how is not How.DONE:
            self.queue.disturbed.add(asked.event_id)
        if how in (How.DONE, How.DONE_UNHEARD):
            asked.do()
        if not asked.answer.done():
            if how is How.REFUSED:
                asked.answer.set_exception(StreamRefused("full"))
            elif how is How.BUG:
                asked.answer.set_exception(ZeroDivisionError())
            elif how is How.DONE:
                asked.answer.set_result(None)
            else:
                asked.answer.set_exception(StreamUnavailable("away"))
        self.loop.settle()

    def answer_all(self) -> None:
        while self.asked:
            self.answer(self.asked[0])

    def respond(self, called: Called, status: int) -> None:
        """The receiver answers a call."""
        self.calls.remove(called)
        called.answer.set_result(OUTCOMES[status])
        self.loop.settle()

    def flush(self, *, lost: bool = False) -> None:
        """What was said about messages leaves, or is lost with its connection."""
        said, self.said = self.said, []
        for kept, word in said:
            if lost:
                self.queue.disturbed.add(kept.event_id)
            elif word == b"+ACK":
                self.queue.settle(kept)
            elif word == b"-NAK" and kept.holder is self:
                kept.holder = None

    def die(self) -> None:
        """SIGKILL: nothing of it happens any more."""
        self.gone = True
        for each in self._keeping:
            each.cancel()
        self.queue.disturbed.update(self._open_ids(), (kept.event_id for kept, _ in self.said))
        for kept in self.queue.in_hand():
            if kept.holder is self:
                self.queue.ack_wait_passes(kept)
        self.asked, self.calls, self.said = [], [], []

    def _open_ids(self) -> list[str]:
        """Events for which something is under way."""
        return [each.event_id for each in self.calls] + [each.event_id for each in self.asked]

    def drain(self, grace_seconds: float, *, answers: bool) -> None:
        """SIGTERM. With `answers` the queue does what it is asked for, and calls take as long as they take."""
        draining = self.start(self.sender.drain(grace_seconds))
        for _ in range(int((grace_seconds + 10) / LOOK_SECONDS)):
            if answers:
                self.answer_all()
            if draining.done():
                break
            # What outlasts the grace is called again, and what has no answer may be.
            self.queue.disturbed.update(self._open_ids())
            self.queue.go_on(LOOK_SECONDS)
        assert draining.done(), "the end of a sender is bounded"
        draining.result()
        self.flush(lost=not answers)
        self.die()

    # What a Sender and a Fanout ask of others.

    async def store(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, once: str | None = None
    ) -> bool:
        headers = headers or {}
        await self._ask("store", headers, partial(self.queue.put, subject, body, dict(headers), once))
        return True

    async def whole(self, taken: Taken) -> Taken | None:
        kept = self.queue.kept[names.EVENTS].get(taken.seq) if taken.is_head else None
        if kept is None:
            return None
        await self._ask("read", kept.headers, lambda: None)
        return replace(taken, body=kept.body, is_head=False)

    async def store_later(self, uid: str, body: bytes, headers: Mapping[str, str], *, at_s: float, once: str) -> None:
        subject = names.later_subject(uid, once)
        what = "copy" if headers[ATTEMPT_HEADER] == "1" else "retry"
        await self._ask(what, headers, partial(self.queue.schedule, subject, uid, body, dict(headers), at_s))

    async def forget_later(self, uid: str, *, once: str) -> None:
        subject = names.later_subject(uid, once)
        kept = self.queue.later.get(subject)
        headers = kept[1].headers if kept is not None else {ID_HEADER: ""}
        await self._ask("forget", headers, partial(self.queue.later.pop, subject, None))

    async def _ask(self, what: str, headers: Mapping[str, str], do: Callable[[], object]) -> None:
        if self.gone:
            await asyncio.Event().wait()
        if self.at_once:
            do()
            return
        asked = Asked(what, headers.get(ID_HEADER, ""), do, self.loop.create_future())
        self.asked.append(asked)
        timer = self.loop.call_later(ACK_SECONDS, self._not_heard, asked)
        try:
            await asked.answer
        finally:
            timer.cancel()

    def _not_heard(self, asked: Asked) -> None:
        if asked in self.asked:
            self.asked.remove(asked)
            self.queue.disturbed.add(asked.event_id)
            if not asked.answer.done():
                asked.answer.set_exception(StreamUnavailable("no word"))

    async def call(self, call: Call) -> Outcome:
        if self.gone:
            await asyncio.Event().wait()
        headers = {name.lower(): value for name, value in dict(call.headers).items()}
        uid = call.url.rsplit("/", 1)[1]
        answer: asyncio.Future[Outcome] = self.loop.create_future()
        called = Called(uid, headers["webhook-id"], int(headers["hookline-attempt"]), answer)
        self.calls.append(called)
        self.queue.called.append(called)
        timer = self.loop.call_later(route_of(self.queue.book, uid).timeout_seconds, self._too_late, called)
        try:
            return await answer
        except asyncio.CancelledError:
            # Cut at the end of a drain, in which it may have begun: nobody knows whether it was heard.
            self.queue.disturbed.add(called.event_id)
            raise
        finally:
            timer.cancel()
            if called in self.calls:
                self.calls.remove(called)

    def _too_late(self, called: Called) -> None:
        if not called.answer.done():
            called.answer.set_result(_TOO_LATE)

    async def publish(self, reply: str, word: bytes) -> None:
        if self.gone or word == b"+WPI":
            return
        self.said.append((self._messages[reply], word))
        if self.words_leave:
            self.flush()

    def release(self, _: Taken) -> None:
        """There is always room."""

    def now_s(self) -> float:
        return self.loop.now_s


def route_of(book: Book, uid: str) -> Route:
    route = book.route(uid)
    assert route is not None
    return route


def stand_still(monkeypatch: pytest.MonkeyPatch, loop: StillLoop) -> None:
    """Have a sender's clocks be those of `loop`."""
    clock = SimpleNamespace(monotonic=loop.time, time=loop.time)
    for module in (sender_module, fanout_module, endpoints_module):
        monkeypatch.setattr(module, "time", clock)


@contextlib.contextmanager
def playing(*routes: Route) -> Iterator[PlayedQueue]:
    """A queue for these Webhooks, each of which calls a URL that ends in its uid."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        loop = StillLoop()
        stand_still(monkeypatch, loop)
        try:
            yield PlayedQueue(loop, book_of((each, Keys(uid=each.uid)) for each in routes))
        finally:
            loop.end()
