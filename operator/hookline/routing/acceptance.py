"""Which EventTypes and Dispatchers are accepted, as verdict says it of Webhooks.

One pure decision for the operator, `hookline run` and `hookline check`. Whose version before stays in force, and who
comes first, the caller knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hookline.events.explain import BodyProblem
from hookline.events.schemas import check_sample, check_schema
from hookline.resources.dispatcher import Dispatcher
from hookline.resources.eventtype import EventType
from hookline.resources.natsaddress import Server, parse_nats
from hookline.resources.problems import Problem
from hookline.resources.reasons import ConditionReason, DispatcherReason, EventTypeReason
from hookline.routing.book_files import MAX_FILE_BYTES, encode_record
from hookline.routing.routes import TypeRecord
from hookline.routing.verdict import Condition, record_of

_Users = dict[tuple[Server, str], str]
"""Which Dispatcher has an account of a server."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that cannot be used, whatever there is besides it."""

    reason: ConditionReason
    message: str


def type_problems(event_type: EventType) -> tuple[EventTypeReason, list[Problem]]:
    """What is wrong with an EventType besides its fields, and the word for it; no problems if nothing is.

    Never raises: a fault in one check must not stop all others.
    """
    spec = event_type.spec
    schema = _problems("schema", lambda: check_schema(spec.schema_))
    if schema or spec.sample is None:
        return EventTypeReason.INVALID_SCHEMA, schema
    return EventTypeReason.INVALID_SAMPLE, _problems("sample", lambda: check_sample(spec.schema_, spec.sample))


def _problems(field: str, check: Callable[[], Iterable[BodyProblem]]) -> list[Problem]:
    try:
        found = [f"{each.place}: {each.message}" for each in check()]
    except Exception as error:  # noqa: BLE001  # whatever stands in it
        found = [f"it cannot be checked ({type(error).__name__}); write a simpler one"]
    return [Problem(("spec", field), each) for each in found]


def accept_types(
    types: Mapping[str, EventType | Rejected], before: Callable[[], Iterable[TypeRecord]] = tuple
) -> tuple[dict[str, Condition], list[TypeRecord]]:
    """The condition Accepted of each EventType, by name of the object, and the types that may be used.

    The schemas and samples of those that are not Rejected are good. When there is no room for all, there is for those
    that come first. Of one that is Rejected, the form that it had `before` stays in force: publishers and Webhooks go
    on. It is asked for only if there is one.
    """
    conditions: dict[str, Condition] = {}
    usable: dict[str, TypeRecord] = {}
    in_force: dict[str, TypeRecord] | None = None
    for name, found in types.items():
        if isinstance(found, EventType):
            usable[name] = record_of_type(found)
            conditions[name] = Condition("Accepted", "True", EventTypeReason.ACCEPTED, "the schema is a JSON Schema")
            continue
        if in_force is None:
            in_force = {each.name.lower(): each for each in before()}
        words = found.message
        if name in in_force:
            usable[name] = in_force[name]
            words += "; the version before stays in force"
        conditions[name] = Condition("Accepted", "False", found.reason, words)
    inside, outside = fitting(usable.values())
    words = (
        "spec.schema: all schemas and samples together take more than 700 KiB, too much for a ConfigMap; shorten some"
    )
    for record in outside:
        conditions[record.name.lower()] = Condition("Accepted", "False", EventTypeReason.BOOK_FULL, words)
    return conditions, inside


def fitting(types: Iterable[TypeRecord]) -> tuple[list[TypeRecord], list[TypeRecord]]:
    """Event types that fit into the root of a book, in the order of their names, and those that do not.

    Whoever comes first has room first: a type that is heard must not go because another one was added.
    """
    inside: list[TypeRecord] = []
    outside: list[TypeRecord] = []
    size = 0
    for record in types:
        length = len(encode_record(record)) + 1
        if size + length > MAX_FILE_BYTES * 3 // 4:
            outside.append(record)
        else:
            inside.append(record)
            size += length
    return sorted(inside, key=lambda each: each.name), outside


def accept_dispatchers(
    dispatchers: Mapping[str, Dispatcher | Rejected], *, may_share_nats: bool = False
) -> dict[str, Condition]:
    """The condition Accepted of each Dispatcher of one namespace, by name.

    Two on one NATS would take each other's events, because streams and consumers have one name: the one that comes
    first has it. With `may_share_nats` that does not count, for who takes from none of them.
    """
    users: _Users = {}
    conditions: dict[str, Condition] = {}
    for name, found in dispatchers.items():
        conditions[name] = _accepted(name, found, {} if may_share_nats else users)
    return conditions


def _accepted(name: str, found: Dispatcher | Rejected, users: _Users) -> Condition:
    """Never raises: what is wrong with one must not stop the decision about every other object."""
    if isinstance(found, Rejected):
        return Condition("Accepted", "False", found.reason, found.message)
    try:
        record_of(found).policy()
        places = _places(found)
    except Exception as error:  # noqa: BLE001  # whatever stands in a Dispatcher
        problem = f"the spec cannot be used ({type(error).__name__}); compare it with the field reference in crds/"
        return Condition("Accepted", "False", DispatcherReason.INVALID_SPEC, problem)
    first = next((users[place] for place in places if place in users), None)
    if first is not None:
        message = (
            f"spec.nats: the Dispatcher {first} uses this NATS account; give each Dispatcher a NATS, or an account "
            "with credentials, of its own"
        )
        return Condition("Accepted", "False", DispatcherReason.NATS_IN_USE, message)
    users |= dict.fromkeys(places, name)
    return Condition("Accepted", "True", DispatcherReason.ACCEPTED, "the spec is valid")


def _places(dispatcher: Dispatcher) -> list[tuple[Server, str]]:
    nats = dispatcher.spec.nats
    credentials = nats.credentials_secret_ref
    account = f"{credentials.name}/{credentials.key}" if credentials else ""
    return [(server, account) for server in parse_nats(nats.url).servers]


def record_of_type(event_type: EventType) -> TypeRecord:
    """What senders and publishers are told of an EventType."""
    spec = event_type.spec
    return TypeRecord(
        name=spec.event,
        description=spec.description,
        validation=spec.validation,
        schema_=spec.schema_,
        sample=spec.sample,
        deprecated=spec.deprecated,
    )
