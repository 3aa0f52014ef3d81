"""What is said of an event type whose schema changes: the condition Compatible.

One pure decision for the operator and `hookline check`. What the former form is, the caller knows: the one in force.
A change that is not compatible takes effect as any other does. docs/event-types.md says what counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from hookline.events.compatibility import Change, Comparison, compare
from hookline.events.schemas import EventTypeSpec
from hookline.resources.reasons import EventTypeReason
from hookline.routing.verdict import Condition

_MAX_TOLD = 5

UNCHANGED = Condition("Compatible", "True", EventTypeReason.COMPATIBLE, "no change of the schema is known")


def differs(former: EventTypeSpec, new: EventTypeSpec) -> bool:
    """Whether there is anything to say of a change."""
    return (former.schema, former.validation) != (new.schema, new.validation)


def compatible(former: EventTypeSpec, new: EventTypeSpec) -> Condition:
    """The condition Compatible of a type that was `former` and is `new` now. Never raises."""
    found = _of_both(former, new)
    told = "; ".join(
        [
            *_part("bodies that were taken may be refused", found.refused),
            *_part("receivers cannot rely any more on what they had", found.lost),
            *_part("it may be one of the two", found.unjudged),
        ]
    )
    if found.refused:
        return Condition("Compatible", "False", EventTypeReason.REFUSES_MORE, told)
    if found.lost:
        return Condition("Compatible", "False", EventTypeReason.PROMISES_LESS, told)
    if found.unjudged:
        return Condition("Compatible", "Unknown", EventTypeReason.NOT_JUDGED, told)
    message = "the last change of the schema refuses nothing that was taken, and receivers get what they had"
    return Condition("Compatible", "True", EventTypeReason.COMPATIBLE, message)


def _of_both(former: EventTypeSpec, new: EventTypeSpec) -> Comparison:
    """Only a type that enforces its schema refuses a body."""
    found = compare(former.schema, new.schema)
    if new.validation != "Enforce":
        no_more = Change("", "is not enforced any more: receivers may get anything")
        lost = (no_more, *found.lost) if former.validation == "Enforce" else found.lost
        return Comparison((), lost, found.unjudged)
    if former.validation != "Enforce":
        return Comparison((Change("", "is enforced now, and was not"),), found.lost, found.unjudged)
    return found


def _part(words: str, changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    more = f", and {len(changes) - _MAX_TOLD} more" if len(changes) > _MAX_TOLD else ""
    return [f"{words}: {', '.join(map(str, changes[:_MAX_TOLD]))}{more}"]
