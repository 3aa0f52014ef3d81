"""What an event is, and how it travels in message headers. Checks no body (schemas) and stores nothing (stream)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hookline.events.context import NO_CONTEXT, context_headers, context_of

MAX_BODY_BYTES = 256 * 1024
"""Largest event body. Below the 1 MiB that nats-server takes in one message, with room for headers, and so small that
a sender may hold some thousands."""

HEADERS_BYTES = 16 * 1024
"""Of an event's own headers, at most."""

ROOM_BYTES = 16 * 1024
"""For what a delivery, its retries and its dead letter add to the headers of an event, at most, also of one that came
without any: its type, a part of the subject, may have 4 KiB (max_control_line of NATS), and its context as much more
where it was written in a shorter way. Kept free at the door."""

ID_HEADER = "Hookline-Event-Id"
TYPE_HEADER = "Hookline-Event-Type"
TENANT_HEADER = "Hookline-Tenant"
TIME_HEADER = "Hookline-Event-Time"

TENANT_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A tenant is a Kubernetes namespace, so a DNS-1123 label (RFC 1123)."""

_TENANT = re.compile(TENANT_PATTERN)


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class Event:
    """Something that happened in one tenant.

    `time` is RFC 3339 in UTC. `body` is the JSON text exactly as published; all else travels in headers, because
    ClearID's schemas are closed (`additionalProperties: false`). `context` is what its producer sent beside it.
    """

    id: str
    tenant: str
    type: str
    time: str
    body: bytes = field(repr=False)
    context: Mapping[str, str] = field(default_factory=lambda: NO_CONTEXT, repr=False)


def valid_tenant(text: str) -> bool:
    return _TENANT.fullmatch(text) is not None


def max_event_bytes(max_payload_bytes: int) -> int:
    """How large an event with its headers may be where NATS takes messages of this size; not above 0 if none may."""
    return min(MAX_BODY_BYTES + HEADERS_BYTES, max_payload_bytes - ROOM_BYTES)


def stamp(unix_s: float) -> str:
    """A time as it stands in headers, and as NATS writes it: RFC 3339 in UTC, with milliseconds."""
    seconds, milliseconds = divmod(int(unix_s * 1000), 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03}Z"


def stamp_to_the_second(unix_s: float) -> str:
    """As `stamp`, without milliseconds: for people, and where a second is fine enough."""
    return f"{_to_the_second(int(unix_s))}Z"


@functools.lru_cache(maxsize=64)
def _to_the_second(unix_s: int) -> str:
    # Remembered, since an event without a time gets one: 1.6 us each otherwise.
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def to_headers(event: Event) -> dict[str, str]:
    headers = {ID_HEADER: event.id, TYPE_HEADER: event.type, TENANT_HEADER: event.tenant, TIME_HEADER: event.time}
    return headers | context_headers(event.context) if event.context else headers


def from_headers(headers: Mapping[str, str], body: bytes) -> Event:
    """The event of a stored message. Raises KeyError when a header is missing."""
    id_, tenant, type_ = headers[ID_HEADER], headers[TENANT_HEADER], headers[TYPE_HEADER]
    return Event(id_, tenant, type_, headers[TIME_HEADER], body, context_of(headers))
