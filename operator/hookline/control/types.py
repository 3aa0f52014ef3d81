"""EventTypes of a cluster, for acceptance: who comes first, and that each is checked once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from hookline.control.seen import Seen
from hookline.resources.eventtype import EventType
from hookline.resources.reasons import EventTypeReason
from hookline.routing.acceptance import Rejected, accept_types, type_problems
from hookline.routing.routes import TypeRecord
from hookline.routing.verdict import Condition


def judged(
    types: Iterable[Seen[EventType]], before: Callable[[], Iterable[TypeRecord]] = tuple
) -> tuple[dict[str, Condition], list[TypeRecord]]:
    """The condition Accepted of each EventType, by name of the object, and the types that may be used.

    When there is no room for all, there is for the older ones. Of one that is wrong now, or of a later version, the
    form that it had `before` stays in force.
    """
    in_order = sorted(types, key=lambda each: (each.created, each.name))
    return accept_types({each.name: _checked(each) for each in in_order}, before)


def _checked(seen: Seen[EventType]) -> EventType | Rejected:
    if seen.value is None:
        return Rejected(EventTypeReason.INVALID_SPEC, seen.problem)
    return _rejection(_Once(seen)) or seen.value


class _Once:
    """An EventType as a key: equal while its spec is the same, since a check of its schema costs milliseconds."""

    def __init__(self, seen: Seen[EventType]) -> None:
        self.seen = seen

    def __hash__(self) -> int:
        return hash((self.seen.uid, self.seen.generation))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once) and (self.seen.uid, self.seen.generation) == (
            other.seen.uid,
            other.seen.generation,
        )


@lru_cache(maxsize=1024)
def _rejection(once: _Once) -> Rejected | None:
    value = once.seen.value
    assert value is not None
    reason, problems = type_problems(value)
    return Rejected(reason, "; ".join(map(str, problems))) if problems else None
