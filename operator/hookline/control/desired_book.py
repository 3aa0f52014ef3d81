"""What the route book of one Dispatcher should hold, shard by shard, and how its objects in the cluster look.

Decides what is awaited: a Webhook whose newest form not all senders are known to serve. Reads and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hookline.control.kinds import BOOK_LABEL, Object, keys_name, labels_of, root_name, routes_name
from hookline.control.room import (
    FOR_CHANGES,
    FOR_NEW,
    Charge,
    Ledger,
    Reserve,
    Room,
    charge,
    fits,
    places,
    share,
    written,
)
from hookline.control.secret_data import decoded, encoded
from hookline.routing.book_files import (
    MAX_FILE_BYTES,
    TYPES_FILE,
    BookError,
    decode_keys,
    decode_shard,
    decode_types,
    digest_of,
    encode_record,
    encode_root,
    keys_file,
    routes_file,
    shard_files,
)
from hookline.routing.routes import (
    BOOK_FILE,
    BOOK_SHARDS,
    DispatcherRecord,
    Keys,
    Route,
    RouteState,
    TypeRecord,
    distance,
    index_file,
    shard_of,
)

REMEMBERED_WRITES = 64
"""Versions of a shard of which it is known what they hold. Senders are seldom more than one behind."""


class Change(Enum):
    """What became of a route that was put into the book."""

    NONE = "it is there already"
    TAKEN = "its shard is to be written"
    SHARE = "its namespace uses its share: what was there before stays"
    FULL = "no shard has room: what was there before stays"

    @property
    def refused(self) -> bool:
        return self in (Change.SHARE, Change.FULL)


_CHANGES = {Room.FREE: Change.TAKEN, Room.SHARE: Change.SHARE, Room.NONE: Change.FULL}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One Webhook, with its records as they stand in the files: a change of one encodes no other anew."""

    route: Route
    keys: Keys = field(repr=False)
    route_json: bytes = field(repr=False)
    keys_json: bytes = field(repr=False)
    takes: Charge
    """In the files, as they are."""
    charge: Charge

    @property
    def hears(self) -> bool:
        return self.route.event is not None and self.route.state is not RouteState.DISABLED


