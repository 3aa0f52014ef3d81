"""Reading objects of the API as they come: of another version, or with what a receiver wrote. Pure, and total.

What has another type than was expected counts as absent; no text steers a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hookline.api.texts import age
from hookline.cli.errors import WrongInput
from hookline.runtime.log_wording import printable

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_SPAN = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?")


def value(found: object, path: str) -> Any:
    """What lies at a path such as `webhook.name`; None if nothing does."""
    for word in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(word)
    return found


def text(found: object, path: str) -> str:
    """As a person may see it, on one line."""
    there = value(found, path)
    if isinstance(there, bool) or there is None:
        return "" if there is None else str(there).lower()
    return printable(str(there)) if isinstance(there, str | int | float) else ""


def number(found: object, path: str) -> float | None:
    there = value(found, path)
    return float(there) if isinstance(there, int | float) and not isinstance(there, bool) else None


def moment(found: object, path: str) -> datetime | None:
    there = value(found, path)
    return read_moment(there) if isinstance(there, str) else None


def read_moment(text: str) -> datetime | None:
    """Of RFC 3339; None of anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}{(match[2] or '')[:7]}{match[3].replace('Z', '+00:00')}")
    except ValueError:
        return None


def since(found: object, path: str, now: datetime) -> str:
    """How long ago, as AGE says it."""
    at = moment(found, path)
    return "" if at is None else age(max((now - at).total_seconds(), 0))


def until(found: object, path: str, now: datetime) -> str:
    """How long until then; `0s` of what is due."""
    at = moment(found, path)
    return "" if at is None else age(max((at - now).total_seconds(), 0))


def point_in_time(words: str, option: str, now: datetime) -> datetime | None:
    """What a person means by `2h` (ago) or `2026-11-30T12:00:00Z`; None of nothing. Raises WrongInput."""
    if not words:
        return None
    if (at := read_moment(words)) is not None:
        return at
    match = _SPAN.fullmatch(words)
    if match is None or not any(match.groups()):
        raise WrongInput(
            f"{option} must be a time span such as 30m, 2h or 1d12h, or a time such as 2026-11-30T12:00:00Z"
        )
    days, hours, minutes, seconds = (int(each or 0) for each in match.groups())
    try:
        return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise WrongInput(f"{option} is longer ago than any event") from None


def stamp(at: datetime) -> str:
    """As the API takes times."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
