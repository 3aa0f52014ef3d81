"""One event, from its bytes to the word that it is stored.

Decides whether a caller may publish it, whether its body is right, and what its producer is told. Stores nothing by
itself: stream/admission does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hookline.events.envelope import MAX_BODY_BYTES, valid_tenant
from hookline.events.explain import NOT_JSON, quoted
from hookline.events.notices import PREFIX, is_reserved
from hookline.events.schemas import BodyProblem, Catalogue, UnknownEvent
from hookline.gateway.callers import Caller, Callers
from hookline.gateway.catalogue_pages import unknown
from hookline.gateway.cloudevents import known_type
from hookline.gateway.incoming import Incoming
from hookline.gateway.problem import AGAIN_SECONDS, Fault, Kind, Problem, Refused, refuse
from hookline.gateway.repeats import Repeats
from hookline.runtime.tasks import Deadlines
from hookline.stream.admission import Admission, Admitted, new_event_id
from hookline.stream.connection import QueueUnusable, StreamRefused, StreamUnavailable
from hookline.stream.publish import OutOfRoom, TooLarge
from hookline.stream.publish_room import PublishRoom
from hookline.stream.same_event import digest_of

STORE_SECONDS = 5.0
"""How long an event may take to be stored, its turn among others included. Then its producer is told to come again."""


@dataclass(slots=True)  # not frozen, though nothing changes it, as Event
class Taken:
    """An event that is stored: now, or before as `repeat`. `warnings` are of a type that only warns."""

    id: str
    type: str
    namespace: str
    repeat: bool
    warnings: tuple[Fault, ...] = ()

    @property
    def status(self) -> int:
        return 200 if self.repeat else 202

    @property
    def word(self) -> str:
        """Of the verdict, for metrics."""
        return "repeat" if self.repeat else "stored"

    def document(self) -> dict[str, Any]:
        said: dict[str, Any] = {"id": self.id, "type": self.type, "namespace": self.namespace, "repeat": self.repeat}
        if self.warnings:
            said["warnings"] = [asdict(each) for each in self.warnings]
        return said


class Intake:
    """The way into the queue of one connection."""

    def __init__(
        self,
        admission: Admission,
        repeats: Repeats,
        *,
        on_stored: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_stored` is told the seconds that each event took to be stored."""
        self._admission = admission
        self._repeats = repeats
        self._deadlines = Deadlines(STORE_SECONDS)
        self._on_stored = on_stored
        self._room = PublishRoom()

    @property
    def catalogue(self) -> Catalogue:
        return self._admission.catalogue

    async def take(self, caller: Caller, namespace: str, incoming: Incoming) -> Taken:
        """Check one event and store it. Raises Refused."""
        event_type = known_type(incoming.type, self.catalogue) if incoming.is_cloudevent else incoming.type
        _check_may_publish(caller, event_type)
        warnings = self._judged(event_type, incoming.body)
        event_id = incoming.id or new_event_id()
        began_s = time.monotonic()
        # Nobody can repeat an id that nobody knows yet.
        digest = digest_of(event_type, incoming.body) if incoming.id else b""
        if digest and self._repeats.is_another(namespace, event_id, digest, began_s):
            raise _key_used(event_id)
        try:
            stored = await self._store(caller, namespace, event_type, event_id, incoming)
        except _NotStored as error:
            self._repeats.forget(namespace, event_id, digest)
            raise Refused(error.problem) from None
        self._on_stored(time.monotonic() - began_s)
        if digest and stored.former is None:
            self._repeats.stored(namespace, event_id, digest)
        elif digest and not self._repeats.is_stored(namespace, event_id):
            await self._check_same(namespace, event_type, incoming.body, digest, stored)
        return Taken(event_id, event_type, namespace, not stored.new, warnings)

    async def _check_same(self, namespace: str, event_type: str, body: bytes, digest: bytes, stored: Admitted) -> None:
        """Raises Refused: KEY_USED when another gateway, or this one before it was started anew, stored another event
        under the key."""
        is_another = await self._admission.is_another(stored, event_type, body)
        if is_another:
            self._repeats.forget(namespace, stored.id, digest)
            raise _key_used(stored.id)
        if is_another is False:
            self._repeats.stored(namespace, stored.id, digest)

    def _judged(self, event_type: str, body: bytes) -> tuple[Fault, ...]:
        """What is only warned of. Raises Refused."""
        if len(body) > MAX_BODY_BYTES:
            raise refuse(Kind.TOO_LARGE, f"the body of an event has at most {MAX_BODY_BYTES} bytes")
        try:
            judged = self._admission.judge(event_type, body)
        except UnknownEvent as error:
            raise unknown(error) from None
        if judged.refusals:
            raise Refused(_refusal(judged.refusals))
        return tuple(map(_fault, judged.warnings)) if judged.warnings else ()

    async def _store(
        self, caller: Caller, namespace: str, event_type: str, event_id: str, incoming: Incoming
    ) -> Admitted:
        """Raises _NotStored, and Refused while it is not known whether it is stored."""
        body, sent = incoming.body, False
        try:
            with self._deadlines.next():
                if not self._room.entered(len(body)):
                    await self._room.enter(len(body), caller.namespace)
                try:
                    sent, sent_s = True, time.monotonic()
                    stored = await self._admission.store(
                        namespace,
                        event_type,
                        body,
                        event_id,
                        context=incoming.context,
                        patience_seconds=STORE_SECONDS,
                    )
                    self._room.confirmed(sent_s)
                    return stored
                finally:
                    self._room.leave(len(body))
        except QueueUnusable:
            raise _NotStored(_unavailable("the queue takes no events; its administrator must look at it")) from None
        except OutOfRoom:
            raise _NotStored(_unavailable("the queue is full")) from None
        except TooLarge as error:
            raise _NotStored(Problem(Kind.TOO_LARGE, str(error))) from None
        except StreamRefused:
            raise _NotStored(_unavailable("the queue refused it; its administrator must look at it")) from None
        except (StreamUnavailable, TimeoutError):
            if not sent:
                raise _NotStored(_unavailable("the queue is slow; nothing was stored")) from None
            self._admission.unconfirmed()
            detail = "the queue did not confirm it, so it may be stored or not; send it again with this id as its key"
            raise Refused(_unavailable(detail, event_id)) from None


