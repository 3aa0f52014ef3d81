"""Which notices there are, and how many. Pure: time is an argument.

What turns an endpoint, or ends a delivery, is decided elsewhere; here only what of it is told. Three rules:

- **It cannot loop.** Of a Webhook that itself hears notices nothing is told, whatever becomes of its endpoint and its
  deliveries. A notice becomes deliveries to such Webhooks only, so no notice ever follows from a notice.
- **It is no storm.** Dead letters of one Webhook are told together, about once a minute. A tenant has a bound for all
  of its notices.
- **Nobody is told what he does not hear.** That is asked by delivery/notices, which knows the book.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hookline.delivery.policy.endpoint_state import Kind, State
from hookline.delivery.policy.retry import Outcome
from hookline.events import notices
from hookline.events.envelope import stamp
from hookline.routing.routes import Route

COLLECT_SECONDS = 5.0
"""From the first dead letter of a Webhook to its notice."""

APART_SECONDS = 60.0
"""Between two notices of dead letters of one Webhook."""

MAX_WEBHOOKS = 2000
"""Whose dead letters are collected at once."""

OF_TENANT, OF_TENANT_SECONDS = 30, 60.0
"""Notices of one tenant, in this time."""

DELIVERED, SPEC_CHANGED = "Delivered", "SpecChanged"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told. `key` names it among all: the same thing told again has the same."""

    tenant: str
    type: str
    key: str
    facts: Mapping[str, Any] = field(repr=False)


def may_tell(route: Route) -> bool:
    """Whether anything is told of a Webhook."""
    return route.event is not None and not notices.is_reserved(route.event)


def of_turn(route: Route, before: State | None, state: State | None, now_s: float) -> Notice | None:
    """Of an endpoint that turned, if that is told. Without a `state` its Webhook was changed: it is tried anew."""
    was = before.kind if before is not None else None
    kind = state.kind if state is not None else None
    if not may_tell(route) or was is kind:
        return None
    if state is not None and kind in (Kind.FAILING, Kind.GONE):
        event_type = notices.ENDPOINT_FAILING if kind is Kind.FAILING else notices.ENDPOINT_GONE
        facts = {"state": str(kind), "since": stamp(state.since_s), "reason": state.reason, "status": state.status}
        key = f"{route.uid}.{kind}.{state.generation}.{state.since_s}"
        return Notice(route.namespace, event_type, key, _of(route, now_s) | facts)
    if before is not None and was in (Kind.FAILING, Kind.GONE):
        facts = {
            "state": "Recovered",
            "was": str(was),
            "since": stamp(before.since_s),
            "reason": DELIVERED if state is not None else SPEC_CHANGED,
            "probes": before.probes,
        }
        key = f"{route.uid}.Recovered.{before.generation}.{before.since_s}"
        return Notice(route.namespace, notices.ENDPOINT_RECOVERED, key, _of(route, now_s) | facts)
    return None


@dataclass(slots=True)
class _Died:
    route: Route
    since_s: float
    due_s: float
    reasons: Counter[str] = field(default_factory=Counter)
    last: Mapping[str, Any] = field(default_factory=dict)


class DeadLetters:
    """Collects the dead letters of each Webhook until they are told. `now_s` is Unix time."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Died] = {}
        self._told_s: dict[str, float] = {}

    def died(
        self, route: Route, reason: str, now_s: float, *, event_id: str, attempts: int, outcome: Outcome | None
    ) -> bool:
        """One more; whether there was room for it. `reason` is the word."""
        waiting = self._waiting.get(route.uid)
        if waiting is None:
            if len(self._waiting) >= MAX_WEBHOOKS:
                return False
            due_s = max(now_s + COLLECT_SECONDS, self._told_s.get(route.uid, 0.0) + APART_SECONDS)
            waiting = self._waiting[route.uid] = _Died(route, now_s, due_s)
        waiting.reasons[reason] += 1
        waiting.last = {
            "eventId": event_id,
            "attempts": attempts,
            "reason": str(outcome.reason) if outcome else "",
            "status": outcome.status if outcome else None,
        }
        return True

    def next_s(self) -> float | None:
        """When the next notice is due; None when none is."""
        return min((each.due_s for each in self._waiting.values()), default=None)

    def take(self, now_s: float, *, all_: bool = False) -> list[Notice]:
        """What is due; `all_`: what is not due as well."""
        self._told_s = {uid: told_s for uid, told_s in self._told_s.items() if now_s - told_s < APART_SECONDS}
        due = [uid for uid, each in self._waiting.items() if all_ or each.due_s <= now_s]
        self._told_s |= dict.fromkeys(due, now_s)
        return [_of_dead(self._waiting.pop(uid), now_s) for uid in due]


def _of_dead(died: _Died, now_s: float) -> Notice:
    route = died.route
    facts = {
        "count": died.reasons.total(),
        "since": stamp(died.since_s),
        "reasons": dict(died.reasons),
        "last": died.last,
    }
    key = f"{route.uid}.Dead.{died.last['eventId']}.{died.since_s}"
    return Notice(route.namespace, notices.DELIVERY_DEAD, key, _of(route, now_s) | facts)


class TenantBound:
    """Lets through no more of each tenant than it may have. `now_s` grows."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, int]] = {}

    def lets(self, tenant: str, now_s: float) -> bool:
        """Whether one more may be told, which then counts."""
        began_s, told = self._began.get(tenant, (now_s, 0))
        if now_s - began_s >= OF_TENANT_SECONDS:
            self._began = {each: found for each, found in self._began.items() if now_s - found[0] < OF_TENANT_SECONDS}
            began_s, told = now_s, 0
        if told >= OF_TENANT:
            return False
        self._began[tenant] = began_s, told + 1
        return True


def _of(route: Route, now_s: float) -> dict[str, Any]:
    webhook = {"namespace": route.namespace, "name": route.name, "uid": route.uid, "event": route.event}
    return {"time": stamp(now_s), "webhook": webhook}
