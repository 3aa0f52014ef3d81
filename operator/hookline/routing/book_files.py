"""The route book as files: how it is written, and when a set of files is one.

Decides names, digests and bounds of the files, and what stays in force while some of them are missing, half written or
damaged. Reads and writes no files itself.

book.json        which shards there are, and the digests of dispatcher.json and types.json
index-NN.json    digests of routes-NN.json and keys-NN.json: each shard is whole or not, whatever the others are

What a sender of one version does with a book of another one is in docs/upgrades.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from hookline.routing.routes import (
    BOOK_FILE,
    BOOK_SHARDS,
    KNOWN_NEEDS,
    Book,
    DispatcherRecord,
    Keys,
    Record,
    Route,
    RouteHead,
    RouteState,
    Shard,
    TypeRecord,
    held_route,
    index_file,
)

FORMAT = 2
"""Version of the files. A sender refuses a book of a format that it does not know, and keeps its last good one."""

MAX_FILE_BYTES = 960 * 1024
"""Bound of one file: the API server takes a ConfigMap or Secret of 1 MiB at most, with its metadata."""

DISPATCHER_FILE = "dispatcher.json"
TYPES_FILE = "types.json"

R = TypeVar("R", bound=Record)


class BookError(ValueError):
    """Files that are not one whole book. The text names the file and what is wrong, and no secret."""


def routes_file(shard: int) -> str:
    return f"routes-{shard:02}.json"


def keys_file(shard: int) -> str:
    return f"keys-{shard:02}.json"


def encode(book: Book) -> dict[str, bytes]:
    """A book as files: name to content, byte for byte the same for the same book."""
    files = encode_root(book.shards, book.dispatcher, book.types)
    for number, shard in book.shards.items():
        files |= encode_shard(number, shard)
    return files


def encode_shard(number: int, shard: Shard) -> dict[str, bytes]:
    """The three files of a shard. Its index holds the digest of a file with secrets, and lies with that file."""
    routes = [encode_record(shard.routes[uid]) for uid in sorted(shard.routes)]
    keys = [encode_record(shard.keys[uid]) for uid in sorted(shard.keys)]
    return shard_files(number, routes, keys)


def encode_record(record: Record) -> bytes:
    """One record as it stands in a file.

    What is default is absent: a field that is new and not used changes no file, and no sender of another version.
    """
    return _json(_content(record))


def shard_files(number: int, routes: Iterable[bytes], keys: Iterable[bytes]) -> dict[str, bytes]:
    """The files of a shard whose records were encoded before, both in the order of their uids."""
    routes_json, keys_json = (b"[" + b",".join(records) + b"]" for records in (routes, keys))
    index = {"format": FORMAT, "routes": digest_of(routes_json), "keys": digest_of(keys_json)}
    return {routes_file(number): routes_json, keys_file(number): keys_json, index_file(number): _json(index)}


def encode_root(
    shards: Iterable[int], dispatcher: DispatcherRecord, types: Iterable[TypeRecord] = ()
) -> dict[str, bytes]:
    """The files that speak of the whole book: which shards it has, the dispatcher, the event types."""
    policy = encode_record(dispatcher)
    schemas = _json([_content(record) for record in types])
    root = {
        "format": FORMAT,
        "shards": sorted(shards),
        "dispatcher": digest_of(policy),
        "types": digest_of(schemas),
    }
    return {DISPATCHER_FILE: policy, TYPES_FILE: schemas, BOOK_FILE: _json(root)}


def is_secret(file_name: str) -> bool:
    """Whether a file of a book belongs into a Secret, or on a disk into a file for its owner only."""
    return file_name.startswith(("keys-", "index-"))


def decode(files: Mapping[str, bytes], before: Book | None = None) -> tuple[Book, list[str]]:
    """A book from its files, and what is wrong with parts that stay as they were `before`, or are left out.

    Each shard stands for itself: one that is half written keeps its last good state and holds no other up. Each route
    does too: one that is not understood is held. A shard equal to the one before is not read again. Raises BookError
    when the root is not whole, and for a first book also when a shard is not: without it, deliveries of its Webhooks
    would look like those of deleted ones.
    """
    root = _root(files)
    shards: dict[int, Shard] = {}
    problems: list[str] = []
    for number in root.shards:
        last = before.shards.get(number) if before else None
        try:
            shards[number] = _shard(number, files, last)
        except BookError as error:
            if before is None:
                raise
            problems.append(str(error))
            if last is not None:
                shards[number] = last
    problems += [problem for shard in shards.values() for problem in shard.problems]
    if before is not None and root.digest == before.digest:
        return Book(shards, before.dispatcher, before.types, before.digest), problems
    try:
        dispatcher = _dispatcher(files)
        types = tuple(_records(TypeRecord, files[TYPES_FILE], TYPES_FILE))
    except BookError as error:
        if before is None:
            raise
        return Book(shards, before.dispatcher, before.types, before.digest), [*problems, str(error)]
    return Book(shards, dispatcher, types, root.digest), problems


def decode_shard(number: int, files: Mapping[str, bytes]) -> Shard:
    """One shard from its three files. Raises BookError when one is missing, differs from the index or is not known."""
    return _shard(number, files, None)


def decode_keys(number: int, files: Mapping[str, bytes]) -> dict[str, Keys]:
    """The keys of a shard that may not be whole, as far as they can be read."""
    name = keys_file(number)
    try:
        return _readable_keys(files[name], name)
    except (KeyError, BookError):
        return {}


def decode_types(content: bytes) -> list[TypeRecord]:
    """The event types of a root that may not be whole, as far as they can be read."""
    found: list[TypeRecord] = []
    with contextlib.suppress(BookError):
        for entry in _entries(content, TYPES_FILE):
            with contextlib.suppress(BookError):
                found.append(_read(TypeRecord, entry, TYPES_FILE))
    return found


def contracts() -> dict[str, str]:
    """JSON Schemas of the files, for whoever writes or reads a route book: path below schemas/ to text."""
    models: dict[str, type[Record]] = {
        "route": Route,
        "keys": Keys,
        "dispatcher": DispatcherRecord,
        "type": TypeRecord,
    }
    return {
        f"contracts/route-book-{name}.json": json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        for name, model in models.items()
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _content(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_defaults=True)


def digest_of(content: bytes) -> str:
    """Of a file's content."""
    return hashlib.sha256(content).hexdigest()


