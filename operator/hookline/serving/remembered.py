"""What somebody else has answered, kept for a while: whether a token is right, whether an account may do something.

Decides how long an answer counts, when it is asked for anew, and how many questions there are at once. Keys are
digests; never keeps what was asked.

A yes is looked at again before it is old, beside the request, and goes on for a while when nobody answers. Nobody waits
for the same answer twice, and questions about what is not known yet neither take the places of what is known, nor come
faster than at a pace. Whose turn it is among them decides `turns`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Generic, TypeVar

import structlog

from hookline.runtime.tasks import Deadline, cancel
from hookline.serving.pace import Pace
from hookline.serving.turns import Turns, Whose

log = structlog.get_logger(__name__)

T = TypeVar("T")

_MAX_NAME_CHARACTERS = 128
"""Of whose a question is, as it is kept. A longer name, which somebody may have, stands there as its digest."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long answers count. All from the moment the question was asked."""

    refresh_seconds: float = 30.0
    """A yes that is used is asked for anew beside the request."""
    fresh_seconds: float = 45.0
    """A yes is used without waiting. The API server keeps a yes for 10 s itself, and a question takes at most
    `ask_seconds`: together they are the 60 s after which a deleted ServiceAccount is refused."""
    outage_seconds: float = 600.0
    """A yes is used although nobody answers."""
    refused_seconds: float = 5.0
    """A no is used."""
    ask_seconds: float = 5.0
    """Of one question, its turn included."""
    failed_seconds: float = 10.0
    """After a question without an answer nobody waits for the next one, where there is a yes that still counts."""
    again_seconds: float = 1.0
    """After a question without an answer the same is not asked again, where there is a yes that still counts."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of it there is at once."""

    known: int = 10_000
    """Yeses kept. When they are more, the group with the most loses the one it has not used for longest."""
    refused: int = 10_000
    known_at_once: int = 16
    """Questions about what is known."""
    unknown_at_once: int = 8
    unknown_per_second: float = 100.0
    burst: int = 100
    waiting: int = 250
    """Questions about what is not known: as many as have their turn within half of the time for a question."""
    waiting_of_one: int = 50
    """The same, of whoever is first in `Question.whose`."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A yes or a no, and for how long what it says can be true at all."""

    value: T
    yes: bool
    lasts_seconds: float = inf


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """`whose` it is decides when its turn comes; for `group` its yes is kept, for whoever is first there if none."""

    whose: Whose
    ask: Callable[[], Awaitable[Answer[T]]]
    """Raises Unanswered."""
    group: str = ""


class Unanswered(Exception):
    """Nobody says yes or no now. The text is for whoever asked."""

    def __init__(self, text: str, retry_after_seconds: float = 2.0) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class Crowded(Unanswered):
    """Nobody was asked: too many questions wait, most of them from where this one comes."""

    def __init__(self) -> None:
        super().__init__("too many questions about who may do this are waiting; send it again")


@dataclass(slots=True)
class Kept(Generic[T]):
    """A yes. Times are those of the clock."""

    value: T
    group: str
    refresh_s: float
    fresh_s: float
    usable_s: float
    failed_s: float = -inf
    """When a question about it last had no answer."""


class Use(Enum):
    """What to do with a yes."""

    AS_IT_IS = auto()
    AND_ASK = auto()
    """Use it, and ask beside it."""
    AFTER_ASKING = auto()
    """Ask, and use it only if nobody answers."""
    NOT = auto()


def kept(answer: Answer[T], group: str, asked_s: float, times: Times) -> Kept[T]:
    """A yes to what was asked at that time."""
    ends_s = asked_s + answer.lasts_seconds
    return Kept(
        answer.value,
        group,
        refresh_s=asked_s + times.refresh_seconds,
        fresh_s=min(asked_s + times.fresh_seconds, ends_s),
        usable_s=min(asked_s + times.outage_seconds, ends_s),
    )


def use_of(yes: Kept[T], now_s: float, times: Times) -> Use:
    """What a yes is worth now."""
    if now_s >= yes.usable_s:
        return Use.NOT
    since_failure_seconds = now_s - yes.failed_s
    if now_s < yes.refresh_s or since_failure_seconds < times.again_seconds:
        return Use.AS_IT_IS
    if now_s < yes.fresh_s or since_failure_seconds < times.failed_seconds:
        return Use.AND_ASK
    return Use.AFTER_ASKING


