"""The kinds of objects that the commands list, and their columns: those that `kubectl get` shows. Pure."""

from __future__ import annotations

from datetime import datetime

from hookline.api import kinds
from hookline.api.texts import took
from hookline.cli.log.api import Object
from hookline.cli.log.fields import number, since, text, until
from hookline.cli.log.output import Column, Kind, field_of

DELIVERED = "Delivered"


def _by_reason(reason: str) -> str:
    return "green" if reason == DELIVERED else "red"


def _by_status(status: str) -> str:
    return "green" if status.startswith("2") else "" if status == "-" else "red"


def _by_state(state: str) -> str:
    return "yellow" if state == "Parked" else ""


def duration(each: Object, path: str) -> str:
    """Of milliseconds: `41ms`, or `1.2s`."""
    taken_ms = number(each, path)
    return "" if taken_ms is None else took(taken_ms / 1000)


def what_follows(each: Object, now: datetime) -> str:
    """When the next attempt is due, or what follows in its place."""
    return until(each, "next.time", now) or text(each, "next.follows")


ATTEMPTS = Kind(
    kinds.ATTEMPTS.plural,
    kinds.ATTEMPTS.singular,
    kinds.GROUP,
    (
        Column("NAME", field_of("metadata.name"), least=44),
        Column("WEBHOOK", field_of("webhook.name"), least=18),
        Column("EVENT", field_of("event.type"), least=16),
        Column("ATTEMPT", field_of("attempt")),
        Column("STATUS", field_of("status"), colour=_by_status),
        Column("REASON", field_of("reason"), colour=_by_reason, least=12),
        Column("DURATION", lambda each, _: duration(each, "durationMilliseconds")),
        Column("NEXT", what_follows, least=5),
        Column("AGE", lambda each, now: since(each, "time", now)),
        Column("EVENT-ID", field_of("event.id"), wide=True),
        Column("URL", field_of("url"), wide=True),
        Column("SENDER", field_of("sender"), wide=True),
    ),
)

DELIVERIES = Kind(
    kinds.DELIVERIES.plural,
    kinds.DELIVERIES.singular,
    kinds.GROUP,
    (
        Column("NAME", field_of("metadata.name")),
        Column("WEBHOOK", field_of("webhook.name")),
        Column("EVENT", field_of("event.type")),
        Column("STATE", field_of("state"), colour=_by_state),
        Column("REASON", field_of("reason")),
        Column("ATTEMPT", field_of("attempt")),
        Column("NEXT", lambda each, now: until(each, "next.time", now)),
        Column("AGE", lambda each, now: since(each, "metadata.creationTimestamp", now)),
        Column("EVENT-ID", field_of("event.id"), wide=True),
    ),
)

DEAD_LETTERS = Kind(
    kinds.DEAD_LETTERS.plural,
    kinds.DEAD_LETTERS.singular,
    kinds.GROUP,
    (
        Column("NAME", field_of("metadata.name")),
        Column("WEBHOOK", field_of("webhook.name")),
        Column("EVENT", field_of("event.type")),
        Column("REASON", field_of("reason"), colour=lambda _: "red"),
        Column("OUTCOME", lambda each, _: text(each, "status") or text(each, "outcome")),
        Column("ATTEMPTS", field_of("attempts")),
        Column("AGE", lambda each, now: since(each, "metadata.creationTimestamp", now)),
        Column("EVENT-ID", field_of("event.id"), wide=True),
        Column("DETAIL", field_of("detail"), wide=True),
    ),
)
