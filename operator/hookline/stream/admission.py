"""How an event comes in: its type is known, its body fits the schema, and it is stored under an id.

The one door for whoever publishes: the gateway, `hookline publish` and the demo. Decides what is refused and what an
event is given; what a schema asks for is decided in schemas, when something counts as stored in publish.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from nats.aio.client import Client

from hookline.events.context import NO_CONTEXT
from hookline.events.envelope import Event, stamp
from hookline.events.schemas import BodyProblem, Catalogue
from hookline.stream import names
from hookline.stream.connection import QueueUnusable, StreamUnavailable
from hookline.stream.publish import NEW, Former, Outcome, Publisher, publish_event
from hookline.stream.same_event import digest_of, is_another
from hookline.stream.types import read_types, types_version

FOLLOW_SECONDS = 2.0
"""Between two looks for changed event types."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is wrong with a body: what refuses it, and what its type only warns of."""

    refusals: tuple[BodyProblem, ...]
    warnings: tuple[BodyProblem, ...]


_FINE = Judged((), ())


@dataclass(slots=True)  # not frozen, though nothing changes it, as Event
class Admitted:
    """An event that is stored."""

    id: str
    outcome: Outcome = NEW

    @property
    def new(self) -> bool:
        """Whether it is new, or may be."""
        return self.outcome.new

    @property
    def former(self) -> Former | None:
        """Where an event with this id lies that was there already."""
        return self.outcome.former


class Admission:
    """The door to the queue of one connection."""

    def __init__(self, client: Client, catalogue: Catalogue, version: object) -> None:
        self._client = client
        self._publisher = Publisher(client)
        self._version = version
        self.catalogue = catalogue

    @classmethod
    async def at(cls, client: Client) -> Self:
        """With the event types that there are now. Raises StreamUnavailable, QueueUnusable."""
        version = await types_version(client)
        return cls(client, await _catalogue(client), version)

    async def follow(self) -> None:
        """Take up changes of event types, and log when the queue takes no writes, for ever.

        While NATS is away the last known types count.
        """
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            self._publisher.say_writes()
            with contextlib.suppress(StreamUnavailable, QueueUnusable):
                version = await types_version(self._client)
                if version != self._version:
                    self.catalogue = await _catalogue(self._client)
                    self._version = version

    def judge(self, event_type: str, body: bytes) -> Judged:
        """Raises UnknownEvent, and nothing else."""
        problems = self.catalogue.check(event_type, body)
        if not problems:
            return _FINE
        return Judged(
            tuple(each for each in problems if each.refuses), tuple(each for each in problems if not each.refuses)
        )

    async def store(
        self,
        tenant: str,
        event_type: str,
        body: bytes,
        event_id: str = "",
        *,
        context: Mapping[str, str] = NO_CONTEXT,
        patience_seconds: float,
    ) -> Admitted:
        """Store what was judged; without an id it is given one. Tries again while NATS is away.

        `context` may travel, see context_problems. Raises StreamUnavailable after `patience_seconds`, StreamRefused at
        once.
        """
        event_id = event_id or new_event_id()
        event = Event(event_id, tenant, event_type, stamp(time.time()), body, context)
        outcome = await publish_event(self._publisher, event, patience_seconds=patience_seconds)
        return Admitted(event_id, outcome)

    async def is_another(self, admitted: Admitted, event_type: str, body: bytes) -> bool | None:
        """Whether what was there already is another event than this one; None when nobody knows."""
        if admitted.former is None:
            return False
        return await is_another(self._client, admitted.former, admitted.id, digest_of(event_type, body))

    def unconfirmed(self) -> None:
        """An event was not confirmed in the time that its publisher had for it."""
        self._publisher.unconfirmed(names.EVENTS)


def new_event_id() -> str:
    """Of an event that comes without one."""
    return f"evt_{uuid.uuid4().hex}"


async def _catalogue(client: Client) -> Catalogue:
    return Catalogue([record.spec() for record in await read_types(client)])
