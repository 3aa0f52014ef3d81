"""What is said of EventTypes, and which of them senders and publishers are told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from hookline.control.book import fitting
from hookline.control.observed import Seen
from hookline.eventtype import EventType
from hookline.reasons import EventTypeReason
from hookline.routes import TypeRecord
from hookline.schemas import check_schema
from hookline.verdict import Condition


def judged(
    types: Iterable[Seen[EventType]], before: Callable[[], Iterable[TypeRecord]] = tuple
) -> tuple[dict[str, Condition], list[TypeRecord]]:
    """The condition Accepted of each EventType, by name of the object, and the types that may be used.

    Of one that is wrong now, or of a later version, the form that it had `before` stays in force: publishers and
    Webhooks go on. It is asked for only if there is one. When there is no room for all, there is for the older ones.
    """
    conditions: dict[str, Condition] = {}
    usable: dict[str, TypeRecord] = {}
    in_force: dict[str, TypeRecord] | None = None
    for seen in sorted(types, key=lambda each: (each.created, each.name)):
        problem = _problem(seen)
        if problem is not None:
            if in_force is None:
                in_force = {each.name.lower(): each for each in before()}
            reason, words = problem
            if seen.name in in_force:
                usable[seen.name] = in_force[seen.name]
                words += "; the version before stays in force"
            conditions[seen.name] = Condition("Accepted", "False", reason, words)
            continue
        usable[seen.name] = _record(seen)
        conditions[seen.name] = Condition("Accepted", "True", EventTypeReason.ACCEPTED, "the schema is a JSON Schema")
    inside, outside = fitting(usable.values())
    for record in outside:
        conditions[record.name.lower()] = Condition(
            "Accepted",
            "False",
            EventTypeReason.BOOK_FULL,
            "spec.schema: all schemas together are too large for a ConfigMap (about 700 KiB); shorten some of them",
        )
    return conditions, inside


def _problem(seen: Seen[EventType]) -> tuple[EventTypeReason, str] | None:
    """Never raises: what is wrong with one must not stop the decision about every other object."""
    if seen.value is None:
        return EventTypeReason.INVALID_SPEC, seen.problem
    try:
        problem = _schema_problem(_Once(seen))
    except Exception as error:  # noqa: BLE001  # whatever stands in a schema
        problem = f"spec.schema: it cannot be checked ({type(error).__name__}); write a simpler one"
    return (EventTypeReason.INVALID_SCHEMA, problem) if problem else None


class _Once:
    """An EventType as a key: equal while its spec is the same, since a check of a schema costs milliseconds."""

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
def _schema_problem(once: _Once) -> str:
    value = once.seen.value
    assert value is not None
    return "; ".join(f"spec.schema: {each.place}: {each.message}" for each in check_schema(value.spec.schema_))


def _record(seen: Seen[EventType]) -> TypeRecord:
    assert seen.value is not None
    spec = seen.value.spec
    return TypeRecord(name=spec.event, description=spec.description, validation=spec.validation, schema_=spec.schema_)
