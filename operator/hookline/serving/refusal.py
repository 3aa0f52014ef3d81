"""What the server itself says no to, before or after a page; each room that serves has its own words for it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum


class Why(IntEnum):
    """The status of the answer."""

    BAD_REQUEST = 400
    TOO_SLOW = 408
    TOO_LARGE = 413
    INTERNAL = 500
    UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Refusal:
    """`detail` says what to do. Never a value out of a request."""

    why: Why
    detail: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Worded:
    """A refusal as its client is told it, without Content-Length and Connection."""

    headers: Mapping[str, str]
    body: bytes


class Cut(Exception):
    """A page that cannot finish the answer it has begun raises this: its client is to see that the rest is missing."""


Wording = Callable[[Refusal], Worded]
