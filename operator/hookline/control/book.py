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
    encode_root,
    encode_shard,
    keys_file,
    routes_file,
)
from hookline.control.kinds import BOOK_LABEL, keys_name, labels_of, root_name, routes_name
from hookline.routes import (
    BOOK_SHARDS,
    DispatcherRecord,
    Keys,
    Record,
    Route,
    TypeRecord,
    index_file,
    shard_of,
    shard_with,
)

Object = Mapping[str, Any]

REMEMBERED_WRITES = 64
"""Versions of a shard of which it is known what they hold. Senders are seldom more than one behind."""


class Change(Enum):
    """What became of a route that was put into the book."""

    NONE = "it is there already"
    TAKEN = "the shard is to be written"
    FULL = "the shard is full: what was there before stays"


@dataclass(slots=True)
class _Entry:
    route: Route
    keys: Keys = field(repr=False)
    routes_bytes: int
    keys_bytes: int


class DesiredBook:
    """Routes and keys by shard."""

    def __init__(self) -> None:
        self._shards: dict[int, dict[str, _Entry]] = {}
        self._files: dict[int, dict[str, bytes]] = {}
        self._left: dict[str, Keys] = {}
        self._puts = 0
        self._awaited: dict[str, int] = {}
        self._writes: dict[int, dict[str, int]] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._shards.get(_shard(uid), {})

    def __len__(self) -> int:
        return sum(map(len, self._shards.values()))

    def uids(self) -> Iterator[str]:
        """Every Webhook in the book."""
        for entries in self._shards.values():
            yield from entries

    def shards(self) -> list[int]:
        """Numbers of the shards, also of those that became empty: senders know them."""
        return sorted(self._shards)

    def counts(self) -> dict[int, int]:
        """Routes by shard."""
        return {number: len(entries) for number, entries in sorted(self._shards.items())}

    def route(self, uid: str) -> Route | None:
        entry = self._shards.get(_shard(uid), {}).get(uid)
        return entry.route if entry else None

    def keys(self, uid: str) -> Keys | None:
        """The keys in the book, or those that a half-written shard still had: a rotation needs them."""
        entry = self._shards.get(_shard(uid), {}).get(uid)
        return entry.keys if entry else self._left.get(uid)

    def load(self, number: int, files: Mapping[str, bytes]) -> None:
        """Take over a shard as it is in the cluster. Of one that is not whole only the keys are remembered."""
        self._shards.setdefault(number, {})
        try:
            shard = decode_shard(number, files)
        except BookError:
            self._left |= decode_keys(number, files)
            return
        for uid, route in shard.routes.items():
            if _shard(uid) == number:
                self._shards[number][uid] = _entry(route, shard.keys[uid])

    def put(self, route: Route, keys: Keys) -> Change:
        """Have the book hold this form of a Webhook."""
        number = _shard(route.uid)
        entries = self._shards.setdefault(number, {})
        there = entries.get(route.uid)
        if there is not None and (there.route, there.keys) == (route, keys):
            return Change.NONE
        entry = _entry(route, keys)
        others = [each for uid, each in entries.items() if uid != route.uid]
        if any(
            sum(getattr(each, size) + 1 for each in others) + getattr(entry, size) + 2 > MAX_FILE_BYTES
            for size in ("routes_bytes", "keys_bytes")
        ):
            return Change.FULL
        entries[route.uid] = entry
        self._left.pop(route.uid, None)
        self.await_senders(route.uid)
        return Change.TAKEN

    def remove(self, uid: str) -> bool:
        """Take a Webhook out; whether it was there."""
        self._awaited.pop(uid, None)
        self._left.pop(uid, None)
        if self._shards.get(_shard(uid), {}).pop(uid, None) is None:
            return False
        self._changed(_shard(uid))
        return True

    def files(self, number: int) -> Mapping[str, bytes]:
        """The files of a shard."""
        if number not in self._files:
            entries = self._shards.get(number, {}).values()
            self._files[number] = encode_shard(number, shard_with((each.route, each.keys) for each in entries))
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

    def _changed(self, number: int) -> None:
        self._files.pop(number, None)


def _shard(uid: str) -> int:
    return shard_of(uid, BOOK_SHARDS)


def _entry(route: Route, keys: Keys) -> _Entry:
    return _Entry(route, keys, _length(route), _length(keys))


def _length(record: Record) -> int:
    """Bytes that a record takes in a file, or a few more."""
    return len(json.dumps(record.model_dump(mode="json")))


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
        length = _length(record) + 1
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
