"""What is known of a call while it runs. Decides nothing: pool, transport, tunnel, tls write it; attempt reads it."""

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
    PROXY = 3
    TUNNEL = 4
    HANDSHAKE = 5
    ANSWER = 6
    BODY = 7


@dataclass(slots=True)
class Progress:
    """What is known of a call while it runs, for the reason word if it fails."""

    phase: Phase = Phase.LOOKUP
    authority: str = ""
    proxy: str = ""
    """Through which a connection was made for this call, if it was."""
    reused: bool = False
    """Whether its connection carried calls before."""
    needs_new_connection: bool = False
    """One that carried calls before has turned out to be dead: others in the pool may be as well."""
    refusal: str | None = None

    @property
    def where(self) -> str:
        """The receiver, for a detail, and the proxy between: either may be to blame."""
        return f"{self.authority} through the proxy {self.proxy}" if self.proxy else self.authority


# The call that runs in this task; sockets and TLS handshakes are made in tasks and callbacks that inherit it.
current_call: ContextVar[Progress] = ContextVar("hookline_call_progress")
