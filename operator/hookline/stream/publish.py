"""Storing messages: nothing counts as stored before JetStream said so."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import nats.errors
import structlog
from nats.aio.client import Client

from hookline.events.envelope import Event, max_event_bytes, stamp, to_headers
from hookline.stream import names
from hookline.stream.api import api
from hookline.stream.connection import Heard, QueueUnusable, StreamRefused, StreamUnavailable, denied
from hookline.stream.inbox import Inbox, is_unheard
from hookline.stream.layout import Layout, plain
from hookline.stream.queue_problem import FOREIGN_ADVICE, QueueProblem, QueueReason
from hookline.stream.streams import is_known
from hookline.stream.writes import Writes

log = structlog.get_logger(__name__)

_ROOM_FOR_HEADERS = 64 * 1024

ACK_SECONDS = 5.0
"""How long a publisher waits for the word that a message is stored."""


class Former(NamedTuple):
    """Where the first message of a name lies."""

    stream: str
    seq: int


class Outcome(NamedTuple):
    """What became of a message: stored now, or stored before, at `former`. `again`: it was sent more than once, so that
    what was stored before may be itself."""

    former: Former | None = None
    again: bool = False

    @property
    def new(self) -> bool:
        """Whether it is new, or may be."""
        return self.former is None or self.again


NEW = Outcome()

_STORED = re.compile(rb'\{"stream":"([A-Za-z0-9_-]+)", ?"seq":[0-9]+\}')
"""What the server nearly always says: stored, and new."""


_OURS = frozenset([names.BACKLOG, *(f"{prefix}{base}" for prefix in ("", names.OWN_PREFIX) for base in names.BASES)])
"""What streams are called that no prefix was asked for. Of another prefix NATS is asked whose they are."""

NO_RESOURCES = (10002, 10023, 10047)
"""Codes of nats-server (errors.json): the account's bounds are reached, no resources, no storage left."""

_OUT_OF_ROOM = (*NO_RESOURCES, 10077)
"""The store failed, besides."""

_REPLACED = (10071, 10164)
"""The last sequence of the subject is not the expected one, or becomes another one now."""

LATER = (10158, 10167)
"""One of the same name is being stored, as after a leader was lost; too much waits to be stored."""


LARGE_BYTES = 32 * 1024
"""A body that is larger than this is read past without it: what a sender costs to read it by itself, a tenth of a
millisecond, is little beside a call with it."""

LARGE_AGAIN_SECONDS = 5.0
"""After no stream took the subject of large events."""

NOT_OURS_AGAIN_SECONDS = 600.0
"""After NATS did not permit to publish there, which is logged each time, or a stream of another application took it,
which has one more of our events then."""


class NoStream(StreamUnavailable):
    """No stream takes a subject, or JetStream is not up."""


class OutOfRoom(StreamRefused):
    """NATS has no room, on its disk or within its bounds."""


class TooLarge(StreamRefused):
    """Larger than NATS takes, or than what becomes of it would have room for."""


class Replaced(StreamRefused):
    """The subject does not have any more what was to be replaced there."""


