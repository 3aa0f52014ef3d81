"""What deliveries and dead letters are as messages: written and read here, and nowhere else.

Pure: it needs neither NATS nor an HTTP client. What is read, anybody on this NATS may have written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hookline.delivery.http.redaction import redact
from hookline.delivery.policy.retry import Outcome
from hookline.events import envelope
from hookline.events.context import context_of
from hookline.events.envelope import Event, stamp
from hookline.routing import signing
from hookline.routing.routes import Keys, Route
from hookline.stream import names

SEQ_HEADER = "Hookline-Event-Seq"
ATTEMPT_HEADER = "Hookline-Attempt"
STORED_HEADER = "Hookline-Stored"
"""When the event was stored, by the server's clock: Unix time."""
REPLAY_HEADER = "Hookline-Replay"
"""The name of the Replay that had it stored."""
REPLAYED_HEADER = "Hookline-Replayed"
"""When that was, Unix time in ms. Goes with the name before: together they tell it from what was delivered before."""
FORMAT_HEADER = "Hookline-Format"
FORMAT = "1"
"""Of stored deliveries. One that does not say is of this format, and this version writes it so. A header of a later
version is passed over; one that must not be is of another format (docs/upgrades.md)."""
UNKNOWN_FORMAT = "UnknownFormat"
"""Why a delivery is parked that only another version can read."""

REASON_HEADER = "Hookline-Reason"
"""Why it was given up: a word, mostly with a colon and a sentence behind it."""
FAILED_AT_HEADER = "Hookline-Failed-At"
WEBHOOK_HEADER = "Hookline-Webhook"
"""Namespace and name, if the Webhook was known."""
OUTCOME_HEADER = "Hookline-Outcome"
STATUS_HEADER = "Hookline-Status"
DETAIL_HEADER = "Hookline-Detail"
ANSWER_HEADER = "Hookline-Answer"
"""These four are of the last attempt, if there was one. The answer is in Base64."""
FOUND_AT_HEADER = "Hookline-Subject"
"""Where a message was found that could not be handled, and is kept as it was."""

WEBHOOK_GONE = "WebhookGone"
DELETED = f"{WEBHOOK_GONE}: the Webhook was deleted"
_LONGEST_TEXT = 1024
"""Characters of a reason or a detail that are kept. What a dead letter adds must fit into envelope.ROOM_BYTES."""

MAX_ANSWER_BYTES = 1024
"""Of an answer, in a dead letter: it stands in a header, and headers have little room (envelope.ROOM_BYTES). The
attempts log keeps more of it."""

_LONGEST_TIME, _LONGEST_TIME_MS = 12, 15
"""Digits: a longer one is no time, and no number that floats can take."""

