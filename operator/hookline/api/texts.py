"""Texts, numbers and times of the log as they may stand in an answer. Pure.

What is in the log, receivers and anybody on this NATS may have written: a terminal obeys some characters, JSON knows no
NaN, and many a client no number above 2^53. What is not in its range is none: NaN is in no range.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What a terminal may obey, and halves of characters, which are in no text."""

_UNFIT_IN_BODY = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TERM = re.compile(
    rf"((?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL.pattern})\s*==?\s*((?:{_LABEL.pattern})?)", re.ASCII
)
_MOST = 2**53
_LAST_SECONDS = 253_402_300_799
"""The end of the year 9999, after which RFC 3339 has no times."""


def plain(text: str) -> str:
    """A text with nothing in it that a terminal obeys."""
    return _UNFIT.sub("\ufffd", text)


def is_label(text: str) -> bool:
    """Whether it may be the value of a label that is not empty."""
    return _LABEL.fullmatch(text) is not None


def label_is_value(term: str) -> tuple[str, str] | None:
    """Label and value of the term `LABEL=VALUE` of a selector; None of another term. The value may be empty."""
    found = _TERM.fullmatch(term.strip())
    return (found[1], found[2]) if found is not None else None


def not_reached(unknown: float, replayed: float, *, dry_run: bool) -> str:
    """Of a Replay of what failed: what it sends again without knowing whether it was delivered."""
    sent = "they would be sent again" if dry_run else "they are sent again"
    return f"the attempts log does not reach back to {unknown:.0f} of {replayed:.0f}: {sent}"


def count(number: float | None) -> int:
    """A whole number that is not negative."""
    return int(number) if number is not None and 0 <= number <= _MOST else 0


def milliseconds(seconds: float) -> float:
    """To a tenth; whole ones as such."""
    if not 0 <= seconds <= _MOST:
        return 0
    rounded = round(seconds * 1000, 1)
    return int(rounded) if rounded == int(rounded) else rounded


def moment(unix_s: float | None, *, exact: bool = False) -> str | None:
    """As RFC 3339 has it, in UTC, `exact` with six digits of the second; None of what is no time."""
    if unix_s is None or not 0 < unix_s < _LAST_SECONDS:
        return None
    if not exact:
        return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def body_text(body: bytes) -> tuple[str, str]:
    """The beginning of a body, and how it is written: as text where it is one, else `base64`.

    A character that was cut at the end makes no binary of a text.
    """
    for cut in range(4):
        try:
            text = body[: len(body) - cut].decode()
        except UnicodeDecodeError:
            continue
        if _UNFIT_IN_BODY.search(text):
            break
        return text, "utf-8"
    return base64.b64encode(body).decode(), "base64"


def age(seconds: float) -> str:
    """How long ago, as kubectl says it of others: two parts at most."""
    if not -1 <= seconds <= _MOST:
        return "<unknown>"
    total = max(int(seconds), 0)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 2920 else f"{days // 365}y"


def took(seconds: float) -> str:
    """How long a call took: `41ms`, `2.3s`."""
    if not 0 <= seconds <= _MOST:
        return ""
    if seconds < 0.9995:
        return f"{max(round(seconds * 1000), 1)}ms"
    return f"{seconds:.1f}s" if seconds < 119.95 else age(seconds)


def _two(large: int, unit: str, small: int, part: str) -> str:
    return f"{large}{unit}{small}{part}" if small else f"{large}{unit}"