class _Root(Record):
    format: Literal[2]
    shards: tuple[Annotated[int, Field(ge=0, lt=BOOK_SHARDS)], ...]
    dispatcher: str
    types: str
    digest: str = ""


class _Index(Record):
    format: Literal[2]
    routes: str
    keys: str


def _root(files: Mapping[str, bytes]) -> _Root:
    root = _read(_Root, _known_format(files, BOOK_FILE), BOOK_FILE)
    _same(files, DISPATCHER_FILE, root.dispatcher, BOOK_FILE)
    _same(files, TYPES_FILE, root.types, BOOK_FILE)
    return root.model_copy(update={"digest": digest_of(files[BOOK_FILE])})


def _shard(number: int, files: Mapping[str, bytes], last: Shard | None) -> Shard:
    name = index_file(number)
    content = _known_format(files, name)
    if last is not None and last.digest == digest_of(files[name]):
        return last
    index = _read(_Index, content, name)
    _same(files, routes_file(number), index.routes, name)
    _same(files, keys_file(number), index.keys, name)
    keys = _readable_keys(files[keys_file(number)], keys_file(number))
    routes: dict[str, Route] = {}
    unread: dict[str, str] = {}
    problems: list[str] = []
    for entry in _entries(files[routes_file(number)], routes_file(number)):
        try:
            route, why = _route(entry, routes_file(number))
        except BookError as error:
            problems.append(str(error))
            continue
        if route.uid not in keys:
            route, why = _held(route), why or f"{keys_file(number)} holds no keys of it that are understood"
        routes[route.uid] = route
        if why:
            unread[route.uid] = why
    keys = {uid: keys.get(uid) or Keys(uid=uid) for uid in routes}
    return Shard(routes, keys, digest_of(files[name]), unread, tuple(problems))


def _route(entry: object, name: str) -> tuple[Route, str]:
    """A route, and why it is held whatever its record says, if it is. Raises BookError of one that is nobody's.

    To call without knowing all that the operator wrote may mean to call unsigned, or whom one should not.
    """
    try:
        route = _read(Route, entry, name)
    except BookError as error:
        disabled = isinstance(entry, dict) and entry.get("state") == RouteState.DISABLED
        state = RouteState.DISABLED if disabled else RouteState.HELD
        return held_route(_read(RouteHead, entry, name), state=state), str(error)
    unknown = sorted(set(route.needs) - KNOWN_NEEDS)
    if unknown:
        return _held(route), f"it needs {', '.join(unknown)}, which this version of the sender does not know"
    return route, ""


def _held(route: Route) -> Route:
    return route.model_copy(update={"state": RouteState.HELD}) if route.state is RouteState.ACTIVE else route


def _readable_keys(content: bytes, name: str) -> dict[str, Keys]:
    """Those that are understood; the routes of the others are held. Raises BookError of what is no list."""
    found: dict[str, Keys] = {}
    for entry in _entries(content, name):
        with contextlib.suppress(BookError):
            keys = _read(Keys, entry, name)
            found[keys.uid] = keys
    return found


def _dispatcher(files: Mapping[str, bytes]) -> DispatcherRecord:
    record = _read(DispatcherRecord, _loads(files[DISPATCHER_FILE], DISPATCHER_FILE), DISPATCHER_FILE)
    try:
        record.policy()
    except ValueError as error:
        raise BookError(f"{DISPATCHER_FILE} states no policy that is understood: {error}") from None
    return record


def _known_format(files: Mapping[str, bytes], name: str) -> object:
    if name not in files:
        raise BookError(f"{name} is missing")
    content = _loads(files[name], name)
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version != FORMAT:
        raise BookError(f"{name} has format {version}; this sender reads format {FORMAT}")
    return content


def _same(files: Mapping[str, bytes], name: str, digest: str, named_in: str) -> None:
    if name not in files:
        raise BookError(f"{name} is missing")
    if digest_of(files[name]) != digest:
        raise BookError(f"{name} is not the one that {named_in} names")


def _records(model: type[R], content: bytes, name: str) -> list[R]:
    return [_read(model, entry, name) for entry in _entries(content, name)]


def _entries(content: bytes, name: str) -> list[object]:
    entries = _loads(content, name)
    if not isinstance(entries, list):
        raise BookError(f"{name} is not a list of records")
    return entries


def _loads(content: bytes, name: str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BookError(f"{name} is not JSON") from None


def _read(model: type[R], data: object, name: str) -> R:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_input=False))
        raise BookError(f"{name} holds a record that is not understood, at {places}") from None