_REPLAY = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""Names of Kubernetes objects, nearly: what can stand in a header and in the name of a message."""

_STATUS_DIGITS = 3


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class Delivery:
    """One event for the Webhook `uid`. `event_seq` is its place in the stream EVENTS, `attempt` counts from 1.

    `stored_s` is when the event was stored, by the server's clock in Unix time; 0 when that is not known. `replay` is
    the name of what had it delivered once more, at `replayed_ms`; empty of what is delivered for the first time.
    """

    uid: str
    event: Event
    event_seq: int
    attempt: int = 1
    stored_s: int = 0
    replay: str = ""
    replayed_ms: int = 0

    @property
    def once(self) -> str:
        """Names this delivery among all: the same after every crash, and another one when EVENTS was made anew, or when
        it is replayed. Else NATS would take a dead letter of the replay for the one that was replayed, and drop it."""
        once = f"{self.event_seq}.{self.stored_s}.{self.event.id}.{self.uid}"
        return f"{once}.{self.replay}.{self.replayed_ms}" if self.replay else once

    def next_attempt(self) -> Delivery:
        return replace(self, attempt=self.attempt + 1)

    def headers(self) -> dict[str, str]:
        headers = {
            **envelope.to_headers(self.event),
            SEQ_HEADER: str(self.event_seq),
            ATTEMPT_HEADER: str(self.attempt),
        }
        if self.stored_s:
            headers[STORED_HEADER] = str(self.stored_s)
        if self.replay:
            headers |= {REPLAY_HEADER: self.replay, REPLAYED_HEADER: str(self.replayed_ms)}
        return headers


class MalformedDelivery(ValueError):
    """A message in the stream that is no delivery: somebody else wrote it."""


class UnknownFormat(Exception):
    """A delivery that another version of Hookline wrote, and only that one can read."""


def read(subject: str, headers: Mapping[str, str], body: bytes) -> Delivery:
    """The delivery that a stored message holds. Raises UnknownFormat, MalformedDelivery."""
    if headers.get(FORMAT_HEADER, FORMAT) != FORMAT and names.is_uid(names.uid_of(subject)):
        raise UnknownFormat(f"{subject}: its {FORMAT_HEADER} is not {FORMAT}, the one that this version reads")
    try:
        event = envelope.from_headers(headers, body)
        seq, attempt = int(headers[SEQ_HEADER]), int(headers[ATTEMPT_HEADER])
    except (KeyError, ValueError) as error:
        raise MalformedDelivery(f"{subject}: {error}") from None
    if attempt < 1 or not signing.valid_message_id(event.id):
        raise MalformedDelivery(f"{subject}: an attempt below 1, or an id that cannot be signed")
    return Delivery(names.uid_of(subject), event, seq, attempt, stored_s(headers), *_replay_of(headers))


def stored_s(headers: Mapping[str, str]) -> int:
    """When the event of a stored delivery was stored; 0 when it does not say so."""
    return _time(headers.get(STORED_HEADER, ""), _LONGEST_TIME)


def began_s(headers: Mapping[str, str]) -> float:
    """When a stored delivery began to be one, Unix time: its event's time, or when it was replayed. 0 when it does not
    say so. What is replayed has its whole schedule before it, however old its event is."""
    replay, replayed_ms = _replay_of(headers)
    return replayed_ms / 1000 if replay else stored_s(headers)


def _replay_of(headers: Mapping[str, str]) -> tuple[str, int]:
    """The name of the Replay and when, Unix time in ms; of what has no such name nothing."""
    if REPLAY_HEADER not in headers:
        return "", 0
    replay, replayed_ms = headers[REPLAY_HEADER], _time(headers.get(REPLAYED_HEADER, ""), _LONGEST_TIME_MS)
    return (replay, replayed_ms) if _REPLAY.fullmatch(replay) is not None else ("", 0)


def _time(text: str, longest: int) -> int:
    return int(text) if len(text) <= longest and text.isascii() and text.isdigit() else 0


def event_of(subject: str, headers: Mapping[str, str], body: bytes, *, seq: int, stored_s: float) -> Event:
    """The event of a message in EVENTS, which any NATS client may have published.

    Tenant and type are what the subject says. A message without an id that can be signed gets one from its place in
    the stream, so that each repeat has the same; one without a time gets `stored_s`, when it was stored in Unix time.
    """
    tenant, event_type = names.event_of(subject)
    given = headers.get(envelope.ID_HEADER, "")
    event_id = given if signing.valid_message_id(given) else f"seq-{seq}"
    time = headers.get(envelope.TIME_HEADER) or stamp(stored_s)
    return Event(event_id, tenant, event_type, time, body, context_of(headers))


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be stored. `once` is its name, by which NATS knows a repeat."""

    subject: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    once: str


def dead_letter(
    delivery: Delivery, reason: str, *, route: Route | None, keys: Keys | None, outcome: Outcome | None, failed_at: str
) -> Message:
    """A delivery given up, with what is needed to understand and to replay it.

    `outcome` is the last attempt's, if there was one. Its answer is kept, but no secret that a receiver echoed.
    """
    headers = {**delivery.headers(), REASON_HEADER: _one_line(reason), FAILED_AT_HEADER: failed_at}
    if route is not None:
        headers[WEBHOOK_HEADER] = route.title
    if outcome is not None:
        cut = outcome.answer_is_cut or len(outcome.answer) > MAX_ANSWER_BYTES
        # Marks are longer than a short secret: what is kept must not grow.
        beginning = outcome.answer[:MAX_ANSWER_BYTES]
        answer = redact(beginning, keys.secrets() if keys else [], cut=cut)[:MAX_ANSWER_BYTES]
        headers |= {
            OUTCOME_HEADER: str(outcome.reason),
            STATUS_HEADER: str(outcome.status or ""),
            DETAIL_HEADER: _one_line(outcome.detail),
            ANSWER_HEADER: base64.b64encode(answer).decode(),
        }
    tenant, uid = delivery.event.tenant, delivery.uid
    return Message(names.dead_subject(tenant, uid), headers, delivery.event.body, f"dead.{delivery.once}")


