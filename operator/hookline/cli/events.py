"""`hookline events`: the built-in event types, their schemas ("Download schema") and samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hookline.catalogue import EVENTS, BuiltinEvent, event_named, sample_of, schema_of, to_text
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.schemas import Catalogue, UnknownEvent

app = typer.Typer(help="The built-in event types, their schemas and samples.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Event type, such as IdentityCreated.", show_default=False)]
Output = Annotated[
    Path | None, typer.Option(help="File to write, or a folder for a file of the usual name.", show_default="print it")
]


@app.command("list")
def list_events(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """List the event types.

    Example: hookline events list
    """
    if as_json:
        typer.echo(json.dumps([_as_dict(event) for event in EVENTS], indent=2))
        return
    console = Console()
    if not console.is_terminal:
        for event in EVENTS:
            typer.echo(f"{event.name:<24}{event.category:<20}{event.description}")
        return
    table = Table()
    for column in ("event", "category", "description"):
        table.add_column(column)
    for event in EVENTS:
        table.add_row(event.name, event.category, event.description)
    console.print(table)


@app.command()
def schema(name: Name, output: Output = None) -> None:
    """Print or write the JSON Schema (draft-04) of an event's body: "Download schema".

    Example: hookline events schema IdentityCreated --output ./schemas/
    """
    event = _event(name)
    _hand_over(to_text(schema_of(event)), output, event.schema_file_name)


@app.command()
def sample(name: Name, output: Output = None) -> None:
    """Print or write one realistic body of an event. Names and ids in it are invented.

    Example: hookline events sample IdentityCreated | hookline publish IdentityCreated -
    """
    event = _event(name)
    _hand_over(to_text(sample_of(event)), output, event.sample_file_name)


def _event(name: str) -> BuiltinEvent:
    try:
        return event_named(Catalogue().get(name).name)
    except UnknownEvent as error:
        raise WrongInput(str(error)) from None


def _hand_over(text: str, output: Path | None, usual_name: str) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    path = output / usual_name if output.is_dir() else output
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotAchieved(f"{path} cannot be written: {error.strerror}") from None
    typer.echo(str(path), err=True)


def _as_dict(event: BuiltinEvent) -> dict[str, str]:
    return {
        "name": event.name,
        "category": event.category,
        "displayName": event.display_name,
        "description": event.description,
        "schema": f"events/{event.schema_file_name}",
    }
