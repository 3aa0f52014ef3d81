"""Each step that a sender takes towards NATS or a receiver, and what it means to die there. Pure.

The steps themselves are heard on the wire (`wire.step_of`), not listed here: one that nobody wrote a line for is found
by a run without faults.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from crash.wire import When

_AGAIN = "made anew at the next start"

STEPS: dict[str, tuple[str, str]] = {
    "create stream *": (_AGAIN, "there at the next start"),
    "create consumer *": (_AGAIN, "there at the next start"),
    "info *": ("nothing: a question", "nothing: a question"),
    "names *": ("nothing: a question", "nothing: a question"),
    "get *": ("nothing: a question", "nothing: a question"),
    "write hookline-installation": ("written at the next start", "there at the next start"),
    "write hookline-event-types": ("written at the next start", "there at the next start"),
    "write hookline-endpoints": ("found out anew by whoever calls it next", "all senders know it"),
    "pull *": ("another sender asks", "what was sent to the dead sender comes again after the ack wait"),
    "store delivery": (
        "the event, or what was parked, comes again after the ack wait; no delivery is stored twice",
        "the same: the repeat is recognized by its name",
    ),
    "call from an event": (
        "the receiver has the call and its answer is not heard: the event comes again after the ack wait, called again",
        "the answer may not have been heard: the event comes again after the ack wait, called again",
    ),
    "store anchor": (
        "nothing: only the number of files depends on it",
        "nothing: only the number of files depends on it",
    ),
    "store copy": (
        "the event comes again after the ack wait; called again",
        "the same; a copy that stays is called once more when it is due",
    ),
    "purge stream DELIVERIES": ("the copy is called when it is due", "nothing is left to do"),
    "store parked": (
        "the event comes again after the ack wait; nothing is stored twice",
        "the same: the repeat is recognized by its name",
    ),
    "store set aside": (
        "the events come again after the ack wait",
        "the events come from where they lay as well; whoever did by then what the message names knows them",
    ),
    "ack EVENTS": (
        "the event comes again: deliveries that were stored are recognized by their names, others are called again",
        "nothing is left to do",
    ),
    "call": (
        "the receiver has the call and its answer is not heard: called again after the ack wait",
        "the answer may not have been heard: called again after the ack wait",
    ),
    "store later": ("called again after the ack wait", "called again; the same schedule replaces itself"),
    "store dead letter": ("called again, then buried", "called again; the repeat of the letter is recognized"),
    "ack DELIVERIES": ("called again after the ack wait", "nothing is left to do"),
    "ack PARKED": (
        "comes again after the ack wait; what was stored in its place is recognized",
        "nothing is left to do",
    ),
    "ack HOOKLINE_BACKLOG": (
        "comes again after the ack wait, and the events that it names are called again",
        "nothing is left to do",
    ),
    "store attempts": (
        "these lines are missing in the attempts log, and no delivery depends on them",
        "these lines are in the attempts log",
    ),
    "give back *": ("comes again after the ack wait", "comes again at once"),
    "still working *": ("comes again after the ack wait", "comes again after the ack wait"),
    "ask for Webhooks": ("asked again by whoever looks next", "the questions are counted anew"),
}
"""By the step, or a pattern of steps: what follows a crash right before it, and one right after it."""

SOMETIMES = frozenset(
    {
        "write hookline-endpoints",
        "get stream KV_hookline-endpoints",
        "give back *",
        "give back DELIVERIES",
        "give back PARKED",
        "still working EVENTS",
        "still working HOOKLINE_BACKLOG",
        "store anchor",
    }
)
"""Steps of a lane that falls behind, which it does in this scenario only while the machine is slow, and of what happens
to be in hand when the sender is told to end, or says that it still works: an event is acked after half a second of a
call. The anchor comes after 500 stored deliveries, as the rows of other faults have them. They have no cells: in most
runs nobody would die there."""


def unexplained(steps: Iterable[str]) -> set[str]:
    """Steps without a line above."""
    return {step for step in steps if _pattern(step) is None}


def unused(steps: Iterable[str]) -> set[str]:
    """Lines above that no step needs."""
    return STEPS.keys() - {_pattern(step) for step in steps} - SOMETIMES


def order(steps: Iterable[str], lines: Iterable[str] = STEPS) -> list[str]:
    """As a delivery goes through them."""
    patterns = list(lines)
    return sorted(steps, key=lambda step: (patterns.index(pattern_in(patterns, step) or patterns[-1]), step))


def what_follows(step: str, when: When) -> str:
    pattern = _pattern(step)
    assert pattern is not None, f"steps.py has no line for {step!r}"
    return STEPS[pattern][when is When.AFTER]


def _pattern(step: str) -> str | None:
    return pattern_in(STEPS, step)


def pattern_in(lines: Iterable[str], step: str) -> str | None:
    """The line that a step has."""
    return next((each for each in lines if fnmatchcase(step, each)), None)
