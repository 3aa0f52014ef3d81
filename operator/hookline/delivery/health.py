"""Which endpoints are sick: bookkeeping of attempts in a row. Pure: the time is an argument.

Decides when an endpoint counts as sick and when as well again. Never stops a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hookline.retry import Outcome, Reason
from hookline.routes import Route

SICK_AFTER = 5
"""Failed attempts in a row, without a success between."""


@dataclass(slots=True)
class Failing:
    """An endpoint whose last attempts all failed. `since_s` is the Unix time of the first of them."""

    uid: str
    generation: int
    since_s: float
    attempts: int
    reason: Reason
    status: int | None


class Health:
    """The endpoints that this sender calls."""

    def __init__(self) -> None:
        self._failing: dict[str, Failing] = {}

    def attempted(self, route: Route, outcome: Outcome, now_s: float) -> None:
        """An attempt ended."""
        if outcome.reason is Reason.DELIVERED:
            self._failing.pop(route.uid, None)
            return
        first = Failing(route.uid, route.generation, now_s, 0, outcome.reason, outcome.status)
        failing = self._failing.setdefault(route.uid, first)
        failing.attempts += 1
        failing.reason, failing.status = outcome.reason, outcome.status

    def keep(self, route_of: Callable[[str], Route | None]) -> None:
        """Forget Webhooks that are no more or were changed: what failed was another call."""
        for uid, failing in list(self._failing.items()):
            route = route_of(uid)
            if route is None or route.generation != failing.generation:
                del self._failing[uid]

    def sick(self) -> list[Failing]:
        """Endpoints that are sick now."""
        return [each for each in self._failing.values() if each.attempts >= SICK_AFTER]