class _Shard:
    """The Webhooks of one shard, and how much room they take."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.entries: dict[str, _Entry] = {}
        self.copies: dict[str, _Entry] = {}
        """What Webhooks that moved on left here, until every sender serves them where they are now."""
        self.hearing = 0
        self.charged = Charge()
        self._takes = Charge(len("[]"), len("[]"))

    def fits(self, entry: _Entry, there: _Entry | None, capacity_bytes: int, reserve: Reserve) -> bool:
        """Whether there is a place for an entry, instead of the one that is `there`."""
        takes, more = entry.takes, entry.charge
        if there is not None:
            takes, more = takes - there.takes, more - there.charge
        most_bytes = capacity_bytes * (1 - reserve.of_shard)
        return fits(self._takes, takes, capacity_bytes) and fits(self.charged, more, most_bytes)

    def set(self, entry: _Entry) -> None:
        """Take in an entry, in place of an older one of its uid."""
        self.pop(entry.route.uid)
        self.entries[entry.route.uid] = entry
        self.hearing += entry.hears
        self._count(entry)

    def pop(self, uid: str) -> bool:
        """Take out an entry; whether it was there."""
        there = self.entries.pop(uid, None)
        if there is None:
            return False
        self.hearing -= there.hears
        self._discount(there)
        return True

    def leave(self, uid: str) -> None:
        """Keep an entry as a copy: the Webhook has moved on."""
        there = self.entries.pop(uid)
        self.hearing -= there.hears
        self.copies[uid] = there

    def drop_copy(self, uid: str) -> None:
        """Take out a copy."""
        self._discount(self.copies.pop(uid))

    def files(self, number: int) -> dict[str, bytes]:
        there = self.entries | self.copies
        entries = [there[uid] for uid in sorted(there)]
        return shard_files(number, (each.route_json for each in entries), (each.keys_json for each in entries))

    def _count(self, entry: _Entry) -> None:
        self._takes += entry.takes
        self.charged += entry.charge
        self._ledger.add(entry.route.namespace, entry.charge)

    def _discount(self, entry: _Entry) -> None:
        self._takes -= entry.takes
        self.charged -= entry.charge
        self._ledger.add(entry.route.namespace, Charge() - entry.charge)


_NO_SHARD = _Shard(Ledger())


class DesiredBook:
    """Routes and keys by shard.

    A Webhook is in the shard of its hash, its home, or in one farther on that had room. One that moves is in both
    until every sender serves it in the new place: a sender that loads the two in the other order would else not know
    it for a moment, and events of that moment would not be for it.
    """

    def __init__(self, capacity_bytes: int = MAX_FILE_BYTES) -> None:
        self.capacity_bytes = capacity_bytes
        """Of each file of a shard."""
        self._ledger = Ledger()
        self._shards: dict[int, _Shard] = {}
        self._places: dict[str, int] = {}
        self._copies: dict[str, list[int]] = {}
        self._files: dict[int, dict[str, bytes]] = {}
        self._remembered: dict[str, tuple[int, Keys]] = {}
        """Of shards that were half written: where a Webhook was, and its keys."""
        self._made_room = False
        self._puts = 0
        self._awaited: dict[str, int] = {}
        self._writes: dict[int, dict[str, int]] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._places

    def __len__(self) -> int:
        return len(self._places)

    def uids(self) -> Iterator[str]:
        """Every Webhook in the book."""
        yield from self._places

    def place(self, uid: str) -> int:
        """The shard of a Webhook; its home if it is in none."""
        return self._places.get(uid, shard_of(uid, BOOK_SHARDS))

    def shards(self) -> list[int]:
        """Numbers of the shards, also of those that became empty: senders know them."""
        return sorted(self._shards)

    def counts(self) -> dict[int, int]:
        """Routes by shard."""
        return {number: len(shard.entries) for number, shard in sorted(self._shards.items())}

    def route(self, uid: str) -> Route | None:
        entry = self._entry(uid)
        return entry.route if entry else None

    def keys(self, uid: str) -> Keys | None:
        """The keys in the book, or those that a half-written shard still had: a rotation needs them."""
        entry = self._entry(uid)
        if entry is not None:
            return entry.keys
        return self._remembered[uid][1] if uid in self._remembered else None

    def expect(self, numbers: Iterable[int]) -> None:
        """Have these shards, if only empty: a root in the cluster names them."""
        for number in numbers:
            self._shards.setdefault(number, _Shard(self._ledger))

    @property
    def hearing(self) -> int:
        """Webhooks for which events become deliveries."""
        return sum(shard.hearing for shard in self._shards.values())

    @property
    def fullness(self) -> float:
        """How full it is, from 0 to 1."""
        return self._ledger.charged.part_of(self.capacity_bytes * BOOK_SHARDS)

    def made_room(self) -> bool:
        """Whether anything went or became smaller since this was asked."""
        made, self._made_room = self._made_room, False
        return made

    def load(self, number: int, files: Mapping[str, bytes]) -> None:
        """Take over a shard as it is in the cluster. Of one that is not whole only the keys are remembered."""
        there = self._shards.setdefault(number, _Shard(self._ledger))
        try:
            shard = decode_shard(number, files)
        except BookError:
            self._remembered |= {uid: (number, keys) for uid, keys in decode_keys(number, files).items()}
            return
        for uid, route in shard.routes.items():
            there.set(_entry(route, shard.keys[uid]))
            before = self._places.setdefault(uid, number)
            if before != number:
                self._take_over_move(uid, before, number)

    def put(self, route: Route, keys: Keys) -> Change:
        """Have the book hold this form of a Webhook: in its shard, or else in the next one that has room."""
        there = self._entry(route.uid)
        if there is not None and (there.route, there.keys) == (route, keys):
            return Change.NONE
        entry = _entry(route, keys)
        reserve = FOR_NEW if there is None else FOR_CHANGES
        change = _CHANGES[self._share(entry, there, reserve)]
        if change is Change.TAKEN:
            number = self._place_for(entry, there, reserve)
            if number is None:
                return Change.FULL
            self._set(number, entry)
            self._made_room |= there is not None and entry.charge.is_less_than(there.charge)
        return change

    def stop(self, route: Route) -> Change:
        """Have a Webhook that is there not be called, though its newest form has no room.

        For the form that is there, with the new state and without keys, there always is room.
        """
        there = self._shards[self._places[route.uid]].entries[route.uid].route
        event = None if route.event is None else there.event
        stopped = there.model_copy(update={"state": route.state, "event": event, "paused": False})
        return self.put(stopped, Keys(uid=route.uid))

    def remove(self, uid: str) -> list[int]:
        """Take a Webhook out; the shards that are to be written, none when it was not there."""
        self._awaited.pop(uid, None)
        self._remembered.pop(uid, None)
        changed = self.settle(uid)
        place = self._places.pop(uid, None)
        if place is not None:
            self._shards[place].pop(uid)
            self._changed(place)
            self._made_room = True
            changed.append(place)
        return changed

    def settle(self, uid: str) -> list[int]:
        """Drop what a Webhook left where it was before, once its place of now is served; the shards to be written."""
        if uid in self._awaited:
            return []
        numbers = self._copies.pop(uid, [])
        for number in numbers:
            self._shards[number].drop_copy(uid)
            self._changed(number)
            self._made_room = True
        return numbers

    def files(self, number: int) -> Mapping[str, bytes]:
        """The files of a shard."""
        if number not in self._files:
            self._files[number] = (self._shards.get(number) or _NO_SHARD).files(number)
            writes = self._writes.setdefault(number, {})
            writes[digest_of(self._files[number][index_file(number)])] = self._puts
            for old in list(writes)[:-REMEMBERED_WRITES]:
                del writes[old]
        return self._files[number]

    def await_senders(self, uid: str) -> None:
        """The form that is in the book now is not known to be served. Its shard is to be looked at."""
        self._puts += 1
        self._awaited[uid] = self._puts
        self._changed(self.place(uid))

    def awaited(self, uid: str) -> bool:
        """Whether some sender may not serve the newest form of a Webhook."""
        return uid in self._awaited

    def awaited_in(self, number: int) -> list[Route]:
        """The routes of a shard whose newest form some sender may not serve."""
        found = (self.route(uid) for uid in self._awaited if self.place(uid) == number)
        return [route for route in found if route is not None]

    @property
    def awaiting(self) -> bool:
        """Whether anything is awaited."""
        return bool(self._awaited)

    def served(self, reports: Iterable[Mapping[str, str]]) -> list[str]:
        """Take in what each sender serves (file to digest); the Webhooks that need be awaited no longer."""
        reports = list(reports)
        if not reports:
            return []
        known: dict[int, int] = {}
        done: list[str] = []
        for uid, put in self._awaited.items():
            number = self.place(uid)
            if number not in known:
                writes = self._writes.get(number, {})
                known[number] = min(writes.get(report.get(index_file(number), ""), -1) for report in reports)
            if known[number] >= put:
                done.append(uid)
        for uid in done:
            del self._awaited[uid]
        return done

    def is_served_by(self, served: Mapping[str, str]) -> bool:
        """Whether a sender that serves these digests (file to digest) has every shard as it should be written."""
        indexes = ((index_file(number), files[index_file(number)]) for number, files in self._files.items())
        return all(served.get(name) == digest_of(content) for name, content in indexes)

    def _first_place(self, uid: str) -> int:
        if uid in self._places or uid not in self._remembered:
            return self.place(uid)
        return self._remembered[uid][0]

    def _share(self, entry: _Entry, there: _Entry | None, reserve: Reserve) -> Room:
        own = self._ledger.own(entry.route.namespace)
        more = entry.charge - there.charge if there is not None else entry.charge
        all_bytes = self.capacity_bytes * BOOK_SHARDS
        return share(self._ledger.charged, own, more, capacity_bytes=all_bytes, reserve=reserve)

    def _place_for(self, entry: _Entry, there: _Entry | None, reserve: Reserve) -> int | None:
        """The first shard that has a place, from the present one or the home on."""
        uid = entry.route.uid
        for number in places(uid, self._first_place(uid)):
            here = there if self._places.get(uid) == number else None
            shard = self._shards.get(number) or _NO_SHARD
            if shard.fits(entry, here, self.capacity_bytes, reserve):
                return number
        return None

    def _set(self, number: int, entry: _Entry) -> None:
        uid = entry.route.uid
        before = self._places.get(uid, number)
        if before != number:
            self._leave(before, uid)
        self._shards.setdefault(number, _Shard(self._ledger)).set(entry)
        self._places[uid] = number
        self._remembered.pop(uid, None)
        self.await_senders(uid)

    def _take_over_move(self, uid: str, one: int, other: int) -> None:
        """An operator before this one did not live to end a move."""
        older, newer = sorted((one, other), key=lambda number: distance(uid, number))
        self._leave(older, uid)
        self._places[uid] = newer
        self.await_senders(uid)

    def _leave(self, number: int, uid: str) -> None:
        self._shards[number].leave(uid)
        self._copies.setdefault(uid, []).append(number)

    def _changed(self, number: int) -> None:
        self._files.pop(number, None)

    def _entry(self, uid: str) -> _Entry | None:
        place = self._places.get(uid)
        return None if place is None else self._shards[place].entries[uid]


def _entry(route: Route, keys: Keys) -> _Entry:
    route_json, keys_json = encode_record(route), encode_record(keys)
    takes = written(route_json, keys_json)
    return _Entry(route, keys, route_json, keys_json, takes, charge(route, keys, takes))


def routes_manifest(namespace: str, dispatcher: str, number: int, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The ConfigMap of a shard."""
    name = routes_file(number)
    metadata = _metadata(namespace, dispatcher, routes_name(dispatcher, number))
    return {"metadata": metadata, "data": {name: files[name].decode()}}


