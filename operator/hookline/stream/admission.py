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
from dataclasses import dataclass, replace
from typing import Self

from nats.aio.client import Client

from hookline.events.context import NO_CONTEXT, context_problems
from hookline.events.envelope import Event, stamp
from hookline.events.schemas import BodyProblem, Catalogue
from hookline.runtime import telemetry
from hookline.runtime.telemetry import Attributes, Kind, Tracing
from hookline.stream import names
from hookline.stream.connection import QueueUnusable, StreamRefused, StreamUnavailable
from hookline.stream.publish import NEW, Former, Outcome, Publisher, publish_event
from hookline.stream.same_event import digest_of, is_another
from hookline.stream.types import read_types, types_version

_PARENT = "traceparent"

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
        if telemetry.tracing is not None:
            outcome = await traced(telemetry.tracing, self._publisher, event, patience_seconds)
        else:
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


async def traced(tracing: Tracing, publisher: Publisher, event: Event, patience_seconds: float) -> Outcome:
    """As publish_event. What becomes of the event follows from here, and this from what its producer did."""
    attributes: Attributes = {
        "hookline.tenant": event.tenant,
        "hookline.event.id": event.id,
        "hookline.event.type": event.type,
        "messaging.message.body.size": len(event.body),
    }
    parent = event.context.get(_PARENT, "")
    span = tracing.begin(f"publish {event.type}", Kind.PRODUCER, attributes, parent=parent)
    failed = "Cancelled"
    try:
        context = {**event.context, _PARENT: span.traceparent}
        if not context_problems(context):
            event = replace(event, context=context)
        outcome = await publish_event(publisher, event, patience_seconds=patience_seconds)
        failed = ""
    except (StreamUnavailable, StreamRefused) as error:
        failed = type(error).__name__
        raise
    finally:
        span.end(failed=failed)
    return outcome


def new_event_id() -> str:
    """Of an event that comes without one."""
    return f"evt_{uuid.uuid4().hex}"


async def _catalogue(client: Client) -> Catalogue:
    return Catalogue([record.spec() for record in await read_types(client)])
