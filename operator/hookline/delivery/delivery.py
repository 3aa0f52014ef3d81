"""What a delivery is: one event for one Webhook, as a stored message, as a call and as a dead letter. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hookline import __version__, events, signing
from hookline.delivery.answers import MAX_BODY_BYTES_KEPT
from hookline.delivery.attempt import Call, TlsMaterial
from hookline.events import Event
from hookline.redaction import redact
from hookline.retry import Outcome
from hookline.routes import Keys, Route
from hookline.stream import names
from hookline.stream.clock import stamp

SEQ_HEADER = "Hookline-Event-Seq"
ATTEMPT_HEADER = "Hookline-Attempt"
STORED_HEADER = "Hookline-Stored"
"""When the event was stored, by the server's clock: Unix time."""
FORMAT_HEADER = "Hookline-Format"
FORMAT = "1"
"""Of stored deliveries. One that does not say is of this format, and this version writes it so. A header of a later
version is passed over; one that must not be is of another format (docs/upgrades.md)."""
UNKNOWN_FORMAT = "UnknownFormat"
"""Why a delivery is on the shelf that only another version can read."""

WEBHOOK_GONE = "WebhookGone"
DELETED = f"{WEBHOOK_GONE}: the Webhook was deleted"
_LONGEST_TEXT = 1024
"""Characters of a reason or a detail that are kept. What a dead letter adds must fit into events.ROOM_BYTES."""

_LONGEST_TIME = 12
"""Digits: a longer one is no time, and no number that floats can take."""

USER_AGENT = f"Hookline/{__version__}"


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class Delivery:
    """One event for the Webhook `uid`. `event_seq` is its place in the stream EVENTS, `attempt` counts from 1.

    `stored_s` is when the event was stored, by the server's clock in Unix time; 0 when that is not known.
    """

    uid: str
    event: Event
    event_seq: int
    attempt: int = 1
    stored_s: int = 0

    @property
    def once(self) -> str:
        """Names this delivery among all: the same after every crash, and another one when EVENTS was made anew."""
        return f"{self.event_seq}.{self.stored_s}.{self.event.id}.{self.uid}"

    def next_attempt(self) -> Delivery:
        return replace(self, attempt=self.attempt + 1)

    def headers(self) -> dict[str, str]:
        headers = {
            **events.to_headers(self.event),
            SEQ_HEADER: str(self.event_seq),
            ATTEMPT_HEADER: str(self.attempt),
        }
        return {**headers, STORED_HEADER: str(self.stored_s)} if self.stored_s else headers


class MalformedDelivery(ValueError):
    """A message in the stream that is no delivery: somebody else wrote it."""


class UnknownFormat(Exception):
    """A delivery that another version of Hookline wrote, and only that one can read."""


def read(subject: str, headers: Mapping[str, str], body: bytes) -> Delivery:
    """The delivery that a stored message holds. Raises UnknownFormat, MalformedDelivery."""
    if headers.get(FORMAT_HEADER, FORMAT) != FORMAT and names.is_uid(names.uid_of(subject)):
        raise UnknownFormat(f"{subject}: its {FORMAT_HEADER} is not {FORMAT}, the one that this version reads")
    try:
        event = events.from_headers(headers, body)
        seq, attempt = int(headers[SEQ_HEADER]), int(headers[ATTEMPT_HEADER])
    except (KeyError, ValueError) as error:
        raise MalformedDelivery(f"{subject}: {error}") from None
    if attempt < 1 or not signing.valid_message_id(event.id):
        raise MalformedDelivery(f"{subject}: an attempt below 1, or an id that cannot be signed")
    return Delivery(names.uid_of(subject), event, seq, attempt, stored_s(headers))


def stored_s(headers: Mapping[str, str]) -> int:
    """When the event of a stored delivery was stored; 0 when it does not say so."""
    stored = headers.get(STORED_HEADER, "")
    return int(stored) if len(stored) <= _LONGEST_TIME and stored.isascii() and stored.isdigit() else 0