class Remembered(Generic[T]):
    """The answers to one kind of question."""

    def __init__(
        self, times: Times | None = None, bounds: Bounds | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._times = times or Times()
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._yes: OrderedDict[bytes, Kept[T]] = OrderedDict()
        self._group_sizes: Counter[str] = Counter()
        self._no: OrderedDict[bytes, tuple[T, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[T | Unanswered]] = {}
        self._slow_s = -inf
        """When a question that was asked last had no answer in time."""
        most = self._bounds
        # Of what is known each is asked about once at a time.
        self._known_places = _Places(Turns(most.known_at_once, most.known, most.known), clock)
        pace = Pace(most.unknown_per_second, most.burst)
        self._unknown_places = _Places(Turns(most.unknown_at_once, most.waiting, most.waiting_of_one, pace), clock)

    async def get(self, key: bytes, question: Callable[[], Question[T]]) -> T:
        """The answer for a key, asked for if it must be. Raises Unanswered, and what `question` raises."""
        now_s = self._clock()
        yes = self._yes.get(key)
        use = Use.NOT if yes is None else use_of(yes, now_s, self._times)
        if yes is None or use is Use.NOT:
            no = self._no.get(key)
            if no is not None and now_s < no[1]:
                return no[0]
            return await self._answer(self._asking.get(key) or self._ask(key, question(), self._unknown_places))
        self._yes.move_to_end(key)
        if use is Use.AS_IT_IS:
            return yes.value
        asking = self._asking.get(key) or self._ask(key, question(), self._known_places)
        if use is Use.AND_ASK:
            return yes.value
        try:
            return await self._answer(asking)
        except Unanswered:
            # Its end may have come meanwhile.
            if self._clock() >= yes.usable_s:
                raise
            return yes.value

    async def close(self) -> None:
        """End what is being asked."""
        await cancel(self._asking.values())

    async def _answer(self, asking: asyncio.Task[T | Unanswered]) -> T:
        # Others may wait for it as well: it goes on when this one is gone.
        answer = await asyncio.shield(asking)
        if isinstance(answer, Crowded):
            raise Crowded
        if isinstance(answer, Unanswered):
            raise Unanswered(str(answer), answer.retry_after_seconds)
        return answer

    def _ask(self, key: bytes, question: Question[T], places: _Places) -> asyncio.Task[T | Unanswered]:
        asking = self._asking[key] = asyncio.create_task(self._asked(key, question, places))
        asking.add_done_callback(lambda done: self._asked_of(key, done))
        return asking

    def _asked_of(self, key: bytes, done: asyncio.Task[T | Unanswered]) -> None:
        del self._asking[key]
        # Perhaps nobody waits for it.
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("a question about a caller failed", problem=type(error).__name__)

    async def _asked(self, key: bytes, question: Question[T], places: _Places) -> T | Unanswered:
        asked_s = inf
        try:
            with Deadline(self._times.ask_seconds):
                async with places.one(tuple(map(_short, question.whose))):
                    asked_s = self._clock()
                    answer = await question.ask()
        except TimeoutError:
            now_s = self._clock()
            if asked_s < inf:
                self._slow_s = now_s
            # Whose turn did not come waited for the others: for an answer, or for their turns.
            is_slow = now_s - self._slow_s <= self._times.ask_seconds
            slow = Unanswered("the API server takes too long to answer")
            return self._unanswered(key, slow if is_slow else Crowded())
        except Unanswered as error:
            return self._unanswered(key, error)
        self._keep(key, answer, _short(question.group or question.whose[0]), asked_s)
        return answer.value

    def _unanswered(self, key: bytes, why: Unanswered) -> Unanswered:
        if (yes := self._yes.get(key)) is not None:
            yes.failed_s = self._clock()
        return why

    def _keep(self, key: bytes, answer: Answer[T], group: str, asked_s: float) -> None:
        self._forget(key)
        if not answer.yes:
            self._no[key] = answer.value, asked_s + self._times.refused_seconds
            if len(self._no) > self._bounds.refused:
                self._no.popitem(last=False)
            return
        self._yes[key] = kept(answer, group, asked_s, self._times)
        self._group_sizes[group] += 1
        if len(self._yes) > self._bounds.known:
            self._forget(self._least_missed())

    def _forget(self, key: bytes) -> None:
        self._no.pop(key, None)
        yes = self._yes.pop(key, None)
        if yes is not None:
            self._group_sizes[yes.group] -= 1
            if not self._group_sizes[yes.group]:
                del self._group_sizes[yes.group]

    def _least_missed(self) -> bytes:
        """Of the group with the most, so that nobody loses his to one who makes many."""
        largest = self._group_sizes.most_common(1)[0][0]
        return next(key for key, yes in self._yes.items() if yes.group == largest)


@dataclass(eq=False, slots=True)
class _Turn:
    """Of one who waits, until he is woken: he has a place, or has to go."""

    woken: asyncio.Future[None]
    has_begun: bool = False
    has_to_go: bool = False

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class _Places:
    """Places that are waited for, in turn."""

    def __init__(self, turns: Turns[_Turn], clock: Callable[[], float]) -> None:
        self._turns = turns
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def one(self, whose: Whose) -> AsyncIterator[None]:
        """Raises Crowded where there is no room to wait, or somebody else needs it more."""
        turn = _Turn(asyncio.get_running_loop().create_future())
        goes = self._turns.come(turn, whose)
        if goes is not None:
            goes.has_to_go = True
            goes.wake()
        self._go_on()
        try:
            await turn.woken
            if turn.has_to_go:
                raise Crowded
            yield
        finally:
            if turn.has_begun:
                self._turns.end(whose)
            elif not turn.has_to_go:
                self._turns.leave(turn, whose)
            self._go_on()

    def _go_on(self) -> None:
        """Let those begin whose turn it is, and look again when the pace lets the next one."""
        now_s = self._clock()
        while (turn := self._turns.begin(now_s)) is not None:
            turn.has_begun = True
            turn.wake()
        wait_seconds = self._turns.wait_seconds(now_s)
        if wait_seconds and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait_seconds, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._go_on()


def _short(name: str) -> str:
    if len(name) <= _MAX_NAME_CHARACTERS:
        return name
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
