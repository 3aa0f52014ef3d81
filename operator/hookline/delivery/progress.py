"""What is known of a call while it runs. Decides nothing: transport, tls and wall write it, attempt reads it."""

from __future__ import annotations

import enum
from contextvars import ContextVar
from dataclasses import dataclass


class InvalidCallError(ValueError):
    """A call cannot be built. The message is safe to show."""


class Phase(enum.IntEnum):
    """How far a call has come."""

    LOOKUP = 1
    CONNECT = 2
    TUNNEL = 3
    HANDSHAKE = 4
    ANSWER = 5
    BODY = 6


@dataclass(slots=True)
class Progress:
    """What is known of a call while it runs, for the reason word if it fails."""

    phase: Phase = Phase.LOOKUP
    authority: str = ""
    reused: bool = False
    refusal: str | None = None
    status: int | None = None


# The call that runs in this task; sockets and TLS handshakes are made in tasks and callbacks that inherit it.
current_call: ContextVar[Progress] = ContextVar("hookline_call_progress")
