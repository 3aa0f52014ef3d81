"""What changed between two route books, in words for a log. Pure.

Names Webhooks and kinds of change; never a URL's query, a key, a header or a certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hookline.routing.routes import Book, Keys, Route, RouteState

_STATES = {
    RouteState.ACTIVE: "is called",
    RouteState.HELD: "deliveries wait: paused, a Secret is missing or unfit, or it is not accepted",
    RouteState.DISABLED: "disabled",
}


@dataclass(frozen=True, slots=True)
class RouteChange:
    """What became of one Webhook."""

    webhook: str
    what: str


def changes(before: Book, now: Book) -> Iterator[RouteChange]:
    """Each Webhook that came, went or changed. Shards that are the same are not looked at."""
    for uid in _touched(before, now):
        was, is_now = before.route(uid), now.route(uid)
        if is_now is None:
            assert was is not None
            yield RouteChange(was.title, "removed")
        elif was is None:
            yield RouteChange(is_now.title, f"added: {_STATES[is_now.state]}")
        elif what := _differences(was, is_now, before.keys(uid), now.keys(uid)):
            yield RouteChange(is_now.title, what)


def _touched(before: Book, now: Book) -> list[str]:
    """Webhooks of shards that changed, each once: one that moves to another shard is in two."""
    found: dict[str, None] = {}
    for number in sorted(before.shards.keys() | now.shards.keys()):
        old, new = before.shards.get(number), now.shards.get(number)
        if old is not new:
            found |= dict.fromkeys(sorted({*(old.routes if old else ()), *(new.routes if new else ())}))
    return list(found)


def _differences(was: Route, route: Route, keys_before: Keys, keys: Keys) -> str:
    found = []
    if was.state is not route.state:
        found.append(_STATES[route.state])
    if was.event != route.event and route.event is not None:
        found.append(f"event is {route.event}")
    if (was.url, keys_before.query) != (route.url, keys.query):
        found.append(f"url is {route.url}")
    if keys_before.signing != keys.signing:
        found.append("signing key replaced" if keys_before.signing and keys.signing else "signing key set or removed")
    elif keys_before.retired != keys.retired:
        found.append("an old signing key signs no more")
    if keys_before.headers != keys.headers:
        found.append("headers changed")
    if _tls(keys_before) != _tls(keys):
        found.append("certificates changed")
    if _limits(was) != _limits(route):
        found.append("timeout, retries or limits changed")
    return "; ".join(found)


def _tls(keys: Keys) -> tuple[str | None, ...]:
    return keys.ca_pem, keys.client_cert_pem, keys.client_key_pem


def _limits(route: Route) -> tuple[object, ...]:
    return route.timeout_seconds, route.schedule_seconds, route.max_concurrency, route.rate_limit
