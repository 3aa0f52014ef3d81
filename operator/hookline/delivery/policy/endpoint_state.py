"""The states of an endpoint beyond well, and what each of them means. Pure: time and jitter are arguments.

Decides when an endpoint counts as failing, when the next probe of it is due, and how a state is written for all
senders. Never calls anybody, never stores anything. What is done with what waits meanwhile is decided in parking_plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hookline.delivery.policy.retry import Outcome, Reason, pause_seconds
from hookline.routing.routes import Route

OPENS_AFTER = 5
"""Failed attempts in a row, without a success between, as one sender sees them."""

PROBE_SECONDS = 5.0
"""Before the first probe of a failing endpoint. Each further wait is twice as long."""

LONGEST_PROBE_SECONDS = 300.0
JITTER_SHARE = 0.2

SLOW = "Slow"
"""Why an endpoint is backlogged that takes its deliveries, but not as fast as they come."""


class Kind(StrEnum):
    """Why deliveries of a Webhook that may be called are parked all the same."""

    FAILING = "Failing"
    """Calls fail in a row. One sender probes, all others wait."""
    GONE = "Gone"
    """The receiver answered 410: no more calls until the spec changes."""
    BACKLOGGED = "Backlogged"
    """The endpoint is called, but what came before is still parked: what is new goes behind it."""

    @classmethod
    def _missing_(cls, value: object) -> Kind | None:
        """Words of before November 2026, which senders of that time still write during an upgrade."""
        return {"Sick": cls.FAILING, "Behind": cls.BACKLOGGED}.get(str(value))


class State(BaseModel):
    """What all senders know of an endpoint that is not simply well. Stands in the bucket as JSON."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    generation: int = Field(ge=0)
    """Of the Webhook. Void once its route has another one: a changed spec is tried anew."""
    kind: Kind
    reason: str = Field(default="", max_length=64, pattern=r"^[A-Za-z]*$")
    """A word of retry.Reason, or one that only a later version knows."""
    status: int | None = Field(default=None, ge=100, le=999)
    since_s: int = Field(default=0, ge=0, le=2**35)
    """Unix time of the first failure."""
    probes: int = Field(default=0, ge=0)
    """Probes that were begun."""
    under_way: bool = False
    """Whether the last of them has not ended, as far as is known."""
    pause_s: float = Field(default=0.0, ge=0, le=86_400)
    """What the receiver asked for with `Retry-After`: no probe earlier."""

    def encoded(self) -> bytes:
        return self.model_dump_json(exclude_defaults=True).encode()


def read(value: bytes) -> State | None:
    """A state as it stands in the bucket; None of what is none: anybody on this NATS may have written it.

    A kind that only a later version knows is none either: nobody of this version would ever end it.
    """
    try:
        state = State.model_validate_json(value)
    except ValidationError:
        return None
    return state if state.kind is Kind.BACKLOGGED or state.reason else None


def may_call(why: str) -> bool:
    """Whether deliveries are called at all that are parked for this reason; empty: they are not parked."""
    return why in ("", Kind.BACKLOGGED)


def probe_wait_seconds(state: State, *, first_seconds: float = PROBE_SECONDS, jitter: float) -> float:
    """How long after a state was written its next probe is due. `jitter` in [0, 1) makes it up to 20 % later."""
    longest = max(first_seconds, LONGEST_PROBE_SECONDS)
    wait = min(first_seconds * 2.0 ** min(state.probes, 30), longest)
    return max(wait, state.pause_s) * (1 + JITTER_SHARE * jitter)


_UNSEEN = frozenset(
    {
        Reason.EGRESS_REFUSED,
        Reason.DNS_FAILURE,
        Reason.PROXY_UNREACHABLE,
        Reason.PROXY_REFUSED,
        Reason.CONNECTION_REFUSED,
        Reason.UNREACHABLE,
        Reason.CONNECT_TIMEOUT,
        Reason.TLS_TIMEOUT,
        Reason.TLS_FAILURE,
        Reason.CERTIFICATE_INVALID,
    }
)


def stays_first(outcome: Outcome) -> bool:
    """Whether the delivery that a probe failed with stays the first that is parked, with none of its attempts used up.

    Only if the receiver has seen nothing of it. Else the failure may be the delivery's own, as a body that the receiver
    cannot take, and the endpoint would stay failing for as long as that one is the first.
    """
    return outcome.reason in _UNSEEN


def begun(state: State) -> State:
    """A probe of it begins: whoever writes this is the one that probes."""
    return state.model_copy(update={"probes": state.probes + 1, "pause_s": 0.0, "under_way": True})


def paused(state: State, outcome: Outcome) -> State:
    """After a probe that failed."""
    pause_s = pause_seconds(outcome)
    changes = {"reason": str(outcome.reason), "status": outcome.status, "pause_s": pause_s, "under_way": False}
    return state.model_copy(update=changes)


def backlogged(route: Route, reason: str, now_s: float) -> State:
    return State(generation=route.generation, kind=Kind.BACKLOGGED, reason=reason, since_s=int(now_s))


@dataclass(frozen=True, slots=True)
class _Row:
    generation: int
    since_s: float
    attempts: int


class Failures:
    """Failed attempts in a row of the endpoints that this sender calls."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def attempted(self, route: Route, outcome: Outcome, now_s: float) -> State | None:
        """An attempt ended at `now_s`, Unix time: the state that the endpoint turns to, if it does."""
        if outcome.reason is Reason.DELIVERED:
            self._rows.pop(route.uid, None)
            return None
        row = self._rows.get(route.uid)
        if row is None or row.generation != route.generation:
            row = _Row(route.generation, now_s, 0)
        row = self._rows[route.uid] = replace(row, attempts=row.attempts + 1)
        if outcome.reason is Reason.GONE:
            return _state(Kind.GONE, row, outcome)
        return _state(Kind.FAILING, row, outcome) if row.attempts >= OPENS_AFTER else None

    def any(self, uid: str) -> bool:
        """Whether the last attempt failed."""
        return uid in self._rows

    def forget(self, uid: str) -> None:
        self._rows.pop(uid, None)

    def keep(self, route_of: Callable[[str], Route | None]) -> None:
        """Forget Webhooks that are no more or were changed: what failed was another call."""
        for uid, row in list(self._rows.items()):
            route = route_of(uid)
            if route is None or route.generation != row.generation:
                del self._rows[uid]


def _state(kind: Kind, row: _Row, outcome: Outcome) -> State:
    return State(
        generation=row.generation,
        kind=kind,
        reason=str(outcome.reason),
        status=outcome.status,
        since_s=int(row.since_s),
        pause_s=pause_seconds(outcome) if kind is Kind.FAILING else 0.0,
    )
