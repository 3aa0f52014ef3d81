"""The commands, put together for a place."""

from __future__ import annotations

from collections.abc import Callable

import typer

from hookline.cli.log import attempts, bundle, cluster_events, dead, deliveries, replay, status, test_call, top
from hookline.cli.log.place import SELECTOR_PARAMETER, TARGET_PARAMETER, Place, bound
from hookline.cli.log.targets import labels_offered, webhooks_offered
from hookline.cli.program import help_if_alone

Command = Callable[..., None]


def add_commands(app: typer.Typer, place: Place) -> None:
    """Beside whatever other commands the app has. Short helps have room for one line at 80 columns."""
    _add(app, place, "attempts", attempts.attempts, "Show each call: when, what came back, what follows.")
    _add(app, place, "deliveries", deliveries.deliveries, "Show what is not done yet, and why.")
    letters = typer.Typer(cls=dead.ListUnlessTold, help="Dead letters: list them, send them again, drop them.")
    _add(letters, place, dead.LIST, dead.dead_letters, "List them, as `dead` alone does.")
    _add(letters, place, "replay", dead.dead_replay, "Send single ones again.", output=False)
    _add(letters, place, "drop", dead.dead_drop, "Drop single ones for good.", output=False)
    app.add_typer(letters, name="dead", short_help="List, send again or drop dead letters.")
    _add(app, place, "replay", replay.replay, "Send dead letters or events of a time again.")
    _add(app, place, "test", test_call.send_test, "Send a sample now, and show the answer.")
    _add(app, place, "status", status.status, "Show what is well, and what is not.")
    _add(app, place, "top", top.top, "Show live which Webhooks are busy or failing.", output=False)
    _add(app, place, "bundle", bundle.bundle, "Write a file for those who help you.", output=False)


def add_events(app: typer.Typer, place: Place) -> None:
    """Event types as a cluster knows them."""
    types = typer.Typer(
        help="Event types: those of the cluster, and the built-in ones.",
        callback=help_if_alone,
        invoke_without_command=True,
    )
    _add(types, place, "list", cluster_events.list_events, "List the event types.")
    _add(types, place, "schema", cluster_events.schema, "Print or write the JSON Schema of an event.", output=False)
    _add(types, place, "sample", cluster_events.sample, "Print or write one body of an event.", output=False)
    app.add_typer(types, name="events", short_help="Event types, schemas and samples.")


def _add(to: typer.Typer, place: Place, name: str, command: Command, short: str, *, output: bool = True) -> None:
    offered = {TARGET_PARAMETER: webhooks_offered(place), SELECTOR_PARAMETER: labels_offered(place)}
    to.command(name, short_help=short)(bound(command, place, offered=offered, output=output))