class Publisher:
    """Stores messages, many at once over one connection.

    Not by the client's `publish_async`: that never ends when the server answers with a 503, which is how a full stream
    answers, and costs twice the time (34k against 71k messages/s).

    `on_missing` is called when no stream takes what is to be stored. `layout` says where streams are, for what is
    removed from them.
    """

    def __init__(
        self, client: Client, *, on_missing: Callable[[], None] = lambda: None, layout: Callable[[], Layout] = plain
    ) -> None:
        self._client = client
        self._layout = layout
        self._on_missing = on_missing
        self._inbox = Inbox(client, ACK_SECONDS)
        self.writes = Writes()
        """Whether streams take what is to be stored."""
        self._said_refused = False
        self._ours = set(_OURS)
        self._large_from_s = 0.0
        """When large events are to be stored under their own subject, by the monotonic clock."""

    async def store(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, once: str | None = None
    ) -> Outcome:
        """Store one message and wait until it is; says whether it is new.

        `once` makes it idempotent: a second message of the same `once` within the deduplication window is not stored
        again, and is not new. What may be stored twice is sent again when the connection was lost meanwhile, within the
        same time. Raises StreamUnavailable when it is not known to be stored, StreamRefused when it is known not to be.
        """
        sent = dict(headers or {})
        if once is not None:
            sent["Nats-Msg-Id"] = once
        if len(body) > self._client.max_payload - _ROOM_FOR_HEADERS and self._is_too_large(body, sent):
            raise TooLarge(f"a message of {len(body)} bytes and its headers is larger than NATS takes")
        try:
            answer, asked_again = await self._inbox.ask(subject, body, sent, again=is_idempotent(sent))
        except nats.errors.BadHeaderError:
            raise StreamRefused("a header has a name that NATS does not take") from None
        except (TimeoutError, nats.errors.Error, OSError) as error:
            problem = denied(self._client, subject)
            if problem is not None:
                raise QueueUnusable(problem) from None
            self.unconfirmed(names.stream_of(subject))
            raise StreamUnavailable(
                f"NATS did not confirm within {ACK_SECONDS:g} s ({type(error).__name__}); nothing is known to be stored"
            ) from None
        if is_unheard(answer):
            self._on_missing()
            raise NoStream("no stream takes this subject, or JetStream is not up")
        stream = names.stream_of(subject)
        stored = _STORED.match(answer.body)
        if stored is not None and (name := stored[1].decode()) not in self._ours:
            await self._ask_whose(name, stream)
        outcome = self._noted(answer, stream)
        return outcome._replace(again=True) if asked_again else outcome

    def unconfirmed(self, stream: str) -> None:
        """Something was not confirmed in time, and whoever stored it waits no longer."""
        if self._client.is_connected:
            self.writes.refused(stream, "it confirms nothing", time.monotonic())

    def say_writes(self) -> None:
        """Log that the queue takes no writes, and that it does again, once each."""
        refusing = self.writes.problem(time.monotonic())
        if refusing is not None and not self._said_refused:
            log.error("the queue takes no writes", problem=refusing.message)
        elif refusing is None and self._said_refused:
            log.info("the queue takes writes again")
        self._said_refused = refusing is not None

    async def _ask_whose(self, name: str, stream: str) -> None:
        """Find out, once, about a stream with a prefix that any application could have thought of."""
        if names.bears(name, stream) and await is_known(self._client, name):
            self._ours.add(name)

    def _noted(self, answer: Heard, stream: str) -> Outcome:
        try:
            outcome = _outcome(answer, stream, self._ours)
        except OutOfRoom as error:
            self.writes.refused(stream, str(error), time.monotonic())
            raise
        if self.writes.in_doubt:
            self.writes.stored(stream)
        return outcome

    def _is_too_large(self, body: bytes, headers: dict[str, str]) -> bool:
        """The client does not count headers, and the server ends the connection of whoever sends too much."""
        return bytes_of(headers) + len(body) > self._client.max_payload

    async def store_event(self, event: Event) -> Outcome:
        """As store. Raises StreamRefused also of an event of which a delivery, or its dead letter, would not fit."""
        once, headers = f"{event.tenant}.{event.id}", to_headers(event)
        room = max_event_bytes(self._client.max_payload)
        if len(event.body) > room - _ROOM_FOR_HEADERS:  # else whatever they are, which takes a while to count
            room -= bytes_of({**headers, "Nats-Msg-Id": once})
        if len(event.body) > room:
            raise TooLarge(
                f"the body has {len(event.body)} bytes and may have {max(0, room)}: NATS takes messages of "
                f"{self._client.max_payload} (max_payload), and what becomes of an event needs room for more headers"
            )
        if len(event.body) > LARGE_BYTES and time.monotonic() >= self._large_from_s:
            try:
                return await self.store(names.large_subject(event.tenant, event.type), event.body, headers, once=once)
            except NoStream:
                self._large_from_s = time.monotonic() + LARGE_AGAIN_SECONDS
            except QueueUnusable as error:
                if error.problem.reason not in (QueueReason.NATS_REFUSED, QueueReason.STREAM_FOREIGN):
                    raise
                self._large_from_s = time.monotonic() + NOT_OURS_AGAIN_SECONDS
        return await self.store(names.event_subject(event.tenant, event.type), event.body, headers, once=once)

    async def store_later(self, uid: str, body: bytes, headers: Mapping[str, str], *, at_s: float, once: str) -> None:
        """Store a delivery that returns to its shard at `at_s`, in a scheduled message (ADR-51).

        `at_s` is Unix time by the server's clock, see stream/clock: the server compares it with nothing else.
        Never a sleeping nak: that would hold a slot of the shared consumer for its whole sleep.
        """
        schedule = {"Nats-Schedule": f"@at {stamp(at_s)}", "Nats-Schedule-Target": names.delivery_subject(uid)}
        await self.store(names.later_subject(uid, once), body, {**headers, **schedule})

    async def forget_later(self, uid: str, *, once: str) -> None:
        """Remove what `store_later` stored, if it is not due yet. Raises StreamUnavailable, QueueUnusable."""
        for stream in self._layout().streams(names.DELIVERIES):
            await api(self._client, f"STREAM.PURGE.{stream}", filter=names.later_subject(uid, once))


