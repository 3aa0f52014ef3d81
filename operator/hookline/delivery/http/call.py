"""What one call is: where it goes, what it carries, whom it trusts. Pure: sends nothing, needs no HTTP client."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from hookline import __version__
from hookline.events.envelope import Event
from hookline.routing import signing
from hookline.routing.routes import Keys, Route
from hookline.runtime.telemetry import is_traceparent

_TRACEPARENT = "traceparent"
"""Of W3C Trace Context."""

_MATERIALS_KEPT, _KEPT_CHARACTERS = 1024, 16 * 1024
"""How many are remembered, and how long they are at most: the largest take 96 KiB each, besides what the book has."""

USER_AGENT = f"Hookline/{__version__}"


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What a Webhook's TLS Secrets hold, as PEM. `ca_pem` replaces the system's authorities for this Webhook."""

    ca_pem: bytes | None = field(default=None, repr=False)
    client_cert_pem: bytes | None = field(default=None, repr=False)
    client_key_pem: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class Call:
    """One POST. `headers` are all headers but Host and Content-Length; a Host among them changes that header only.

    `timeout_seconds` bounds the whole call, from the name lookup to the last byte of the answer. No connection carries
    calls of two tenants.
    """

    url: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    timeout_seconds: float
    tls: TlsMaterial | None = None
    tenant: str = ""


def call_of(
    event: Event,
    attempt: int,
    route: Route,
    keys: Keys,
    *,
    now_s: float,
    replay: str = "",
    test: bool = False,
    traceparent: str = "",
) -> Call:
    """The call of one attempt, counted from 1, at `now_s`, Unix time. A fresh timestamp and signature each time.

    `replay` is the name of what asked for it once more, if anything did; a `test` says that it is one.
    `traceparent` names the span of this call, if there is one; else the receiver is told the one that the event has.
    """
    signed = signing.standard_headers(
        message_id=event.id,
        timestamp_s=int(now_s),
        body=event.body,
        keys=[signing.key_of(key) for key in keys.signing_at(now_s)],
    )
    headers = [
        ("content-type", "application/json"),
        ("user-agent", USER_AGENT),
        *signed.items(),
        ("hookline-event-type", event.type),
        ("hookline-tenant", event.tenant),
        ("hookline-attempt", str(attempt)),
        *([("hookline-replay", replay)] if replay else []),
        *([("hookline-test", "true")] if test else []),
        *keys.headers,
    ]
    if event.context or traceparent:
        headers += _trace(traceparent or event.context.get(_TRACEPARENT, ""), keys)
    return Call(
        url=f"{route.url}?{keys.query}" if keys.query else route.url,
        headers=headers,
        body=event.body,
        timeout_seconds=route.timeout_seconds,
        tls=tls_material(keys),
        tenant=route.namespace,
    )


def shown_headers(
    event_id: str,
    event_type: str,
    attempt: int,
    route: Route,
    keys: Keys,
    *,
    now_s: float,
    replay: str = "",
    test: bool = False,
) -> dict[str, str]:
    """The headers of `call_of` for people: of those that hold a secret, or are made of one, the names alone."""
    signed = {"webhook-signature": ""} if keys.signing else {}
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now_s)),
        **signed,
        "hookline-event-type": event_type,
        "hookline-tenant": route.namespace,
        "hookline-attempt": str(attempt),
        **({"hookline-replay": replay} if replay else {}),
        **({"hookline-test": "true"} if test else {}),
        **{name: "" for name, _ in keys.headers},
    }


def _trace(traceparent: str, keys: Keys) -> list[tuple[str, str]]:
    """Anybody may have written it. What the Webhook itself sends under this name counts."""
    if not is_traceparent(traceparent) or any(name.lower() == _TRACEPARENT for name, _ in keys.headers):
        return []
    return [(_TRACEPARENT, traceparent)]


def tls_material(keys: Keys) -> TlsMaterial | None:
    """What the TLS Secrets of a Webhook hold, if it names any."""
    if keys.ca_pem is None and keys.client_cert_pem is None:
        return None
    texts = (keys.ca_pem, keys.client_cert_pem, keys.client_key_pem)
    is_small = sum(len(text) for text in texts if text is not None) <= _KEPT_CHARACTERS
    return _remembered(*texts) if is_small else _material(*texts)


def forget_materials() -> None:
    """Those that are remembered: what left the book is not kept."""
    _remembered.cache_clear()


def _material(*texts: str | None) -> TlsMaterial:
    return TlsMaterial(*(None if text is None else text.encode() for text in texts))


_remembered = functools.lru_cache(maxsize=_MATERIALS_KEPT)(_material)
"""Each call looks its context up by this. Texts know their hash by then, bytes that were just made do not."""
