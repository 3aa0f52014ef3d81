"""The record of one attempt, as the attempts log keeps it: written and read here, and nowhere else. Pure.

A message of the stream HOOKLINE_ATTEMPTS is a batch of one Webhook's records, by one sender: lines of JSON. The first
is a whole record; each further line says what differs from the first, as a merge patch does (RFC 7396): null stands for
what it has not. Attempts of one Webhook have most in common, so that a line takes 150 to 300 bytes and not 800.

Its subject says the tenant and the Webhook's uid, its headers the Webhook's name, the sender and the format. What a
line does not say is as the field's default; what only another version knows is passed over. Anybody on this NATS may
have written it: what cannot be read is left out, and texts that are read are printable and bounded.

Beside them are counts of events that no Webhook heard, a line for each type, under a subject of their own.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import orjson

FORMAT_HEADER = "Hookline-Format"
FORMAT = "1"
"""Of a batch. One that does not say is of this format."""
WEBHOOK_HEADER = "Hookline-Webhook"
"""Namespace and name."""
SENDER_HEADER = "Hookline-Sender"

MAX_ANSWER_BYTES = 16 * 1024
"""Of an answer's body. A dead letter keeps less, since it must fit into headers."""

MAX_BATCH_RECORDS = 64
"""A reader passes over what a batch has beyond twice as many."""

TIMESTAMP = "webhook-timestamp"

NOTED_SECONDS = 6.0
"""How long after a call its line may be on its way into the log, and not be there: senders write it within five
(delivery/attempts_log)."""

WORD_CHARACTERS, TEXT_CHARACTERS = 256, 2048
"""Of a word such as a reason, an id or a name, and of a sentence: how much of each is told."""

_MOST_HEADERS = 256
"""A Webhook may add 64 of its own (see resources/webhook)."""
_LATEST_S = 1e11
_LONGEST_S = 1e7
_LARGEST = 2**63
_OBJECTS = ("phases_s", "request_headers", "answer_headers")
_PARTS = (*_OBJECTS, "answer", "answer_base64")
PHASES = ("lookup", "connect", "tls", "first_byte")


@dataclass(slots=True)  # not frozen, though nothing changes it: made for each call, at a quarter of the cost
class AttemptRecord:
    """One HTTP call of a delivery. Times are Unix time by the clock of NATS, bodies and headers without secrets."""

    event_id: str
    event_type: str
    at_s: float
    """When the call began."""
    attempt: int
    """Counts from 1."""
    reason: str
    """How it ended: a word of retry.Reason, or one that only another version knows."""
    status: int | None = None
    """None when no answer came."""
    detail: str = ""
    url: str = ""
    """Without its query."""
    event_seq: int = 0
    """The event's place in EVENTS; 0 of a test."""
    duration_s: float = 0.0
    phases_s: Mapping[str, float] = field(default_factory=dict)
    """How long lookup, connect, tls and first_byte took; without those that a kept connection spared."""
    request_headers: Mapping[str, str] = field(default_factory=dict)
    """A value that may be secret is empty."""
    request_bytes: int = 0
    """Of the event's body."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer_bytes: int = 0
    """Of its body, as far as it was read."""
    answer: bytes = field(default=b"", repr=False)
    """Its first 16 KiB. Less, or nothing, where there was too much to look through for secrets."""
    follows: str = ""
    """Done, Retry, Dead, Parked of a probe whose delivery waits on, or Again of a call that comes once more, since what
    follows could not be stored."""
    next_at_s: float | None = None
    """When the next attempt is due, if one is."""
    probe: bool = False
    """Of an endpoint that was failing."""
    test: bool = False
    replay: str = ""
    """The Replay that asked for it."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """So many events of one type that no Webhook heard, counted up to a moment, Unix time."""

    event_type: str
    """Empty of types beyond those that a sender counts one by one."""
    count: int
    at_s: float


def encode(records: Sequence[AttemptRecord]) -> bytes:
    """A batch of one Webhook's records, oldest first: at least one."""
    batch = Batch(records[0])
    for record in records[1:]:
        batch.add(record)
    return batch.body()


