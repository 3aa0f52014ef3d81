"""`kubectl hookline events`: event types of the cluster, and the built-in ones; their schemas and samples.

The built-in ones are imported when they are asked for: they bring jsonschema along, and every other command would wait.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import typer

from hookline.cli.errors import NotAchieved, WrongInput
from hookline.cli.event_files import Name, hand_over
from hookline.cli.event_files import Output as File
from hookline.cli.log.api import RESOURCES, Denied, Object, listed, path_of
from hookline.cli.log.fields import text, value
from hookline.cli.log.output import Column, Kind, field_of, print_items
from hookline.cli.log.place import Session

if TYPE_CHECKING:
    from hookline.events.schemas import Catalogue

LONGEST_NAME = 128

FROM_CLUSTER, BUILT_IN = "cluster", "built in"

EVENT_TYPES = Kind(
    "event types",
    "eventtype",
    "hookline.dev",
    (
        Column("NAME", field_of("spec.event")),
        Column("FROM", field_of("from")),
        Column("DEPRECATED", field_of("spec.deprecated"), wide=True),
        Column("DESCRIPTION", field_of("spec.description")),
    ),
)


def list_events(session: Session) -> None:
    """List the event types of the cluster and the built-in ones.

    Example: hookline events list
    """
    custom, known = _of_cluster(session), _catalogue()
    named = {text(each, "spec.event") for each in custom}
    builtin = [
        {"metadata": {"name": each.name.lower()}, "spec": {"event": each.name, "description": each.description}}
        for each in map(known.get, known.names())
        if each.name not in named
    ]
    items = [{**each, "from": FROM_CLUSTER} for each in custom] + [{**each, "from": BUILT_IN} for each in builtin]
    items.sort(key=lambda each: text(each, "spec.event"))
    print_items(EVENT_TYPES, items, output=session.output, namespace="the cluster")


def schema(session: Session, name: Name, output: File = None) -> None:
    """Print or write the JSON Schema of an event, as the cluster has it.

    Example: hookline events schema IdentityCreated
    """
    custom = _named(session, name)
    made = _catalogue().get(name).schema if custom is None else value(custom, "spec.schema")
    hand_over(_to_text(made), output, f"schema-{name.lower()}.json")


def sample(session: Session, name: Name, output: File = None) -> None:
    """Print or write one realistic body of an event.

    Example: hookline events sample IdentityCreated
    """
    custom = _named(session, name)
    made = _catalogue().get(name).sample if custom is None else value(custom, "spec.sample")
    if made is None:
        raise NotAchieved(f"the EventType {name.lower()} has no spec.sample; its schema says what a body is like")
    hand_over(_to_text(made), output, f"sample-{name.lower()}.json")


def _named(session: Session, name: str) -> Object | None:
    """The EventType; None of a built-in event, which an EventType of its name replaces. Raises WrongInput."""
    custom = {text(each, "spec.event"): each for each in _of_cluster(session)}
    builtin = _catalogue().names()
    if name in custom:
        return custom[name]
    if name in builtin:
        return None
    spelling = {each.lower(): each for each in (*custom, *builtin)}
    nearest = ", ".join(spelling[each] for each in get_close_matches(name.lower()[:LONGEST_NAME], spelling))
    raise WrongInput(f"there is no event type of that name{f'; the nearest: {nearest}' if nearest else ''}")


def _of_cluster(session: Session) -> list[Object]:
    """None where they may not be read, with a word about it: EventTypes belong to no namespace."""
    try:
        return list(listed(session.api, path_of(RESOURCES, "", "eventtypes")))
    except Denied as error:
        if error.reason not in ("Forbidden", "NotFound"):
            raise
        typer.echo(f"Only the built-in event types are known here: {error}", err=True)
        return []


def _catalogue() -> Catalogue:
    """The built-in ones."""
    from hookline.events.schemas import Catalogue

    return Catalogue()


def _to_text(made: Any) -> str:
    from hookline.events.builtin_events import to_text

    return to_text(made)