def unread_letter(
    subject: str, headers: Mapping[str, str], body: bytes, reason: str, *, failed_at: str, place: str
) -> Message:
    """The dead letter of a message that could not be handled: all of it is kept, and where it was found.

    `place` names the message.
    """
    kept = as_stored(headers)
    kept |= {REASON_HEADER: _one_line(reason), FAILED_AT_HEADER: failed_at, FOUND_AT_HEADER: subject}
    tenant, uid = headers.get(envelope.TENANT_HEADER, ""), subject.rpartition(".")[2]
    dead = names.dead_subject(
        tenant if envelope.valid_tenant(tenant) else names.UNREAD, uid if names.is_uid(uid) else names.UNREAD
    )
    return Message(dead, kept, body, f"dead.{place}")


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """How the last attempt of a dead letter ended."""

    outcome: str
    """A word of retry.Reason, or one that only another version knows."""
    status: int | None
    detail: str
    answer: bytes = field(repr=False)
    """The beginning of the receiver's answer."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What a message in DEAD says. What it does not say is empty."""

    tenant: str
    uid: str
    """Of the Webhook."""
    webhook: str
    """Its namespace and name, if it was known."""
    event_id: str
    delivery: Delivery | None
    """What is to be replayed; None of a message that is no delivery, or one that this version cannot read."""
    reason: str
    """Why it was given up: a word, mostly with a colon and a sentence behind it."""
    failed_at: str
    last_attempt: LastAttempt | None
    """None if it was given up without one, such as after its Webhook was deleted."""
    found_at: str
    """The subject of a message that could not be handled and is kept as it was; empty of a delivery given up."""
    headers: Mapping[str, str] = field(repr=False)
    """All, also those that only another version knows."""
    body: bytes = field(repr=False)

    @property
    def word(self) -> str:
        """The reason without its sentence."""
        return self.reason.partition(":")[0]


def read_dead_letter(subject: str, headers: Mapping[str, str], body: bytes) -> DeadLetter:
    """What a message in DEAD says. Never raises, whatever the message holds."""
    tenant, uid = names.of_dead(subject)
    found_at = headers.get(FOUND_AT_HEADER, "")
    if names.stream_of(found_at) == names.EVENTS:
        # Its last token is one of the event's type.
        uid = ""
    return DeadLetter(
        tenant=tenant,
        uid=uid,
        webhook=headers.get(WEBHOOK_HEADER, ""),
        event_id=headers.get(envelope.ID_HEADER, ""),
        delivery=_read_if_any(subject, headers, body) if uid else None,
        reason=headers.get(REASON_HEADER, ""),
        failed_at=headers.get(FAILED_AT_HEADER, ""),
        last_attempt=_last_attempt(headers),
        found_at=found_at,
        headers=headers,
        body=body,
    )


def _read_if_any(subject: str, headers: Mapping[str, str], body: bytes) -> Delivery | None:
    try:
        return read(subject, headers, body)
    except (MalformedDelivery, UnknownFormat):
        return None


def _last_attempt(headers: Mapping[str, str]) -> LastAttempt | None:
    outcome, status = headers.get(OUTCOME_HEADER, ""), headers.get(STATUS_HEADER, "")
    if not outcome:
        return None
    try:
        answer = base64.b64decode(headers.get(ANSWER_HEADER, ""), validate=True)
    except (ValueError, binascii.Error):
        answer = b""
    known = len(status) == _STATUS_DIGITS and status.isascii() and status.isdigit()
    return LastAttempt(outcome, int(status) if known else None, headers.get(DETAIL_HEADER, ""), answer)


def as_stored(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a message that is stored again as it is: without those that NATS itself acts on, and those that
    cannot be written again. With one of these it could never be stored, and would come again for ever."""
    return {name: value for name, value in headers.items() if not name.startswith("Nats-") and names.is_header(name)}


def later_token(delivery: Delivery) -> str:
    """One token of a subject, the same for the same delivery and attempt: a repeat after a crash replaces itself."""
    return hashlib.sha256(f"{delivery.once}.{delivery.attempt}".encode()).hexdigest()[:32]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_TEXT]
