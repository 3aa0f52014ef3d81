"""The route book: what the control side tells the senders, as files with digests.

Decides the form of routes, in which shard each lies, how a book is written and when a set of files is one. Reads and
writes no files itself. Control and delivery share this module and nothing else.

A route holds nothing secret. What may be secret lies in its keys, which are written to other files: signing keys,
header values, certificates, and the query of the URL, in which many receivers expect a token.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hookline.schemas import EventTypeSpec

FORMAT = 1
"""Version of the files. A sender refuses a book of a format that it does not know, and keeps its last good one."""

BOOK_SHARDS = 64
"""Shards of a book: 10,000 Webhooks make about 160 routes a shard, some 80 KiB, far below the 1 MiB of a ConfigMap."""

INDEX_FILE = "index.json"
DISPATCHER_FILE = "dispatcher.json"
TYPES_FILE = "types.json"


_FILE_NAME = re.compile(r"(?:routes|keys)-[0-9]{2}\.json|dispatcher\.json|types\.json")


class RouteState(StrEnum):
    """What a sender does with the deliveries of a Webhook."""

    ACTIVE = "Active"
    """Deliver."""
    HELD = "Held"
    """Something is missing that the team can supply, such as a Secret: deliveries are made and wait."""
    DISABLED = "Disabled"
    """No new deliveries are made; those made before wait until it is enabled again."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=_Record)


class Route(_Record):
    """One Webhook, compiled and without secrets."""

    uid: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9-]+$", description="uid of the Webhook.")
    namespace: str = Field(max_length=63, description="Its namespace, which is the tenant whose events it hears.")
    name: str = Field(max_length=253, description="Its name.")
    generation: int = Field(ge=0, description="The generation of the Webhook that was compiled.")
    state: RouteState = Field(description="Deliver, let wait, or make no deliveries.")
    event: str | None = Field(max_length=128, description="Event type; null when the Webhook hears none.")
    url: str = Field(max_length=2048, description="URL without its query, which lies in the keys.")
    timeout_seconds: int = Field(ge=1, le=30, description="Bound of one whole call.")
    schedule_seconds: tuple[int, ...] = Field(max_length=20, description="Waits between attempts.")
    max_concurrency: int = Field(ge=1, le=1000, description="Calls at once.")

    @property
    def title(self) -> str:
        """How people call it: namespace/name."""
        return f"{self.namespace}/{self.name}"


class Keys(_Record):
    """What may be secret of one Webhook. Its repr shows the uid only."""

    uid: str
    query: str = Field(default="", repr=False, description="Query of the URL as typed, without the question mark.")
    signing: tuple[str, ...] = Field(default=(), repr=False, description="Standard Webhooks keys, newest first.")
    headers: tuple[tuple[str, str], ...] = Field(default=(), repr=False, description="User headers.")
    ca_pem: str | None = Field(default=None, repr=False, description="CA certificates that may sign the receiver's.")
    client_cert_pem: str | None = Field(default=None, repr=False, description="Client certificate chain.")
    client_key_pem: str | None = Field(default=None, repr=False, description="Its private key.")

    def secrets(self) -> list[str]:
        """Every text that must not be shown, for redaction."""
        texts = [self.query, *self.signing, *(value for _, value in self.headers), self.client_key_pem or ""]
        return [text for text in texts if text]


class DispatcherRecord(_Record):
    """What a sender must know of its Dispatcher."""

    allow_cidrs: tuple[str, ...] = Field(default=(), description="Networks that may be called although private.")
    events_seconds: int = Field(default=604_800, description="How long events are kept.")
    parked_seconds: int = Field(default=604_800, description="How long deliveries wait for a held Webhook.")
    dead_seconds: int = Field(default=2_592_000, description="How long dead letters are kept.")


class TypeRecord(_Record):
    """An event type that an EventType resource defines."""

    name: str
    description: str
    validation: Literal["Enforce", "Warn", "Off"]
    schema_: dict[str, Any] = Field(alias="schema")

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    def spec(self) -> EventTypeSpec:
        return EventTypeSpec(
            self.name, self.schema_, validation=self.validation, description=self.description, builtin=False
        )


class BookError(ValueError):
    """Files that are not one whole book. The text names the file and what is wrong, and no secret."""


@dataclass(frozen=True)
class Book:
    """All routes and keys of one dispatcher."""

    routes: Mapping[str, Route]
    keys: Mapping[str, Keys] = field(repr=False)
    dispatcher: DispatcherRecord = field(default_factory=DispatcherRecord)
    types: tuple[TypeRecord, ...] = ()
    digest: str = ""
    """Digest of the index that it was read from: names the book in logs. Empty before it was written."""

    @cached_property
    def _by_event(self) -> dict[tuple[str, str], tuple[Route, ...]]:
        found: dict[tuple[str, str], list[Route]] = {}
        for route in sorted(self.routes.values(), key=lambda each: each.uid):
            if route.event is not None and route.state is not RouteState.DISABLED:
                found.setdefault((route.namespace, route.event), []).append(route)
        return {place: tuple(routes) for place, routes in found.items()}

    def match(self, tenant: str, event_type: str) -> tuple[Route, ...]:
        """The routes for which an event becomes a delivery."""
        return self._by_event.get((tenant, event_type), ())


