"""Makes of an attempt what is written of it: its record, in which nothing of a secret is left.

Decides what is kept of a request and of an answer, and how much may be looked through for secrets. Never writes it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from hookline.delivery.http.answer_headers import HeadReader
from hookline.delivery.http.call import shown_headers
from hookline.delivery.http.redaction import QUICK_LENGTH, Redactor, redact
from hookline.delivery.policy.retry import Outcome
from hookline.routing.routes import Keys, Route
from hookline.stream.attempt_record import MAX_ANSWER_BYTES, AttemptRecord, Batch

ANSWER_BYTES_PER_SECOND, MOST_ANSWER_BYTES = 512 * 1024, 2 * 1024 * 1024
"""Of answers, what is looked through for secrets: a byte takes 40 ns. What is left over from a quiet time may be used
up at once."""
ECHO_FACTOR = 50
"""A text that holds a secret, or may, takes so many times as long as one that does not."""

_KNOWN_BYTES, _KNOWN_BYTES_EACH = 48 * 1024 * 1024, 3 * 1024
"""Of what is looked for in answers, and of headers that came before, of all Webhooks together and roughly of one."""


@dataclass(slots=True)
class Noted:
    """What waits of an attempt to be written: not the event's body."""

    event_id: str
    event_type: str
    event_seq: int
    body_bytes: int
    attempt: int
    route: Route
    keys: Keys = field(repr=False)
    outcome: Outcome
    at_s: float
    called_s: float
    follows: str
    next_at_s: float | None
    probe: bool = False
    test: bool = False
    replay: str = ""


class AnswerAllowance:
    """How many bytes of answers may be looked through. Time is the caller's monotonic clock. Pure."""

    def __init__(self) -> None:
        self._left = float(MOST_ANSWER_BYTES)
        self._at_s = 0.0

    def take(self, size: int, now_s: float, *, share: float = 1.0) -> bool:
        """Whether so many may be, if they are no more than a share of what is left."""
        self._left = min(MOST_ANSWER_BYTES, self._left + (now_s - self._at_s) * ANSWER_BYTES_PER_SECOND)
        self._at_s = now_s
        if size > self._left * share:
            return False
        self._left -= size
        return True


