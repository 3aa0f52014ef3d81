"""How the room of a route book is shared, so that no namespace fills it for all others. Pure.

Decides what a Webhook is charged, which namespace gets room for more, and in which order shards are asked for a place.
Knows no Webhook: who is where is the book's business.

What must always be possible is charged in advance: a rotated key, or a Webhook that is disabled or held, never needs
room that somebody else could have taken. For all else everybody gets room while there is plenty: one namespace alone
may use seven eighths of a book. The rest is for those that use little: each gets an eighth of what is still free, so
that ten greedy namespaces leave a third of it to the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from hookline.routing.routes import BOOK_SHARDS, Keys, Route, RouteState, distance


class Reserve(NamedTuple):
    """What is kept free, as parts of a whole."""

    of_book: float
    """For namespaces that use less than their share."""
    of_shard: float
    """For Webhooks of that shard that grow: each move to another shard writes both."""


FOR_NEW = Reserve(of_book=1 / 8, of_shard=1 / 64)
"""What new Webhooks leave free."""

FOR_CHANGES = Reserve(of_book=1 / 16, of_shard=0)
"""What changes of Webhooks that are there leave free: they have room when new ones have none."""

SHARE = 1 / 8
"""Of what is still free of the reserve: as much as that any namespace may use in all."""

SIGNING_BYTES = 1024
"""Charged for signing keys, however many there are: four in use and four that were replaced, each as long as can be,
take 0.95 KiB."""

_NULL_LENGTH = len("null")
_GENERATION_DIGITS = 19
_STATE_LENGTH = max(len(state) for state in RouteState)


class Room(Enum):
    """Whether there is room for a Webhook."""

    FREE = "there is"
    SHARE = "there is, but not for this namespace, which uses its share"
    NONE = "there is none, for whomever"


@dataclass(frozen=True, slots=True)
class Charge:
    """Bytes in the two files of a shard."""

    routes: int = 0
    keys: int = 0

    def __add__(self, other: Charge) -> Charge:
        return Charge(self.routes + other.routes, self.keys + other.keys)

    def __sub__(self, other: Charge) -> Charge:
        return Charge(self.routes - other.routes, self.keys - other.keys)

    def is_less_than(self, other: Charge) -> bool:
        """Whether it is less in one of the files."""
        return self.routes < other.routes or self.keys < other.keys

    def part_of(self, capacity_bytes: int) -> float:
        """How full something is, from 0 to 1 (above 1 if an older version filled it)."""
        return max(self.routes, self.keys) / capacity_bytes


def written(route_json: bytes, keys_json: bytes) -> Charge:
    """What a Webhook takes in the files as they are, with a comma behind each record."""
    return Charge(len(route_json) + 1, len(keys_json) + 1)


def charge(route: Route, keys: Keys, takes: Charge) -> Charge:
    """What a Webhook that `takes` so much is charged: never less, and the same whatever its state and signing keys."""
    state_and_generation = len(route.state) + len(str(route.generation))
    short_event = 0 if route.event is None else max(_NULL_LENGTH - len(route.event) - len('""'), 0)
    signing = len(keys.model_dump_json(include={"signing", "retired"}, exclude_defaults=True))
    return takes + Charge(
        max(_STATE_LENGTH + _GENERATION_DIGITS - state_and_generation, 0) + short_event, max(SIGNING_BYTES - signing, 0)
    )


def share(charged: Charge, own: Charge, more: Charge, *, capacity_bytes: int, reserve: Reserve) -> Room:
    """Whether a namespace gets room for `more`. `charged` is all of a book, `own` what the namespace has of it.

    `capacity_bytes` of each kind of file, over all shards.
    """
    found = Room.FREE
    for all_bytes, own_bytes, more_bytes in (
        (charged.routes, own.routes, more.routes),
        (charged.keys, own.keys, more.keys),
    ):
        free_bytes = capacity_bytes - all_bytes - more_bytes
        plenty = free_bytes >= capacity_bytes * reserve.of_book
        # What does not grow is not judged: an older version may have taken more than is allowed now.
        if more_bytes <= 0 or plenty or own_bytes + more_bytes <= free_bytes * SHARE:
            continue
        if more_bytes > free_bytes * SHARE:
            return Room.NONE
        found = Room.SHARE
    return found


def fits(charged: Charge, more: Charge, most_bytes: float) -> bool:
    """Whether a shard, of which `charged` is taken, has a place for `more`, up to `most_bytes` in each file."""
    return all(
        more_bytes <= 0 or all_bytes + more_bytes <= most_bytes
        for all_bytes, more_bytes in ((charged.routes, more.routes), (charged.keys, more.keys))
    )


class Ledger:
    """What all Webhooks of a book are charged, and those of each namespace."""

    def __init__(self) -> None:
        self.charged = Charge()
        self._own: dict[str, Charge] = {}

    def own(self, namespace: str) -> Charge:
        """What the Webhooks of a namespace are charged."""
        return self._own.get(namespace, Charge())

    def add(self, namespace: str, more: Charge) -> None:
        """Write down a change."""
        self.charged += more
        own = self.own(namespace) + more
        if own == Charge():
            self._own.pop(namespace, None)
        else:
            self._own[namespace] = own


def places(uid: str, first: int) -> Iterator[int]:
    """Shards that may hold a Webhook, in the order in which they are asked, from `first` on.

    They begin with its home, by hash. A Webhook only ever moves on: of two copies, the one farther on is the newer.
    """
    steps = BOOK_SHARDS - distance(uid, first)
    yield from ((first + step) % BOOK_SHARDS for step in range(steps))
