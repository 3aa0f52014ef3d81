"""What the route book of one Dispatcher should hold, shard by shard, and how its objects in the cluster look.

Decides what is awaited: a Webhook whose newest form not all senders are known to serve. Reads and writes nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hookline.bookfiles import (
    MAX_FILE_BYTES,
    BookError,
    decode_keys,
    decode_shard,
    digest_of,
    encode_record,
    encode_root,
    keys_file,
    routes_file,
    shard_files,
)
from hookline.control.kinds import BOOK_LABEL, keys_name, labels_of, root_name, routes_name
from hookline.routes import (
    BOOK_FILE,
    BOOK_SHARDS,
    DispatcherRecord,
    Keys,
    Route,
    RouteState,
    TypeRecord,
    index_file,
    shard_of,
)

Object = Mapping[str, Any]

REMEMBERED_WRITES = 64
"""Versions of a shard of which it is known what they hold. Senders are seldom more than one behind."""


class Change(Enum):
    """What became of a route that was put into the book."""

    NONE = "it is there already"
    TAKEN = "the shard is to be written"
    FULL = "the shard is full: what was there before stays"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One Webhook, with its records as they stand in the files: a change of one encodes no other anew."""

    route: Route
    keys: Keys = field(repr=False)
    route_json: bytes = field(repr=False)
    keys_json: bytes = field(repr=False)

    @property
    def hears(self) -> bool:
        return self.route.event is not None and self.route.state is not RouteState.DISABLED


class _Shard:
    """The Webhooks of one shard, and how long its files are."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self.hearing = 0
        self._routes_bytes = self._keys_bytes = len("[]")

    def set(self, entry: _Entry) -> bool:
        """Take in an entry, in place of an older one of its uid; whether there was room."""
        there = self.entries.get(entry.route.uid)
        # One more for the comma.
        routes_bytes = self._routes_bytes + len(entry.route_json) + 1 - (len(there.route_json) + 1 if there else 0)
        keys_bytes = self._keys_bytes + len(entry.keys_json) + 1 - (len(there.keys_json) + 1 if there else 0)
        if max(routes_bytes, keys_bytes) > MAX_FILE_BYTES:
            return False
        self._routes_bytes, self._keys_bytes = routes_bytes, keys_bytes
        self.entries[entry.route.uid] = entry
        self.hearing += entry.hears - (there.hears if there else False)
        return True

    def pop(self, uid: str) -> bool:
        """Take out an entry; whether it was there."""
        there = self.entries.pop(uid, None)
        if there is None:
            return False
        self.hearing -= there.hears
        self._routes_bytes -= len(there.route_json) + 1
        self._keys_bytes -= len(there.keys_json) + 1
        return True

    def files(self, number: int) -> dict[str, bytes]:
        entries = [self.entries[uid] for uid in sorted(self.entries)]
        return shard_files(number, (each.route_json for each in entries), (each.keys_json for each in entries))


class DesiredBook:
    """Routes and keys by shard."""

    def __init__(self) -> None:
        self._shards: dict[int, _Shard] = {}
        self._files: dict[int, dict[str, bytes]] = {}
        self._left: dict[str, Keys] = {}
        self._puts = 0
        self._awaited: dict[str, int] = {}
        self._writes: dict[int, dict[str, int]] = {}

    def __contains__(self, uid: str) -> bool:
        return self._entry(uid) is not None

    def __len__(self) -> int:
        return sum(self.counts().values())

    def uids(self) -> Iterator[str]:
        """Every Webhook in the book."""
        for shard in self._shards.values():
            yield from shard.entries

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
        return entry.keys if entry else self._left.get(uid)

    def expect(self, numbers: Iterable[int]) -> None:
        """Have these shards, if only empty: a root in the cluster names them."""
        for number in numbers:
            self._shards.setdefault(number, _Shard())

    @property
    def hearing(self) -> int:
        """Webhooks for which events become deliveries."""
        return sum(shard.hearing for shard in self._shards.values())

    def load(self, number: int, files: Mapping[str, bytes]) -> None:
        """Take over a shard as it is in the cluster. Of one that is not whole only the keys are remembered."""
        there = self._shards.setdefault(number, _Shard())
        try:
            shard = decode_shard(number, files)
        except BookError:
            self._left |= decode_keys(number, files)
            return
        for uid, route in shard.routes.items():
            if _shard(uid) == number:
                there.set(_entry(route, shard.keys[uid]))

    def put(self, route: Route, keys: Keys) -> Change:
        """Have the book hold this form of a Webhook."""
        shard = self._shards.setdefault(_shard(route.uid), _Shard())
        there = shard.entries.get(route.uid)
        if there is not None and (there.route, there.keys) == (route, keys):
            return Change.NONE
        if not shard.set(_entry(route, keys)):
            return Change.FULL
        self._left.pop(route.uid, None)
        self.await_senders(route.uid)
        return Change.TAKEN

    def remove(self, uid: str) -> bool:
        """Take a Webhook out; whether it was there."""
        self._awaited.pop(uid, None)
        self._left.pop(uid, None)
        shard = self._shards.get(_shard(uid))
        if shard is None or not shard.pop(uid):
            return False
        self._changed(_shard(uid))
        return True

    def files(self, number: int) -> Mapping[str, bytes]:
        """The files of a shard."""
        if number not in self._files:
            self._files[number] = self._shards.get(number, _Shard()).files(number)
            writes = self._writes.setdefault(number, {})
            writes[digest_of(self._files[number][index_file(number)])] = self._puts
            for old in list(writes)[:-REMEMBERED_WRITES]:
                del writes[old]
        return self._files[number]

    def await_senders(self, uid: str) -> None:
        """The form that is in the book now is not known to be served. Its shard is to be looked at."""
        self._puts += 1
        self._awaited[uid] = self._puts
        self._changed(_shard(uid))

    def awaited(self, uid: str) -> bool:
        """Whether some sender may not serve the newest form of a Webhook."""
        return uid in self._awaited

    def awaited_in(self, number: int) -> list[Route]:
        """The routes of a shard whose newest form some sender may not serve."""
        found = (self.route(uid) for uid in self._awaited if _shard(uid) == number)
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
            number = _shard(uid)
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

    def _changed(self, number: int) -> None:
        self._files.pop(number, None)

    def _entry(self, uid: str) -> _Entry | None:
        shard = self._shards.get(_shard(uid))
        return shard.entries.get(uid) if shard else None


def _shard(uid: str) -> int:
    return shard_of(uid, BOOK_SHARDS)


def _entry(route: Route, keys: Keys) -> _Entry:
    return _Entry(route, keys, encode_record(route), encode_record(keys))


def routes_manifest(namespace: str, dispatcher: str, number: int, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The ConfigMap of a shard."""
    name = routes_file(number)
    metadata = _metadata(namespace, dispatcher, routes_name(dispatcher, number))
    return {"metadata": metadata, "data": {name: files[name].decode()}}