class Batch:
    """Records of one Webhook, as they become lines: oldest first."""

    def __init__(self, first: AttemptRecord) -> None:
        self._first = first
        self._whole = _whole(first)
        self._plain = _plain(first)
        self._lines = [orjson.dumps(self._whole)]

    def add(self, record: AttemptRecord) -> None:
        self._lines.append(orjson.dumps(_difference(self._whole, self._plain, record)))

    def add_like_first(
        self,
        *,
        event_id: str,
        at_s: float,
        event_seq: int,
        duration_s: float,
        phases_s: Mapping[str, float],
        request_bytes: int,
        timestamp: str,
        answer_headers: Mapping[str, str],
    ) -> None:
        """One that differs from the first in nothing else, as most do: at a third of the cost. `timestamp` is that of
        its request's headers."""
        first = self._first
        line: dict[str, Any] = {"event_id": event_id, "at_s": at_s, "event_seq": event_seq, "duration_s": duration_s}
        if phases_s != first.phases_s:
            line["phases_s"] = phases_s if not first.phases_s else _patch(first.phases_s, phases_s)
        if request_bytes != first.request_bytes:
            line["request_bytes"] = request_bytes
        if timestamp != first.request_headers.get(TIMESTAMP):
            line["request_headers"] = {TIMESTAMP: timestamp}
        if answer_headers != first.answer_headers:
            before = first.answer_headers
            line["answer_headers"] = _patch(before, answer_headers) if before else answer_headers
        self._lines.append(orjson.dumps(line))

    def body(self) -> bytes:
        return b"\n".join(self._lines)


_DEFAULTS: Mapping[str, Any] = {
    "event_id": None,
    "event_type": None,
    "at_s": None,
    "attempt": None,
    "reason": None,
    "status": None,
    "detail": "",
    "url": "",
    "event_seq": 0,
    "duration_s": 0.0,
    "request_bytes": 0,
    "answer_bytes": 0,
    "follows": "",
    "next_at_s": None,
    "probe": False,
    "test": False,
    "replay": "",
}
"""Fields that are written as they are, and what need not be."""
_plain = attrgetter(*_DEFAULTS)


def _whole(record: AttemptRecord) -> dict[str, Any]:
    """As it stands in the first line."""
    fields = zip(_DEFAULTS.items(), _plain(record), strict=True)
    return {name: value for (name, default), value in fields if value != default} | _parts(record)


def _parts(record: AttemptRecord) -> dict[str, Any]:
    """What has parts of its own, and the answer."""
    found: dict[str, Any] = {}
    if record.phases_s:
        found["phases_s"] = record.phases_s
    if record.request_headers:
        found["request_headers"] = headers = dict[str, str | bool](record.request_headers)
        for name, value in _own(record.event_id, record.attempt):
            if headers.get(name) == value:
                headers[name] = True
    if record.answer_headers:
        found["answer_headers"] = record.answer_headers
    if record.answer:
        found |= _answer(record.answer)
    return found


def _own(event_id: str, attempt: int) -> tuple[tuple[str, str], ...]:
    """Headers whose values stand in the record already: true stands for them."""
    return ("webhook-id", event_id), ("hookline-attempt", str(attempt))