def is_idempotent(headers: Mapping[str, str]) -> bool:
    """Whether a message with these headers may be stored again when it is not known to be stored.

    NATS knows it by its name for two minutes, and one that is scheduled replaces itself. If that comes meanwhile, it
    comes twice; otherwise what it follows from would be done again. What replaces another message is refused when it
    has done so (Nats-Expected-…).
    """
    if any(name.lower().startswith("nats-expected-") for name in headers):
        return False
    return "Nats-Msg-Id" in headers or "Nats-Schedule" in headers


def bytes_of(headers: Mapping[str, str]) -> int:
    """What headers take in a message: the client does not count them, and the server does."""
    lines = sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())
    return len("NATS/1.0\r\n\r\n") + lines


def _outcome(answer: Heard, stream: str, ours: Collection[str] = _OURS) -> Outcome:
    """What the server said: stored in `stream`, with a prefix or without, stored there before, or refused.

    `ours` are the names of our streams. Raises StreamRefused, QueueUnusable when another one took it.
    """
    stored = _STORED.fullmatch(answer.body)
    if stored is not None and _is_in(stored[1].decode(), stream, ours):
        return NEW
    said = json.loads(answer.body)
    if "error" in said:
        reason = str(said["error"].get("description", "without a reason"))
        if said["error"].get("err_code") in LATER:
            raise StreamUnavailable(f"NATS cannot say yet whether it is stored: {reason}")
        raise _refusal(said["error"].get("err_code"))(f"NATS refused to store: {reason}")
    if not _is_in(str(said.get("stream")), stream, ours):
        problem = f"the stream {said.get('stream')} of another application took the message, and {stream} has it not"
        raise QueueUnusable(QueueProblem(QueueReason.STREAM_FOREIGN, f"{problem}; {FOREIGN_ADVICE}"))
    return Outcome(Former(said["stream"], int(said.get("seq", 0)))) if said.get("duplicate") else NEW


def _refusal(err_code: object) -> type[StreamRefused]:
    if err_code in _OUT_OF_ROOM:
        return OutOfRoom
    return Replaced if err_code in _REPLACED else StreamRefused


def _is_in(name: str, stream: str, ours: Collection[str]) -> bool:
    return name == stream or (name in ours and names.bears(name, stream))


async def publish_event(publisher: Publisher, event: Event, *, patience_seconds: float) -> Outcome:
    """Store an event; whether it is new. Tries again while NATS is away, which its id makes safe.

    Raises StreamUnavailable after `patience_seconds`, StreamRefused at once.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    tried = False
    while True:
        try:
            outcome = await publisher.store_event(event)
            return outcome._replace(again=True) if tried else outcome
        except StreamUnavailable:
            if loop.time() >= deadline:
                raise
            tried = True
            await asyncio.sleep(0.2)