def event_of(subject: str, headers: Mapping[str, str], body: bytes, *, seq: int, stored_s: float) -> Event:
    """The event of a message in EVENTS, which any NATS client may have published.

    Tenant and type are what the subject says. A message without an id that can be signed gets one from its place in
    the stream, so that each repeat has the same; one without a time gets `stored_s`, when it was stored in Unix time.
    """
    tenant, event_type = names.event_of(subject)
    given = headers.get(events.ID_HEADER, "")
    event_id = given if signing.valid_message_id(given) else f"seq-{seq}"
    return Event(event_id, tenant, event_type, headers.get(events.TIME_HEADER) or stamp(stored_s), body)


def call(delivery: Delivery, route: Route, keys: Keys, *, now_s: float) -> Call:
    """The HTTP call of one attempt at `now_s`, Unix time. A fresh timestamp and signature each time."""
    event = delivery.event
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
        ("hookline-attempt", str(delivery.attempt)),
        *keys.headers,
    ]
    url = f"{route.url}?{keys.query}" if keys.query else route.url
    return Call(
        url=url,
        headers=headers,
        body=event.body,
        timeout_seconds=route.timeout_seconds,
        tls=tls_material(keys),
        tenant=route.namespace,
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery given up, with what is needed to understand and to replay it."""

    subject: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    once: str


def dead_letter(
    delivery: Delivery, reason: str, *, route: Route | None, keys: Keys | None, outcome: Outcome | None, failed_at: str
) -> DeadLetter:
    """`outcome` is the last attempt's, if there was one. Its answer is kept, but no secret that a receiver echoed."""
    headers = {**delivery.headers(), "Hookline-Reason": _one_line(reason), "Hookline-Failed-At": failed_at}
    if route is not None:
        headers["Hookline-Webhook"] = route.title
    if outcome is not None:
        cut = outcome.answer_is_cut or len(outcome.answer) >= MAX_BODY_BYTES_KEPT
        # Marks are longer than a short secret: what is kept must not grow.
        answer = redact(outcome.answer, keys.secrets() if keys else [], cut=cut)[:MAX_BODY_BYTES_KEPT]
        headers |= {
            "Hookline-Outcome": str(outcome.reason),
            "Hookline-Status": str(outcome.status or ""),
            "Hookline-Detail": _one_line(outcome.detail),
            "Hookline-Answer": base64.b64encode(answer).decode(),
        }
    tenant, uid = delivery.event.tenant, delivery.uid
    return DeadLetter(names.dead_subject(tenant, uid), headers, delivery.event.body, f"dead.{delivery.once}")


def unread_letter(
    subject: str, headers: Mapping[str, str], body: bytes, reason: str, *, failed_at: str, place: str
) -> DeadLetter:
    """The dead letter of a message that is no delivery of this version: all of it is kept, and where it was found.

    `place` names the message.
    """
    kept = as_stored(headers)
    kept |= {"Hookline-Reason": _one_line(reason), "Hookline-Failed-At": failed_at, "Hookline-Subject": subject}
    tenant, uid = headers.get(events.TENANT_HEADER, ""), subject.rpartition(".")[2]
    dead = names.dead_subject(
        tenant if events.valid_tenant(tenant) else names.UNREAD, uid if names.is_uid(uid) else names.UNREAD
    )
    return DeadLetter(dead, kept, body, f"dead.{place}")


def as_stored(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a message that is stored again as it is: without those that NATS itself acts on."""
    return {name: value for name, value in headers.items() if not name.startswith("Nats-")}


def later_token(delivery: Delivery) -> str:
    """One token of a subject, the same for the same delivery and attempt: a repeat after a crash replaces itself."""
    return hashlib.sha256(f"{delivery.once}.{delivery.attempt}".encode()).hexdigest()[:32]


def tls_material(keys: Keys) -> TlsMaterial | None:
    """What the TLS Secrets of a Webhook hold, if it names any."""
    if keys.ca_pem is None and keys.client_cert_pem is None:
        return None

    def encoded(text: str | None) -> bytes | None:
        return None if text is None else text.encode()

    return TlsMaterial(encoded(keys.ca_pem), encoded(keys.client_cert_pem), encoded(keys.client_key_pem))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_TEXT]