def keys_manifest(namespace: str, dispatcher: str, number: int, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The Secret of a shard. The index lies in it: both change together, and its digests are of secrets."""
    names = (keys_file(number), index_file(number))
    metadata = _metadata(namespace, dispatcher, keys_name(dispatcher, number))
    return {"metadata": metadata, "type": "Opaque", "data": {name: _base64(files[name]) for name in names}}


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


def files_of(config_map: Object | None, secret: Object | None) -> dict[str, bytes]:
    """The files of a shard as they are in the cluster."""
    files = {name: text.encode() for name, text in ((config_map or {}).get("data") or {}).items()}
    for name, text in ((secret or {}).get("data") or {}).items():
        files[name] = base64.b64decode(text)
    return files


def fitting(types: Iterable[TypeRecord]) -> tuple[list[TypeRecord], list[TypeRecord]]:
    """Event types that fit into the root, in the order of their names, and those that do not."""
    inside: list[TypeRecord] = []
    outside: list[TypeRecord] = []
    size = 0
    for record in sorted(types, key=lambda each: each.name):
        length = len(encode_record(record)) + 1
        if size + length > MAX_FILE_BYTES * 3 // 4:
            outside.append(record)
        else:
            inside.append(record)
            size += length
    return inside, outside


def _metadata(namespace: str, dispatcher: str, name: str) -> dict[str, Any]:
    labels = {**labels_of(dispatcher, "route-book"), BOOK_LABEL: dispatcher}
    return {"namespace": namespace, "name": name, "labels": labels}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