class Recorder:
    """Makes records of what was noted. Remembers of each Webhook what is looked for, and its last headers."""

    def __init__(self, allowance: AnswerAllowance | None = None) -> None:
        self._allowance = allowance or AnswerAllowance()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._bytes = 0

    def batch(self, notes: Sequence[Noted]) -> bytes:
        """Of one Webhook."""
        first = notes[0]
        batch, known = Batch(self.record(first)), self._of(first.keys)
        for note in notes[1:]:
            if not _is_like(first, note):
                batch.add(self.record(note))
                continue
            outcome = note.outcome
            batch.add_like_first(
                event_id=note.event_id,
                at_s=round(note.at_s, 3),
                event_seq=note.event_seq,
                duration_s=round(outcome.duration_seconds, 4),
                phases_s={phase: round(seconds, 4) for phase, seconds in outcome.phases_s.items()},
                request_bytes=note.body_bytes,
                timestamp=str(int(note.called_s)),
                answer_headers=self._headers(outcome, known),
            )
        return batch.body()

    def batches(self, notes: Sequence[Noted], most_bytes: int) -> list[tuple[bytes, int]]:
        """Of one Webhook, and of how many of the notes each is. Answers that fit into none are left out."""
        body = self.batch(notes)
        if len(body) <= most_bytes:
            return [(body, len(notes))]
        if len(notes) > 1:
            half = len(notes) // 2
            return [*self.batches(notes[:half], most_bytes), *self.batches(notes[half:], most_bytes)]
        (note,) = notes
        if note.outcome.answer:
            return self.batches([replace(note, outcome=replace(note.outcome, answer=b""))], most_bytes)
        return [(body, 1)]

    def record(self, note: Noted) -> AttemptRecord:
        outcome, route = note.outcome, note.route
        known = self._of(note.keys)
        return AttemptRecord(
            event_id=note.event_id,
            event_type=note.event_type,
            at_s=round(note.at_s, 3),
            attempt=note.attempt,
            reason=str(outcome.reason),
            status=outcome.status,
            detail=outcome.detail,
            url=route.url,
            event_seq=note.event_seq,
            duration_s=round(outcome.duration_seconds, 4),
            phases_s={phase: round(seconds, 4) for phase, seconds in outcome.phases_s.items()},
            request_headers=shown_headers(
                note.event_id,
                note.event_type,
                note.attempt,
                route,
                note.keys,
                now_s=note.called_s,
                replay=note.replay,
                test=note.test,
            ),
            request_bytes=note.body_bytes,
            answer_headers=self._headers(outcome, known),
            answer_bytes=outcome.answer_bytes,
            answer=self._answer(outcome, known) if outcome.answer else b"",
            follows=note.follows,
            next_at_s=None if note.next_at_s is None else round(note.next_at_s, 3),
            probe=note.probe,
            test=note.test,
            replay=note.replay,
        )

    def takes_long(self, notes: Sequence[Noted]) -> bool:
        """Whether others should not wait for the batch."""
        known = self._of(notes[0].keys)
        for note in notes:
            if note.keys is not known.keys:
                known = self._of(note.keys)
            answer, head = note.outcome.answer, note.outcome.answer_head
            if not (known.is_large or len(answer) > QUICK_LENGTH or len(head) > QUICK_LENGTH):
                continue
            if not all(map(known.redactor.is_clean, (answer, head))):
                return True
        return False

    def _headers(self, outcome: Outcome, known: _Known) -> Mapping[str, str]:
        return known.heads.read(outcome.answer_head, partial(self._may_redact, known)) if outcome.answer_head else {}

    def _answer(self, outcome: Outcome, known: _Known) -> bytes:
        answer, cut = outcome.answer, outcome.answer_is_cut
        if not cut and known.redactor.is_clean(answer):
            return answer
        return (
            redact(answer, known.redactor.secrets, cut=cut)[:MAX_ANSWER_BYTES]
            if self._may_redact(known, answer)
            else b""
        )

    def _may_redact(self, known: _Known, text: bytes) -> bool:
        size = len(text) + sum(map(len, known.redactor.secrets)) // 8
        return self._allowance.take(size * ECHO_FACTOR, time.monotonic())

    def _of(self, keys: Keys) -> _Known:
        known = self._known.get(keys.uid)
        if known is not None and (known.keys is keys or known.keys == keys):
            self._known.move_to_end(keys.uid)
            return known
        if known is not None:
            self._bytes -= known.bytes
        known = self._known[keys.uid] = _Known(keys)
        self._known.move_to_end(keys.uid)
        self._bytes += known.bytes
        while self._bytes > _KNOWN_BYTES and len(self._known) > 1:
            _, dropped = self._known.popitem(last=False)
            self._bytes -= dropped.bytes
        return known


def _is_like(first: Noted, note: Noted) -> bool:
    """Whether its record differs from the first in nothing but what most do."""
    one, other = first.outcome, note.outcome
    return (
        note.route is first.route
        and note.keys is first.keys
        and other.reason is one.reason
        and other.status == one.status
        and other.detail == one.detail
        and other.answer == one.answer
        and other.answer_bytes == one.answer_bytes
        and other.answer_is_cut == one.answer_is_cut
        and note.event_type == first.event_type
        and note.attempt == first.attempt
        and note.follows == first.follows
        and note.next_at_s == first.next_at_s
        and note.probe == first.probe
        and note.test == first.test
        and note.replay == first.replay
    )


class _Known:
    """Of one Webhook."""

    __slots__ = ("bytes", "heads", "is_large", "keys", "redactor")

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.redactor = Redactor(keys.secrets())
        self.heads = HeadReader(self.redactor)
        self.is_large = sum(map(len, self.redactor.secrets)) > QUICK_LENGTH
        self.bytes = _KNOWN_BYTES_EACH + self.redactor.size_bytes
