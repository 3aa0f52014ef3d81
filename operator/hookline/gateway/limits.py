"""How much of the gateway a namespace may use at once, and all of them together. Pure: times come from the caller.

A request holds its place from its head to its answer, and memory for as much of its body as has come. Of both a
namespace has a bound of its own, so that one that sends slowly, or much, takes nothing from others.
"""

from __future__ import annotations

from dataclasses import dataclass

from hookline.gateway.problem import Kind, Refused, refuse
from hookline.serving.pace import Pace

_SOON_SECONDS = 1.0
"""When to come again, where it depends on how quickly others are done."""

MAX_NAMESPACES = 10_000
"""Whose rates are remembered. A rate that is forgotten was not exceeded lately."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one gateway process. Rates are those of a namespace; None is no bound. A second's worth may come at once."""

    requests: int = 2048
    body_bytes: int = 64 * 1024 * 1024
    requests_of_one: int = 256
    body_bytes_of_one: int = 16 * 1024 * 1024
    events_per_second: float | None = None
    bytes_per_second: float | None = None


class _Use:
    """What one namespace has at this moment."""

    __slots__ = ("body_bytes", "events", "rate_bytes", "requests")

    def __init__(self, bounds: Bounds) -> None:
        self.requests = 0
        self.body_bytes = 0
        self.events = _pace(bounds.events_per_second)
        self.rate_bytes = _pace(bounds.bytes_per_second)


class Limits:
    """Of one gateway process."""

    def __init__(self, bounds: Bounds = Bounds()) -> None:  # frozen
        self.bounds = bounds
        self.requests = 0
        self.body_bytes = 0
        self._uses: dict[str, _Use] = {}

    def begin(self, namespace: str, now_s: float) -> Place:
        """A place for one request. Raises Refused: TOO_MANY_REQUESTS, UNAVAILABLE when the gateway itself is full."""
        use = self._use(namespace)
        if use.requests >= self.bounds.requests_of_one:
            raise _too_many(
                f"this namespace has {use.requests} requests under way, as many as it may; send fewer at once"
            )
        if self.requests >= self.bounds.requests:
            raise _full()
        if use.events is not None:
            _check_rate(use.events, now_s, "events")
        if use.rate_bytes is not None:
            _check_rate(use.rate_bytes, now_s, "bytes")
        self.requests += 1
        use.requests += 1
        return Place(self, use, now_s)

    def _use(self, namespace: str) -> _Use:
        use = self._uses.pop(namespace, None) or _Use(self.bounds)
        self._uses[namespace] = use
        if len(self._uses) > MAX_NAMESPACES:
            # The one that was used longest ago of those that are not in use.
            idle = next((each for each, used in self._uses.items() if not used.requests and used is not use), None)
            if idle is not None:
                del self._uses[idle]
        return use


class Place:
    """Of one request, until `end`."""

    __slots__ = ("_began_s", "_bytes", "_limits", "_use")

    def __init__(self, limits: Limits, use: _Use, began_s: float) -> None:
        self._limits = limits
        self._use = use
        self._began_s = began_s
        self._bytes = 0

    def hold(self, more_bytes: int) -> None:
        """So much more of the body is in memory. Raises Refused."""
        bounds = self._limits.bounds
        if self._use.body_bytes + more_bytes > bounds.body_bytes_of_one:
            raise _too_many("the requests of this namespace that are under way are too large together")
        if self._limits.body_bytes + more_bytes > bounds.body_bytes:
            raise _full()
        self._bytes += more_bytes
        self._use.body_bytes += more_bytes
        self._limits.body_bytes += more_bytes

    def spend(self, events: int, body_bytes: int) -> None:
        """What this request takes of the rates of its namespace."""
        if self._use.events is not None:
            self._use.events.take(self._began_s, events)
        if self._use.rate_bytes is not None:
            self._use.rate_bytes.take(self._began_s, body_bytes)

    def end(self) -> None:
        self._limits.requests -= 1
        self._limits.body_bytes -= self._bytes
        self._use.requests -= 1
        self._use.body_bytes -= self._bytes


def _pace(per_second: float | None) -> Pace | None:
    """A second's worth may come at once. It may be overdrawn, by one request: how much that takes is known late."""
    return Pace(per_second, max(per_second, 1.0)) if per_second else None


def _check_rate(rate: Pace, now_s: float, of_what: str) -> None:
    """Raises Refused."""
    if (wait_seconds := rate.wait_seconds(now_s)) > 0:
        raise _too_many(f"this namespace has sent more {of_what} than it may in a second", wait_seconds)


def _too_many(detail: str, wait_seconds: float = _SOON_SECONDS) -> Refused:
    return refuse(Kind.TOO_MANY_REQUESTS, detail, retry_after_seconds=wait_seconds)


def _full() -> Refused:
    detail = "the gateway has as much under way as it can; send it again"
    return refuse(Kind.UNAVAILABLE, detail, retry_after_seconds=_SOON_SECONDS)