def book_of(
    entries: Iterable[tuple[Route, Keys]],
    dispatcher: DispatcherRecord | None = None,
    types: Iterable[TypeRecord] = (),
) -> Book:
    """A book of compiled Webhooks, the same whatever their order."""
    pairs = sorted(entries, key=lambda pair: pair[0].uid)
    return Book(
        routes={route.uid: route for route, _ in pairs},
        keys={keys.uid: keys for _, keys in pairs},
        dispatcher=dispatcher or DispatcherRecord(),
        types=tuple(sorted(types, key=lambda each: each.name)),
    )


def shard_of(uid: str, shards: int) -> int:
    """The shard of a Webhook: by hash, so that a change of one Webhook never moves another."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8]) % shards


def encode(book: Book) -> dict[str, bytes]:
    """A book as files: name to content, byte for byte the same for the same book.

    One changed Webhook changes its two shards and the index. The index holds digests of files with secrets, which a
    reader could use to test guesses: it belongs with the keys.
    """
    files = {
        DISPATCHER_FILE: _json(book.dispatcher.model_dump(mode="json")),
        TYPES_FILE: _json([record.model_dump(mode="json") for record in book.types]),
        **_shards("routes", book.routes),
        **_shards("keys", book.keys),
    }
    index = {"format": FORMAT, "files": {name: digest_of(content) for name, content in sorted(files.items())}}
    return {**files, INDEX_FILE: _json(index)}


def is_secret(file_name: str) -> bool:
    """Whether a file of a book belongs into a Secret, or on a disk into a file for its owner only."""
    return file_name.startswith("keys-") or file_name == INDEX_FILE


def file_names(index: bytes) -> list[str]:
    """The files that an index names, none of them outside its folder. Raises BookError."""
    return sorted(_index(index))


def decode(files: Mapping[str, bytes]) -> Book:
    """A book from its files. Raises BookError when a file is missing, differs from the index, or is not understood."""
    if INDEX_FILE not in files:
        raise BookError(f"{INDEX_FILE} is missing")
    wanted = _index(files[INDEX_FILE])
    for name, digest in wanted.items():
        if name not in files:
            raise BookError(f"{name} is missing")
        if digest_of(files[name]) != digest:
            raise BookError(f"{name} is not the one that {INDEX_FILE} names")
    routes: dict[str, Route] = {}
    keys: dict[str, Keys] = {}
    for name in wanted:
        if name.startswith("routes-"):
            routes |= {route.uid: route for route in _records(Route, files[name], name)}
        elif name.startswith("keys-"):
            keys |= {each.uid: each for each in _records(Keys, files[name], name)}
    if routes.keys() != keys.keys():
        raise BookError("routes and keys do not name the same Webhooks")
    return Book(
        routes,
        keys,
        _read(DispatcherRecord, _loads(files[DISPATCHER_FILE], DISPATCHER_FILE), DISPATCHER_FILE),
        tuple(_records(TypeRecord, files[TYPES_FILE], TYPES_FILE)),
        digest_of(files[INDEX_FILE]),
    )


def contracts() -> dict[str, str]:
    """JSON Schemas of the files, for whoever writes or reads a route book: path below schemas/ to text."""
    models: dict[str, type[_Record]] = {
        "route": Route,
        "keys": Keys,
        "dispatcher": DispatcherRecord,
        "type": TypeRecord,
    }
    return {
        f"contracts/route-book-{name}.json": json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        for name, model in models.items()
    }


def _shards(kind: str, records: Mapping[str, Route] | Mapping[str, Keys]) -> dict[str, bytes]:
    shards: dict[int, list[dict[str, Any]]] = {}
    for uid in sorted(records):
        shards.setdefault(shard_of(uid, BOOK_SHARDS), []).append(records[uid].model_dump(mode="json"))
    return {f"{kind}-{shard:02}.json": _json(entries) for shard, entries in shards.items()}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest_of(content: bytes) -> str:
    """Of a file's content; that of the index names the book."""
    return hashlib.sha256(content).hexdigest()


def _index(content: bytes) -> dict[str, str]:
    try:
        index = json.loads(content)
        version, files = index["format"], index["files"]
    except (ValueError, TypeError, KeyError):
        raise BookError(f"{INDEX_FILE} is not an index") from None
    if version != FORMAT:
        raise BookError(f"{INDEX_FILE} has format {version}; this sender reads format {FORMAT}")
    if not isinstance(files, dict) or not {DISPATCHER_FILE, TYPES_FILE} <= files.keys():
        raise BookError(f"{INDEX_FILE} names no {DISPATCHER_FILE} or {TYPES_FILE}")
    if not all(_FILE_NAME.fullmatch(name) for name in files):
        raise BookError(f"{INDEX_FILE} names a file that no book has")
    return files


def _records(model: type[R], content: bytes, name: str) -> list[R]:
    entries = _loads(content, name)
    if not isinstance(entries, list):
        raise BookError(f"{name} is not a list of records")
    return [_read(model, entry, name) for entry in entries]


def _loads(content: bytes, name: str) -> object:
    try:
        return json.loads(content)
    except ValueError:
        raise BookError(f"{name} is not JSON") from None


def _read(model: type[R], data: object, name: str) -> R:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_input=False))
        raise BookError(f"{name} holds a record that is not understood, at {places}") from None
