"""What the API asks of the queue, and what it is told: the words between those who answer people and those who read.

A namespace of "" means all of them. Whoever asks was authorized before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from hookline.stream.attempt_record import AttemptRecord

LARGEST_ATTEMPT = 1_000_000
"""Of a delivery or dead letter: anybody on this NATS may have written a larger number."""

T = TypeVar("T")


class Unreadable(Exception):
    """The queue or the index cannot be read now. The text is for people. `soon`: waiting may well help, as it need not
    with a queue that nobody is connected to."""

    def __init__(self, text: str, *, soon: bool = True) -> None:
        super().__init__(text)
        self.soon = soon


class Expired(Exception):
    """A place to go on from that is not known any more: the list is to be asked for from the beginning."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list is narrowed to; an empty text narrows nothing."""

    webhook: str = ""
    """Its name."""
    event_id: str = ""
    event_type: str = ""
    status: str = ""
    """Of the answer, such as 503."""
    reason: str = ""
    """The word, such as HTTPStatus."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list: of deliveries by Webhook, what waits longest first; of all else newest first."""

    items: Sequence[T]
    more: str
    """Where the next part begins; empty of the last one."""
    version: str
    """Of the whole: what came later is told by following from here."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt with its place."""

    name: str
    """Unique in its namespace, a DNS subdomain: `<event id, as far as it can be>-<attempt>.<place in the log>`."""
    namespace: str
    webhook: str
    """Name of the Webhook."""
    uid: str
    """Of the Webhook."""
    sender: str
    dispatcher: str
    version: str
    """Grows with each one of a Dispatcher."""
    record: AttemptRecord


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that is not done yet."""

    name: str
    namespace: str
    webhook: str
    """Name of the Webhook; empty when it is not there any more."""
    uid: str
    dispatcher: str
    event_id: str
    event_type: str
    state: str
    """Queued, Scheduled or Parked."""
    reason: str
    """Why it waits: a word, empty of what is queued."""
    attempt: int
    """The next one; counts from 1."""
    stored_s: float
    """When its event was stored, Unix time; 0 when that is not known."""
    since_s: float
    """When it began to wait here."""
    next_at_s: float | None
    """When it is due, if that is known."""
    body_bytes: int
    replay: str = ""


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter without its body."""

    name: str
    namespace: str
    webhook: str
    uid: str
    dispatcher: str
    event_id: str
    event_type: str
    reason: str
    """The word: ScheduleSpent, Gone, WebhookGone and the like."""
    detail: str
    """The sentence behind it."""
    failed_at_s: float
    attempt: int
    """The last one; 0 when none was made."""
    outcome: str
    """Of the last attempt, a word; empty without one."""
    status: int | None
    answer: bytes = field(repr=False)
    body_bytes: int
    headers: Mapping[str, str] = field(repr=False)


class Log(Protocol):
    """Each raises Unreadable; lists and following raise Expired as well. That a single object is not there is said only
    when it is certain, whatever cannot be read."""

    async def attempts(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Attempt]:
        """`begin`: what the page before had as `more`."""

    async def until_told(self, version: str) -> None:
        """Until a list of attempts is not older than a version, which another replica may have told of. One of another
        log is waited for no longer than for none: no list will ever have it."""

    def check_attempts_of(self, dispatcher: str) -> None:
        """That lists of attempts have all that came of a Dispatcher. They may be told without it, or without what came
        since it cannot be read: who concludes from what is missing asks this before and behind them. Raises
        Unreadable."""

    async def attempt(self, namespace: str, name: str) -> Attempt | None: ...

    def follow_attempts(self, namespace: str, wanted: Wanted, since: str) -> AsyncIterator[Attempt]:
        """Those that came behind a version, oldest first, and for ever those that come."""

    async def deliveries(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Waiting]: ...

    async def delivery(self, namespace: str, name: str) -> Waiting | None: ...

    async def dead_letters(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Dead]: ...

    async def dead_letter(self, namespace: str, name: str) -> Dead | None: ...

    async def drop_dead_letter(self, namespace: str, name: str) -> bool:
        """Whether it was there."""

    async def body_of_attempt(self, namespace: str, name: str) -> bytes | None:
        """Of its event; None once that is gone."""

    async def body_of_delivery(self, namespace: str, name: str) -> bytes | None: ...

    async def body_of_dead_letter(self, namespace: str, name: str) -> bytes | None: ...
