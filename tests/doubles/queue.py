"""A queue that remembers what it stored and what was said of messages, and recognizes repeats as nats-server does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from hookline.delivery.settlement import Settlement
from hookline.runtime.metrics import SenderMetrics
from hookline.stream import names
from hookline.stream.clock import ServerClock
from hookline.stream.publish import Publisher
from hookline.stream.pull import Origin, PullLoop, Taken


class Stored(NamedTuple):
    subject: str
    body: bytes


class Clock:
    def now_s(self) -> float:
        return 1_700_000_000.0


class Queue:
    """Publisher, connection and pull loop in one. `did` has the order of it all."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        """What the next messages to be stored are answered with."""
        self.stored: list[Stored] = []
        self.did: list[str] = []
        self.released: list[int] = []
        """Sequences of messages for which there is room again."""
        self.metrics = SenderMetrics()
        self.settlement = Settlement(cast(Publisher, self), self.metrics, cast(ServerClock, Clock()))
        self._ids: set[str] = set()
        self._seqs = itertools.count(1)

    async def store(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, once: str | None = None
    ) -> bool:
        if self.problem is not None:
            raise self.problem
        if once in self._ids:
            return False
        self._ids |= {once} if once else set()
        self.stored.append(Stored(subject, body))
        self.did.append(f"store {subject}")
        return True

    async def publish(self, subject: str, word: bytes) -> None:
        self.did.append(f"{word.decode()} {subject}")

    def release(self, taken: Taken) -> None:
        self.released.append(taken.seq)

    @property
    def publisher(self) -> Publisher:
        return cast(Publisher, self)

    @property
    def pull(self) -> PullLoop:
        return cast(PullLoop, self)

    def bodies(self, stream: str) -> list[bytes]:
        """Of what was stored in a stream."""
        return [body for subject, body in self.stored if names.stream_of(subject) == stream]

    def acked(self, taken: Taken) -> bool:
        return f"+ACK {taken._reply}" in self.did

    def event(self, seq: int, *, tenant: str = "a", body: bytes = b"{}", delivered: int = 1) -> Taken:
        """An event of a tenant, as the fan-out takes it."""
        return Taken(
            Origin.EVENTS,
            "fanout",
            names.event_subject(tenant, "IdentityCreated"),
            {},
            body,
            seq,
            stored_ns(seq),
            delivered,
            cast(Any, self),
            f"fanout.{seq}",
        )

    def message(
        self, body: bytes, *, tenant: str = "a", seq: int | None = None, pending: int = 0, delivered: int = 1
    ) -> Taken:
        """A message of the backlog."""
        seq = next(self._seqs) if seq is None else seq
        consumer = names.backlog_consumer(tenant)
        return Taken(
            Origin.BACKLOG,
            consumer,
            names.backlog_subject(tenant),
            {},
            body,
            seq,
            77,
            delivered,
            cast(Any, self),
            f"{consumer}.{seq}",
            pending,
        )


def stored_ns(seq: int) -> int:
    """When the event of a sequence was stored, in these tests."""
    return 1_000_000 + seq
