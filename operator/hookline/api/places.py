"""Where a list goes on, and from where following begins: opaque texts for whoever asks. Pure.

Neither gives a right: what is found by them is looked for in the namespace that was asked for, and in no other. So
they need no seal; one that was made for another question is refused, that nobody gets a list which is not whole.

A version is a whole number without leading zeros, as Kubernetes compares them, where one Dispatcher has the queue: when
its log was made (Unix time in ms), then the place in it. Of several Dispatchers it is those of each, joined by `-`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import TypeAlias, TypeVar

from hookline.api.log import Expired, Wanted

_PLACE_BITS = 64
_VERSION = re.compile(r"[1-9][0-9]{0,39}")
_LONGEST = 4096
_STALE = "the list is not known any more; ask for it from the beginning"


T = TypeVar("T")
Part: TypeAlias = tuple[Sequence[tuple[str, T]], str | None]
"""Objects of one Dispatcher, each with the place from which its list goes on behind it, and where it goes on behind
all of them; None behind the last."""


@dataclass(frozen=True, slots=True)
class Version:
    """A place in the log that was made at `created_ms`, Unix time."""

    created_ms: int
    place: int

    def __str__(self) -> str:
        return str(self.created_ms << _PLACE_BITS | self.place)


def version_text(versions: Sequence[Version]) -> str:
    """Of Dispatchers, each in its place."""
    return "-".join(map(str, versions))


def read_version(text: str, count: int) -> list[Version]:
    """Of so many Dispatchers. Raises Expired."""
    parts = text.split("-") if len(text) <= _LONGEST else []
    if len(parts) != count or not all(map(_VERSION.fullmatch, parts)):
        raise Expired("this resource version is not known; list anew")
    return [Version(int(each) >> _PLACE_BITS, int(each) & 2**_PLACE_BITS - 1) for each in parts]


@dataclass(frozen=True, slots=True)
class Begin:
    """Where the next part of a list begins: of each Dispatcher a place, None of one that has no more; and the version
    of the first part."""

    places: Sequence[str | None]
    version: str


def more_text(begin: Begin, kind: str, namespace: str, wanted: Wanted) -> str:
    """Empty when none has more."""
    if not any(each is not None for each in begin.places):
        return ""
    said = json.dumps([_digest(kind, namespace, wanted), begin.version, *begin.places], separators=(",", ":"))
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def read_more(text: str, kind: str, namespace: str, wanted: Wanted, count: int) -> Begin:
    """Of so many Dispatchers; the beginning of an empty text. Raises Expired."""
    if not text:
        return Begin([""] * count, "")
    try:
        if len(text) > _LONGEST:
            raise ValueError
        digest, version, *places = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise Expired(_STALE) from None
    right = digest == _digest(kind, namespace, wanted) and isinstance(version, str) and len(places) == count
    if not right or not all(each is None or isinstance(each, str) for each in places):
        raise Expired(_STALE)
    return Begin(places, version)


def merged(
    parts: Sequence[Part[T]], begins: Sequence[str | None], limit: int, at_s: Callable[[T], float]
) -> tuple[list[T], list[str | None]]:
    """So many objects of all Dispatchers, newest first as far as their lists are, and where each one goes on."""
    behind = [more if not items else begin for (items, more), begin in zip(parts, begins, strict=True)]
    found: list[T] = []
    rows = heapq.merge(
        *(zip(itertools.repeat(number), items) for number, (items, _) in enumerate(parts)),
        key=lambda each: -at_s(each[1][1]),
    )
    left = [len(items) for items, _ in parts]
    for number, (place, item) in itertools.islice(rows, limit):
        found.append(item)
        left[number] -= 1
        behind[number] = place if left[number] else parts[number][1]
    return found, behind


def _digest(kind: str, namespace: str, wanted: Wanted) -> str:
    said = json.dumps([kind, namespace, *astuple(wanted)])
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]
