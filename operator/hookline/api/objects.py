"""Attempts, deliveries and dead letters as objects of Kubernetes. Pure.

Decides the fields, which `openapi` describes, and the labels. Bodies of events are in none of them: they have a
subresource, and a right, of their own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from hookline.api.kinds import API_VERSION, ATTEMPTS, DEAD_LETTERS, DELIVERIES, Resource
from hookline.api.log import Attempt, Dead, Waiting
from hookline.api.texts import body_text, count, is_label, milliseconds, moment, plain

Entry = Attempt | Waiting | Dead

LABELS = {
    "webhook": "hookline.dev/webhook",
    "event_type": "hookline.dev/event-type",
    "event_id": "hookline.dev/event-id",
    "reason": "hookline.dev/reason",
    "status": "hookline.dev/status",
}
"""By the field of `Wanted` that they stand for."""

_PHASES = {"lookup": "lookup", "connect": "connect", "tls": "tls", "first_byte": "firstByte"}
_UIDS = uuid.UUID("6f9f7f0e-2a55-4b6e-9f5c-0d2b7c1f4a3e")
"""Of uids, which are made from a kind, a namespace and a name: nothing else is known of an object that stays."""


def resource_of(entry: Entry) -> Resource:
    if isinstance(entry, Attempt):
        return ATTEMPTS
    return DELIVERIES if isinstance(entry, Waiting) else DEAD_LETTERS


def uid_of(entry: Entry) -> str:
    """The same in each answer."""
    return str(uuid.uuid5(_UIDS, f"{resource_of(entry).plural}/{entry.namespace}/{entry.name}"))


def began_s(entry: Entry) -> float:
    """When it came to be, Unix time; 0 when that is not known."""
    if isinstance(entry, Attempt):
        return entry.record.at_s
    if isinstance(entry, Waiting):
        return entry.stored_s or entry.since_s
    return entry.failed_at_s


def metadata(entry: Entry) -> dict[str, Any]:
    version = entry.version if isinstance(entry, Attempt) else ""
    return _without_empty(
        {
            "name": entry.name,
            "namespace": entry.namespace,
            "uid": uid_of(entry),
            "resourceVersion": version,
            "creationTimestamp": moment(began_s(entry)),
            "labels": _labels(entry),
        }
    )


def as_object(entry: Entry) -> dict[str, Any]:
    """With its kind; what is not known is not there."""
    if isinstance(entry, Attempt):
        content = _attempt(entry)
    elif isinstance(entry, Waiting):
        content = _delivery(entry)
    else:
        content = _dead_letter(entry)
    return {
        "apiVersion": API_VERSION,
        "kind": resource_of(entry).kind,
        "metadata": metadata(entry),
        **_without_empty(content),
    }


def attempt_content(attempt: Attempt) -> dict[str, Any]:
    """What stands beside the metadata."""
    return _without_empty(_attempt(attempt))


def partial(entry: Entry) -> dict[str, Any]:
    """Its metadata alone, as garbage collectors and tables have it."""
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata(entry)}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    record = attempt.record
    phases = {_PHASES[name]: milliseconds(took_s) for name, took_s in record.phases_s.items() if name in _PHASES}
    body, encoding = body_text(record.answer) if record.answer else ("", "")
    answered = record.status is not None
    return {
        "webhook": _webhook(attempt),
        "event": _event(record.event_id, record.event_type),
        "time": moment(record.at_s, exact=True),
        "attempt": count(record.attempt),
        "status": count(record.status) if answered else None,
        "reason": plain(record.reason),
        "detail": plain(record.detail),
        "url": plain(record.url),
        "durationMilliseconds": milliseconds(record.duration_s),
        "phasesMilliseconds": phases,
        "request": {"bytes": count(record.request_bytes), **_headers(record.request_headers)},
        "answer": {
            "bytes": count(record.answer_bytes),
            **_headers(record.answer_headers),
            **({"body": body, "bodyEncoding": encoding} if body else {}),
        }
        if answered
        else None,
        "next": _without_empty({"follows": plain(record.follows), "time": moment(record.next_at_s, exact=True)}),
        "sender": plain(attempt.sender),
        "dispatcher": plain(attempt.dispatcher),
        "probe": record.probe or None,
        "test": record.test or None,
        "replay": plain(record.replay),
    }


def _delivery(waiting: Waiting) -> dict[str, Any]:
    return {
        "webhook": _webhook(waiting),
        "event": _event(waiting.event_id, waiting.event_type, waiting.body_bytes),
        "state": plain(waiting.state),
        "reason": plain(waiting.reason),
        "attempt": count(waiting.attempt),
        "storedTime": moment(waiting.stored_s),
        "since": moment(waiting.since_s),
        "next": _without_empty({"time": moment(waiting.next_at_s, exact=True)}),
        "dispatcher": plain(waiting.dispatcher),
        "replay": plain(waiting.replay),
    }


def _dead_letter(dead: Dead) -> dict[str, Any]:
    body, encoding = body_text(dead.answer) if dead.answer else ("", "")
    return {
        "webhook": _webhook(dead),
        "event": _event(dead.event_id, dead.event_type, dead.body_bytes),
        "time": moment(dead.failed_at_s),
        "reason": plain(dead.reason),
        "detail": plain(dead.detail),
        "attempts": count(dead.attempt),
        "outcome": plain(dead.outcome),
        "status": None if dead.status is None else count(dead.status),
        "answer": {"body": body, "bodyEncoding": encoding} if body else None,
        "headers": {plain(name): plain(value) for name, value in dead.headers.items()},
        "dispatcher": plain(dead.dispatcher),
    }


def _webhook(entry: Entry) -> dict[str, Any]:
    return _without_empty({"name": plain(entry.webhook), "uid": plain(entry.uid)})


def _event(id_: str, type_: str, body_bytes: int | None = None) -> dict[str, Any]:
    said = _without_empty({"id": plain(id_), "type": plain(type_)})
    return said if body_bytes is None else {**said, "bytes": count(body_bytes)}


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    said = {plain(name): plain(value) for name, value in headers.items()}
    return {"headers": said} if said else {}


def narrowing(entry: Entry) -> tuple[str, str, str, int | None]:
    """By which lists are narrowed, beside the Webhook: event id, event type, reason, status of the answer."""
    if isinstance(entry, Attempt):
        record = entry.record
        return record.event_id, record.event_type, record.reason, record.status
    return entry.event_id, entry.event_type, entry.reason, entry.status if isinstance(entry, Dead) else None


def _labels(entry: Entry) -> dict[str, str]:
    """Those whose value may be one of a label: an event's id need not."""
    event_id, event_type, reason, status = narrowing(entry)
    values = {
        "webhook": entry.webhook,
        "event_type": event_type,
        "event_id": event_id,
        "reason": reason,
        "status": "" if status is None else str(count(status)),
    }
    return {LABELS[name]: value for name, value in values.items() if is_label(value)}


def _without_empty(said: Mapping[str, Any]) -> dict[str, Any]:
    """Zero and False stand: they say something."""
    return {name: value for name, value in said.items() if value is not None and value != "" and value != {}}