def _key_used(event_id: str) -> Refused:
    return refuse(
        Kind.KEY_USED, "this key was sent with another event; a key stands for one type and one body", event_id=event_id
    )


class _NotStored(Exception):
    """It is known that an event was not stored."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def _check_may_publish(caller: Caller, event_type: str) -> None:
    """Raises Refused: FORBIDDEN for an event type that this caller was not given, or that is nobody's to publish."""
    if is_reserved(event_type):
        raise refuse(Kind.FORBIDDEN, f"events of types that begin with {PREFIX} are published by Hookline itself")
    if caller.types is not None and event_type not in caller.types:
        raise refuse(Kind.FORBIDDEN, f"this token is not for events of the type {quoted(event_type)}")


async def namespace_for(callers: Callers, caller: Caller, asked: str) -> str:
    """For which namespace it is published: the caller's own, or the one that it `asked` for and may have.

    Raises Refused.
    """
    if asked == caller.namespace:
        return caller.namespace
    if not valid_tenant(asked):
        raise refuse(
            Kind.BAD_REQUEST, "Hookline-Namespace must be a namespace: lower-case letters, digits and -, at most 63"
        )
    if not await callers.may_publish_for(caller, asked):
        raise refuse(Kind.FORBIDDEN, f"this token may not publish for the namespace {asked}")
    return asked


def _refusal(problems: tuple[BodyProblem, ...]) -> Problem:
    """Of a body that is no strict JSON, or of one that is and does not match."""
    faults = tuple(map(_fault, problems))
    if any(each.rule == NOT_JSON for each in problems):
        return Problem(Kind.BAD_BODY, _first(faults), faults)
    return Problem(Kind.SCHEMA, _first(faults), faults)


def _first(faults: tuple[Fault, ...]) -> str:
    """For whoever reads one line only."""
    return f"{faults[0].detail}, and {len(faults) - 1} more" if len(faults) > 1 else faults[0].detail


def _fault(problem: BodyProblem) -> Fault:
    return Fault(problem.pointer, problem.rule, f"{problem.place} {problem.message}")


def _unavailable(detail: str, event_id: str = "") -> Problem:
    return Problem(Kind.UNAVAILABLE, detail, retry_after_seconds=AGAIN_SECONDS, event_id=event_id)
