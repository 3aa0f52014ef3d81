"""The columns that kubectl shows. Pure: the time is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hookline.api.kinds import ATTEMPTS, DEAD_LETTERS, DELIVERIES, Resource
from hookline.api.log import Attempt, Dead, Waiting
from hookline.api.objects import Entry, as_object, began_s, partial
from hookline.api.texts import age, count, plain, took

_WIDE = 1
"""Of a column that is shown with -o wide only."""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cell: Callable[[Any, float], Any]
    """Of an entry, now."""
    description: str
    type: str = "string"
    format: str = ""
    priority: int = 0

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


def _until(at_s: float | None, now_s: float) -> str:
    return "" if at_s is None else age(max(at_s - now_s, 0.0))


def _age_of(entry: Entry, now_s: float) -> str:
    began = began_s(entry)
    # The clock of NATS, by which it began, may be a little before ours.
    return age(max(now_s - began, 0.0)) if began > 0 else "<unknown>"


def _next_of(attempt: Attempt, now_s: float) -> str:
    record = attempt.record
    return _until(record.next_at_s, now_s) if record.next_at_s is not None else plain(record.follows)


def _status(status: int | None) -> str:
    return "" if status is None else str(count(status))


_NAME = _Column("Name", lambda each, _: each.name, "Unique in its namespace.", format="name")
_WEBHOOK = _Column("Webhook", lambda each, _: plain(each.webhook), "The Webhook that is called.")
_AGE = _Column("Age", _age_of, "How long ago it came to be.")

_COLUMNS: Mapping[str, tuple[_Column, ...]] = {
    ATTEMPTS.plural: (
        _NAME,
        _WEBHOOK,
        _Column("Event", lambda each, _: plain(each.record.event_type), "The type of the event."),
        _Column("Attempt", lambda each, _: count(each.record.attempt), "Counts from 1.", type="integer"),
        _Column("Status", lambda each, _: _status(each.record.status), "Of the answer; empty when none came."),
        _Column("Reason", lambda each, _: plain(each.record.reason), "How the attempt ended."),
        _Column("Duration", lambda each, _: took(each.record.duration_s), "How long the call took."),
        _Column("Next", _next_of, "When the next attempt is due, or what follows instead."),
        _AGE,
        _Column("Event-ID", lambda each, _: plain(each.record.event_id), "The webhook-id of the call.", priority=_WIDE),
        _Column("URL", lambda each, _: plain(each.record.url), "Without its query.", priority=_WIDE),
        _Column("Sender", lambda each, _: plain(each.sender), "The pod that called.", priority=_WIDE),
    ),
    DELIVERIES.plural: (
        _NAME,
        _WEBHOOK,
        _Column("Event", lambda each, _: plain(each.event_type), "The type of the event."),
        _Column("State", lambda each, _: plain(each.state), "Queued, Scheduled or Parked."),
        _Column("Reason", lambda each, _: plain(each.reason), "Why it waits."),
        _Column("Attempt", lambda each, _: count(each.attempt), "The next one; counts from 1.", type="integer"),
        _Column("Next", lambda each, now_s: _until(each.next_at_s, now_s), "When it is due, if that is known."),
        _AGE,
        _Column("Event-ID", lambda each, _: plain(each.event_id), "The webhook-id of the call.", priority=_WIDE),
    ),
    DEAD_LETTERS.plural: (
        _NAME,
        _WEBHOOK,
        _Column("Event", lambda each, _: plain(each.event_type), "The type of the event."),
        _Column("Reason", lambda each, _: plain(each.reason), "Why it was given up."),
        _Column("Outcome", lambda each, _: _outcome(each), "How the last attempt ended."),
        _Column("Attempts", lambda each, _: count(each.attempt), "How many were made.", type="integer"),
        _AGE,
        _Column("Event-ID", lambda each, _: plain(each.event_id), "The webhook-id of the call.", priority=_WIDE),
        _Column("Detail", lambda each, _: plain(each.detail), "The sentence behind the reason.", priority=_WIDE),
    ),
}


def _outcome(dead: Dead) -> str:
    return _status(dead.status) or plain(dead.outcome)


def definitions(resource: Resource) -> list[dict[str, Any]]:
    return [each.definition() for each in _COLUMNS[resource.plural]]


def row(resource: Resource, entry: Attempt | Waiting | Dead, now_s: float, include: str) -> dict[str, Any]:
    """`include`: which of the object stands in the row: None, Metadata or Object."""
    said: dict[str, Any] = {"cells": [each.cell(entry, now_s) for each in _COLUMNS[resource.plural]]}
    if include == "Object":
        said["object"] = as_object(entry)
    elif include == "Metadata":
        said["object"] = partial(entry)
    return said


def table(resource: Resource, rows: list[dict[str, Any]], meta: Mapping[str, str], *, headers: bool) -> dict[str, Any]:
    """`headers`: whether the columns are named."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(meta),
        "columnDefinitions": definitions(resource) if headers else [],
        "rows": rows,
    }
