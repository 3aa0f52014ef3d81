"""What is known of a call while it runs. Decides nothing: pool, transport, tunnel, tls write it; attempt reads it."""

from __future__ import annotations

import enum
import time
from contextvars import ContextVar
from dataclasses import dataclass, field


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


def _begun() -> list[float]:
    return [0.0, time.monotonic(), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


@dataclass(slots=True)
class Progress:
    """What is known of a call while it runs: for the reason word if it fails, and for how long each part of it took."""

    phase: Phase = Phase.LOOKUP
    """Goes on by `reach`."""
    _reached_s: list[float] = field(default_factory=_begun)
    """When each phase was first reached, by the monotonic clock, by its number; 0 of those that were not."""
    authority: str = ""
    proxy: str = ""
    """Through which a connection was made for this call, if it was."""
    reused: bool = False
    """Whether its connection carried calls before."""
    needs_new_connection: bool = False
    """One that carried calls before has turned out to be dead: others in the pool may be as well."""
    refusal: str | None = None

    def reach(self, phase: Phase) -> None:
        """The call has come so far. Of several addresses that are tried the first counts."""
        self.phase = phase
        if not self._reached_s[phase]:
            self._reached_s[phase] = time.monotonic()

    def begin_anew(self) -> None:
        """Over a new connection, since that which carried calls before is dead."""
        self.phase, self.needs_new_connection = Phase.LOOKUP, True
        self._reached_s = _begun()

    def phases_s(self, end_s: float) -> dict[str, float]:
        """How long each part took that was begun, up to `end_s` if it did not end. A kept connection needs but one; a
        proxy counts as a part of the connecting."""
        _, lookup_s, connect_s, proxy_s, _, tls_s, answer_s, body_s = self._reached_s
        if answer_s and self.reused:
            return {"first_byte": (body_s or end_s) - answer_s}
        found: dict[str, float] = {}
        until_s = body_s or end_s
        for name, at_s in (
            ("first_byte", answer_s),
            ("tls", tls_s),
            ("connect", proxy_s or connect_s),
            ("lookup", lookup_s),
        ):
            if at_s:
                found[name] = until_s - at_s
                until_s = at_s
        return found

    @property
    def where(self) -> str:
        """The receiver, for a detail, and the proxy between: either may be to blame."""
        return f"{self.authority} through the proxy {self.proxy}" if self.proxy else self.authority


# The call that runs in this task; sockets and TLS handshakes are made in tasks and callbacks that inherit it.
current_call: ContextVar[Progress] = ContextVar("hookline_call_progress")