def _answer(body: bytes) -> dict[str, str]:
    """As text where it is such, which nearly every answer is."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"answer_base64": base64.b64encode(body).decode()}
    # JSON takes six characters for a control character.
    if not text.isprintable() and sum(each < " " for each in text) > len(text) // 16 + 16:
        return {"answer_base64": base64.b64encode(body).decode()}
    return {"answer": text}


def _difference(first: Mapping[str, Any], plain: Sequence[Any], other: AttemptRecord) -> dict[str, Any]:
    """What makes `other` of the first record (RFC 7396), which has these plain fields."""
    found: dict[str, Any] = {}
    for (name, default), mine, theirs in zip(_DEFAULTS.items(), plain, _plain(other), strict=True):
        if mine != theirs:
            found[name] = None if theirs == default else theirs
    parts = _parts(other)
    for name in _PARTS:
        before, after = first.get(name), parts.get(name)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found[name] = _patch(before, after)
        else:
            found[name] = after
    return found


def _patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in after.items() if before.get(key) != value}
    if before.keys() != after.keys():
        found |= {key: None for key in before if key not in after}
    return found


def decode(body: bytes, *, whole: bool = True) -> list[AttemptRecord]:
    """The records of a batch, oldest first; without headers, phases and answers if not `whole`, at half the cost.

    Never raises: lines that are none are left out, with all that say what differs from such a one.
    """
    first: dict[str, Any] | None = None
    found: list[AttemptRecord] = []
    for line in body.split(b"\n", 2 * MAX_BATCH_RECORDS)[: 2 * MAX_BATCH_RECORDS]:
        said = _object(line)
        if said is None:
            continue
        if first is None:
            first = said
        else:
            said = _merged(first, said) if whole else {**first, **said}
        record = _read(said, whole=whole)
        if record is not None:
            found.append(record)
    return found


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(line)
    except (orjson.JSONDecodeError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _merged(first: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    found = {**first, **patch}
    for name in _OBJECTS:
        mine, theirs = first.get(name), patch.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            found[name] = {**mine, **theirs}
    return found


def _read(said: Mapping[str, Any], *, whole: bool) -> AttemptRecord | None:
    """What a line says; None when it does not say which attempt it is."""
    event_id, attempt = _text(said.get("event_id"), WORD_CHARACTERS), _count(said.get("attempt"))
    reason, at_s = _text(said.get("reason"), WORD_CHARACTERS), _seconds(said.get("at_s"), _LATEST_S)
    if not event_id or not attempt or not reason or at_s is None:
        return None
    status = _count(said.get("status"))
    record = AttemptRecord(
        event_id=event_id,
        event_type=_text(said.get("event_type"), WORD_CHARACTERS),
        at_s=at_s,
        attempt=attempt,
        reason=reason,
        status=status if 100 <= status <= 999 else None,
        detail=_text(said.get("detail"), TEXT_CHARACTERS),
        url=_text(said.get("url"), TEXT_CHARACTERS),
        event_seq=_count(said.get("event_seq")),
        duration_s=_seconds(said.get("duration_s"), _LONGEST_S) or 0.0,
        request_bytes=_count(said.get("request_bytes")),
        answer_bytes=_count(said.get("answer_bytes")),
        follows=_text(said.get("follows"), WORD_CHARACTERS),
        next_at_s=_seconds(said.get("next_at_s"), _LATEST_S),
        probe=said.get("probe") is True,
        test=said.get("test") is True,
        replay=_text(said.get("replay"), WORD_CHARACTERS),
    )
    if whole:
        record.phases_s = _phases(said.get("phases_s"))
        record.request_headers = _headers(said.get("request_headers"), dict(_own(event_id, attempt)))
        record.answer_headers = _headers(said.get("answer_headers"), {})
        record.answer = _answer_of(said)
    return record


def with_marks(text: str) -> str:
    """With a mark in place of what a terminal would act on, and of what is no text."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def _text(value: object, longest: int) -> str:
    return with_marks(value[:longest]) if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else 0


def _seconds(value: object, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= most else None


def _phases(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    read = {phase: _seconds(value.get(phase), _LONGEST_S) for phase in PHASES}
    return {phase: seconds for phase, seconds in read.items() if seconds is not None}


def _headers(value: object, own: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    found: dict[str, str] = {}
    for name, said in value.items():
        if said is True and name in own:
            said = own[name]
        if isinstance(said, str) and name and len(found) < _MOST_HEADERS:
            found[_text(name, WORD_CHARACTERS)] = _text(said, TEXT_CHARACTERS)
    return found


def _answer_of(said: Mapping[str, Any]) -> bytes:
    text, encoded = said.get("answer"), said.get("answer_base64")
    if isinstance(text, str):
        return text.encode()[:MAX_ANSWER_BYTES]
    if isinstance(encoded, str):
        try:
            return base64.b64decode(encoded, validate=True)[:MAX_ANSWER_BYTES]
        except (ValueError, binascii.Error):
            return b""
    return b""


def encode_unheard(counts: Iterable[Unheard]) -> bytes:
    """Lines for the subject `names.unheard_subject`."""
    return b"\n".join(
        orjson.dumps({"type": each.event_type, "count": each.count, "at_s": each.at_s}) for each in counts
    )


def decode_unheard(body: bytes) -> list[Unheard]:
    """What `encode_unheard` wrote. Never raises: lines that are none are left out."""
    said = [each for line in body.split(b"\n") if (each := _object(line)) is not None]
    read = [(_text(each.get("type"), WORD_CHARACTERS), _count(each.get("count")), each.get("at_s")) for each in said]
    found = [(type_, count, _seconds(at_s, _LATEST_S)) for type_, count, at_s in read]
    return [Unheard(type_, count, at_s) for type_, count, at_s in found if count and at_s is not None]
