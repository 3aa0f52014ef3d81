"""`hookline events`: the built-in event types, their schemas ("Download schema") and samples.

Decides where the text goes; what it says is built in builtin_events. Never asks a server or a cluster, so it does not
know the EventTypes that somebody else has added.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hookline.cli.errors import WrongInput
from hookline.cli.event_files import Name, Output, hand_over
from hookline.cli.program import help_if_alone
from hookline.events import builtin_events, notices
from hookline.events.builtin_events import sample_file_name, schema_file_name, to_text
from hookline.events.schemas import Catalogue, UnknownEvent


@dataclass(frozen=True)
class _Type:
    """A built-in event type, as it is shown."""

    name: str
    display_name: str
    category: str
    description: str
    schema: dict[str, Any]
    sample: dict[str, Any]


def _builtin() -> list[_Type]:
    """Those of ClearID, and behind them what Hookline itself tells."""
    clearid = [
        _Type(
            each.name,
            each.display_name,
            each.category,
            each.description,
            builtin_events.schema_of(each),
            builtin_events.sample_of(each),
        )
        for each in builtin_events.EVENTS
    ]
    own = [
        _Type(
            each.name,
            each.display_name,
            notices.CATEGORY,
            each.description,
            notices.schema_of(each),
            notices.sample_of(each),
        )
        for each in notices.NOTICES
    ]
    return clearid + own


app = typer.Typer(
    help="The built-in event types, their schemas and samples.",
    invoke_without_command=True,
    callback=help_if_alone,
)


@app.command("list")
def list_events(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """List the built-in event types.

    Example: hookline events list
    """
    console = Console()
    if as_json:
        typer.echo(json.dumps([_as_dict(event) for event in _builtin()], indent=2))
    elif console.is_terminal:
        console.print(_table())
    else:
        typer.echo("\n".join(_lines()))


@app.command(short_help="Print or write the JSON Schema of an event.")
def schema(name: Name, output: Output = None) -> None:
    """Print or write the JSON Schema of an event ("Download schema").

    Example: hookline events schema IdentityCreated --output schemas/
    """
    event = _event(name)
    hand_over(to_text(event.schema), output, schema_file_name(event.name))


@app.command(short_help="Print or write one realistic body of an event.")
def sample(name: Name, output: Output = None) -> None:
    """Print or write one realistic body of an event. Names and ids in it are invented.

    Example: hookline events sample IdentityCreated | hookline publish IdentityCreated -
    """
    event = _event(name)
    hand_over(to_text(event.sample), output, sample_file_name(event.name))


def _event(name: str) -> _Type:
    try:
        known = Catalogue().get(name).name
    except UnknownEvent as error:
        raise WrongInput(str(error)) from None
    return next(each for each in _builtin() if each.name == known)


def _rows() -> list[tuple[str, ...]]:
    return [(event.name, event.display_name, event.category, event.description) for event in _builtin()]


def _table() -> Table:
    table = Table()
    for title in ("name", "display name", "category", "description"):
        table.add_column(title, no_wrap=title == "name")
    for row in _rows():
        table.add_row(*row)
    return table


def _lines() -> list[str]:
    """For other programs: one line for each event and no heading."""
    rows = _rows()
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _as_dict(event: _Type) -> dict[str, str]:
    return {
        "name": event.name,
        "displayName": event.display_name,
        "category": event.category,
        "description": event.description,
        "schemaFile": schema_file_name(event.name),
    }
