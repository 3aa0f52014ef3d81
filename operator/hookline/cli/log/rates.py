"""How well each Webhook's deliveries go, from the attempts of the last minute and what waits. Pure."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.cli.log.api import Object
from hookline.cli.log.fields import moment, number, text
from hookline.cli.log.kinds import DELIVERED

WINDOW_SECONDS = 60.0
KEPT_ATTEMPTS = 200_000
"""Of all Webhooks; at more than 3,333 a second the window is shorter."""

Key = tuple[str, str]
"""Namespace and name of a Webhook."""


@dataclass(frozen=True, slots=True)
class Rate:
    webhook: Key
    failed: int
    attempts: int
    p50_ms: float
    p99_ms: float
    waiting: int
    last_failure: str
    """Its reason, with the status if there was an answer; empty without."""


@dataclass(frozen=True, slots=True)
class _Made:
    at: datetime
    webhook: Key
    taken_ms: float
    failure: str


class Rates:
    """Of the last WINDOW_SECONDS."""

    def __init__(self) -> None:
        self._made: deque[_Made] = deque(maxlen=KEPT_ATTEMPTS)
        self._waiting: Counter[Key] = Counter()

    def attempt(self, found: Object) -> None:
        at = moment(found, "time")
        if at is None:
            return
        reason = text(found, "reason")
        failure = "" if reason == DELIVERED else text(found, "status") or reason
        self._made.append(_Made(at, _key(found), number(found, "durationMilliseconds") or 0.0, failure))

    def waits(self, deliveries: Iterable[Object]) -> None:
        """All that wait now."""
        self._waiting = Counter(_key(each) for each in deliveries)

    def at(self, now: datetime) -> list[Rate]:
        """Of each Webhook that was called or has deliveries waiting: those that fail most first, then the busiest."""
        begin = now - timedelta(seconds=WINDOW_SECONDS)
        while self._made and self._made[0].at < begin:
            self._made.popleft()
        made: dict[Key, list[_Made]] = {}
        for each in self._made:
            if each.at >= begin:
                made.setdefault(each.webhook, []).append(each)
        rates = [self._rate(key, made.get(key, [])) for key in made.keys() | self._waiting.keys()]
        return sorted(rates, key=lambda each: (-each.failed, -each.attempts, -each.waiting, each.webhook))

    def _rate(self, webhook: Key, made: Sequence[_Made]) -> Rate:
        taken = sorted(each.taken_ms for each in made)
        failures = [each.failure for each in made if each.failure]
        return Rate(
            webhook,
            len(failures),
            len(made),
            percentile(taken, 0.5),
            percentile(taken, 0.99),
            self._waiting[webhook],
            failures[-1] if failures else "",
        )


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share is not above; 0 of none."""
    return ascending[max(math.ceil(len(ascending) * share) - 1, 0)] if ascending else 0.0


def _key(found: Object) -> Key:
    return text(found, "metadata.namespace"), text(found, "webhook.name")
