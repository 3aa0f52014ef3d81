"""Who owns the streams of a NATS: decided from the mark that is kept there. Pure.

Whoever takes an event and finds no Webhook for it acknowledges it, so only one installation may take events from one
NATS account. It writes a mark; every other installation takes nothing, unless it is told to take over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from hookline.stream.queue_problem import QueueProblem, QueueReason

ANYBODY = "*"
"""To be taken over from, whoever the owner is."""

MAX_TERM = 10**9
"""A larger one was not written by Hookline."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One Hookline: the senders of one Dispatcher, or one `hookline run`.

    Without an id it is nobody in particular: it works where there is no mark, and leaves none.
    """

    id: str = ""
    name: str = ""
    """For people."""
    take_over_from: str = ""
    """Id or name of the owner whom it replaces, or ANYBODY."""


NOBODY = Installation()


@dataclass(frozen=True, slots=True)
class Mark:
    """The owner of the streams. `term` counts the take-overs from 1, `since` is when the last one was (RFC 3339)."""

    id: str
    name: str
    since: str
    term: int = 1

    def encoded(self) -> bytes:
        return json.dumps({"id": self.id, "name": self.name, "since": self.since, "term": self.term}).encode()


class NotTheOwner(Exception):
    """The streams belong to another installation."""

    def __init__(self, problem: QueueProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


UNREADABLE = Mark("?", "an installation whose mark cannot be read", "an unknown time")
"""What stands there is no mark. Whoever publishes can have NATS write its confirmation there."""


def read(value: bytes) -> Mark:
    """A mark as it was written. One that cannot be read belongs to somebody unknown, unless the streams say to whom."""
    try:
        found = json.loads(value)
        mark = Mark(str(found["id"]), str(found["name"])[:200], str(found["since"])[:40], int(found["term"]))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return UNREADABLE
    return mark if 0 < mark.term <= MAX_TERM else replace(mark, term=1)


def claimed(there: Mark | None, me: Installation, now: str) -> Mark:
    """The mark that is to stand there for `me` to work. Raises NotTheOwner."""
    if there is None:
        return Mark(me.id, me.name, now)
    if there.id == me.id:
        return there if there.name == me.name else replace(there, name=me.name)
    if me.id and me.take_over_from in (ANYBODY, there.id, there.name):
        return Mark(me.id, me.name, now, there.term + 1)
    raise NotTheOwner(in_use(there))


def in_use(mark: Mark) -> QueueProblem:
    return QueueProblem(
        QueueReason.NATS_IN_USE,
        f"this NATS belongs to {mark.name} ({mark.id}) since {mark.since}, and two would take each other's events; use "
        "another NATS or another account of it, or take it over: hookline run --take-over, or in a Dispatcher "
        f"spec.nats.takeOverFrom: {mark.id}",
    )
