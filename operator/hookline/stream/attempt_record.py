"""The record of one attempt, as the attempts log keeps it. Pure.

A message of the stream HOOKLINE_ATTEMPTS holds one or more records of one Webhook, each a line of JSON. Its subject
says the tenant and the Webhook's uid, its headers the Webhook's name and the sender. What a line does not say is as the
field's default; what only another version knows is passed over. Anybody on this NATS may have written it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_ANSWER_BYTES = 16 * 1024
"""Of an answer's body, as dead letters keep it."""


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class AttemptRecord:
    """One HTTP call of a delivery. Times are Unix time by the clock of NATS, bodies and headers without secrets."""

    event_id: str
    event_type: str
    at_s: float
    """When the call began."""
    attempt: int
    """Counts from 1."""
    reason: str
    """How it ended: a word of retry.Reason, or one that only another version knows."""
    status: int | None = None
    """None when no answer came."""
    detail: str = ""
    url: str = ""
    """Without its query."""
    event_seq: int = 0
    """The event's place in EVENTS; 0 of a test."""
    duration_s: float = 0.0
    phases_s: Mapping[str, float] = field(default_factory=dict)
    """How long lookup, connect, tls and first_byte took; without those that a kept connection spared."""
    request_headers: Mapping[str, str] = field(default_factory=dict)
    """A value that may be secret is empty."""
    request_bytes: int = 0
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer_bytes: int = 0
    answer: bytes = field(default=b"", repr=False)
    """Its first 16 KiB."""
    follows: str = ""
    """Done, Retry, Dead, or Parked of a probe whose delivery waits on."""
    next_at_s: float | None = None
    """When the next attempt is due, if one is."""
    probe: bool = False
    """Of an endpoint that was failing."""
    test: bool = False
    replay: str = ""
    """The Replay that asked for it."""