def keys_manifest(namespace: str, dispatcher: str, number: int, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The Secret of a shard. The index lies in it: both change together, and its digests are of secrets."""
    names = (keys_file(number), index_file(number))
    metadata = _metadata(namespace, dispatcher, keys_name(dispatcher, number))
    return {"metadata": metadata, "type": "Opaque", "data": encoded({name: files[name] for name in names})}


def root_manifest(
    namespace: str, dispatcher: str, shards: Iterable[int], record: DispatcherRecord, types: Iterable[TypeRecord]
) -> dict[str, Any]:
    """The ConfigMap of the root."""
    files = encode_root(shards, record, types)
    metadata = _metadata(namespace, dispatcher, root_name(dispatcher))
    return {"metadata": metadata, "data": {name: content.decode() for name, content in files.items()}}


def shards_of(root: Object | None) -> frozenset[int]:
    """The shards that a root in the cluster names; none when it cannot be read."""
    try:
        named = json.loads((root or {})["data"][BOOK_FILE])["shards"]
        return frozenset(each for each in named if type(each) is int and 0 <= each < BOOK_SHARDS)
    except (ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def types_of(root: Object | None) -> list[TypeRecord]:
    """The event types that a root in the cluster holds, as far as they can be read."""
    try:
        return decode_types((root or {})["data"][TYPES_FILE].encode())
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
        return []


def files_of(config_map: Object | None, secret: Object | None) -> dict[str, bytes]:
    """The files of a shard as they are in the cluster."""
    files = {name: text.encode() for name, text in ((config_map or {}).get("data") or {}).items()}
    return {**files, **decoded(secret)}


def _metadata(namespace: str, dispatcher: str, name: str) -> dict[str, Any]:
    labels = {**labels_of(dispatcher, "route-book"), BOOK_LABEL: dispatcher}
    return {"namespace": namespace, "name": name, "labels": labels}
