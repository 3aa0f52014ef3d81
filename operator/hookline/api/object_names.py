"""Names of attempts, deliveries and dead letters, by which each is found at once. Pure.

`<event id, as far as a name can have it>-<attempt>.<place>`: a DNS subdomain (RFC 1123), as Kubernetes wants it. The
place says where it lies. Whoever makes a name up finds nothing by it: what lies there must have just this name, and be
of the namespace in which it is asked for.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

LINE_BITS = 12
MAX_LINES = 1 << LINE_BITS
"""Records of one message that have a place. A message that is as large as can be has fewer, as senders write them."""

_EVENT_LENGTH = 40
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NUMBER = r"0|[1-9a-z][0-9a-z]{0,12}"
_ATTEMPT = re.compile(rf"[^.]{{1,60}}\.({_NUMBER})-({_NUMBER})")
_MESSAGE = re.compile(rf"[^.]{{1,60}}\.({_NUMBER})-([0-9a-z]{{7}})")
_MOST = 2**63 - 1
_LARGEST_ATTEMPT = 999_999_999


@dataclass(frozen=True, slots=True)
class MessagePlace:
    """Of a delivery or a dead letter."""

    mark: str
    """Of its stream, see `mark_of`."""
    seq: int


def place_in_log(seq: int, line: int) -> int:
    """Where a record of the attempts log lies, as a number that grows with each."""
    return seq << LINE_BITS | line


def seq_of(place: int) -> int:
    return place >> LINE_BITS


def line_of(place: int) -> int:
    return place & (MAX_LINES - 1)


def mark_of(stream: str) -> str:
    """Stands for a stream in a name: a stream and the one that it was moved from have the same sequences."""
    return _base36(zlib.crc32(stream.encode())).rjust(7, "0")


def attempt_name(event_id: str, attempt: int, place: int) -> str:
    return f"{_begins(event_id, attempt)}.{_base36(seq_of(place))}-{_base36(line_of(place))}"


def message_name(event_id: str, attempt: int, stream: str, seq: int) -> str:
    """Of a delivery or a dead letter."""
    return f"{_begins(event_id, attempt)}.{_base36(seq)}-{mark_of(stream)}"


def place_of_attempt(name: str) -> int | None:
    """None of what is no name of one."""
    found = _ATTEMPT.fullmatch(name)
    if found is None:
        return None
    seq, line = int(found[1], 36), int(found[2], 36)
    return place_in_log(seq, line) if line < MAX_LINES and seq <= seq_of(_MOST) else None


def place_of_message(name: str) -> MessagePlace | None:
    """None of what is no name of one."""
    found = _MESSAGE.fullmatch(name)
    if found is None:
        return None
    seq = int(found[1], 36)
    return MessagePlace(found[2], seq) if seq <= _MOST else None


def stream_of(place: MessagePlace, streams: Iterable[str]) -> str:
    """That of these in which it lies; empty if it is none of them."""
    return next((each for each in streams if mark_of(each) == place.mark), "")


def _begins(event_id: str, attempt: int) -> str:
    event = re.sub(r"[^a-z0-9]", "-", event_id[:_EVENT_LENGTH].lower()).strip("-")
    return f"{event or 'event'}-{max(0, min(attempt, _LARGEST_ATTEMPT))}"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
