"""How lists and objects are printed: tables for people, JSON, YAML and names for programs.

A table is plain text in columns, as kubectl's; colours only on a terminal. JSON and YAML are ASCII, with escapes in
place of all else, so that nothing in them steers a terminal either.
"""

from __future__ import annotations

import enum
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import typer
import yaml
from rich.cells import cell_len

from hookline.cli.log.api import Object
from hookline.cli.log.fields import text
from hookline.runtime.log_wording import printable

Cell = Callable[[Object, datetime], str]

EMPTY = "-"
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Ten times as quick in C."""
_GAP = "   "


class Output(enum.StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"

    @property
    def is_table(self) -> bool:
        return self in (Output.TABLE, Output.WIDE)


@dataclass(frozen=True)
class Column:
    title: str
    cell: Cell
    wide: bool = False
    """Shown by `-o wide` only."""
    colour: Callable[[str], str] = field(default=lambda _: "")
    """Of a cell's text; "" for none."""
    least: int = 0
    """Characters: how wide it is when rows are not known beforehand."""


@dataclass(frozen=True)
class Kind:
    """One kind of objects: what it is called, and how a table shows it."""

    plural: str
    singular: str
    group: str
    columns: Sequence[Column]


def field_of(path: str) -> Cell:
    return lambda each, _: text(each, path)


class Table:
    """Rows in columns whose widths are those of the rows that are known when it begins, and at least `least`."""

    def __init__(self, kind: Kind, *, output: Output, everywhere: bool, rows_follow: bool = False) -> None:
        namespace = [Column("NAMESPACE", field_of("metadata.namespace"), least=10)] if everywhere else []
        self._columns = [*namespace, *(each for each in kind.columns if not each.wide or output is Output.WIDE)]
        self._rows_follow = rows_follow
        self._widths: list[int] = []

    def lines(self, items: Sequence[Object], now: datetime) -> list[str]:
        """With the heading, the first time."""
        rows = [[printable(column.cell(each, now)) or EMPTY for column in self._columns] for each in items]
        begins = not self._widths
        if begins:
            titles = [column.title for column in self._columns]
            least = [column.least if self._rows_follow else 0 for column in self._columns]
            self._widths = [
                max(floor, *(cell_len(cell) for cell in cells))
                for floor, cells in zip(least, zip(titles, *rows, strict=True), strict=True)
            ]
        heading = [self._line([column.title for column in self._columns], painted=False)] if begins else []
        return heading + [self._line(row) for row in rows]

    def _line(self, cells: Sequence[str], *, painted: bool = True) -> str:
        parts = []
        for column, cell, width in zip(self._columns, cells, self._widths, strict=True):
            colour = column.colour(cell) if painted else ""
            parts.append((paint(cell, colour) if colour else cell) + " " * (width - cell_len(cell)))
        return _GAP.join(parts).rstrip()


def print_items(kind: Kind, items: Sequence[Object], *, output: Output, namespace: str) -> None:
    """A list, whole. A namespace of "" means all of them."""
    if not output.is_table:
        say(as_text(kind, items, output))
    elif not items:
        where = f"in namespace {namespace}" if namespace else "in any namespace"
        typer.echo(f"No {kind.plural} {where}.", err=True)
    else:
        table = Table(kind, output=output, everywhere=not namespace)
        say("\n".join(table.lines(items, datetime.now(UTC))))


def as_text(kind: Kind, items: Iterable[Object], output: Output) -> str:
    """For programs: a List, or the names."""
    if output is Output.NAME:
        return "\n".join(name_of(kind, each) for each in items)
    return document({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": list(items)}, output)


def name_of(kind: Kind, item: Object) -> str:
    return f"{kind.singular}.{kind.group}/{text(item, 'metadata.name')}"


def document(item: Object, output: Output) -> str:
    if output is Output.YAML:
        return str(yaml.dump(item, Dumper=_DUMPER, sort_keys=False, width=120)).rstrip("\n")
    return json.dumps(item, indent=2)


def say(text: str) -> None:
    """Print what is safe to print, at once; nothing of nothing."""
    if text:
        typer.echo(text)
        sys.stdout.flush()


def paint(text: str, colour: str) -> str:
    """With a colour, on a terminal that may have them (https://no-color.org)."""
    return typer.style(text, fg=colour) if colours_are_shown() else text


def colours_are_shown() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
