"""The route book as files: how it is written, and when a set of files is one.

Decides names, digests and bounds of the files, and what stays in force while some of them are missing, half written or
damaged. Reads and writes no files itself.

book.json        which shards there are, and the digests of dispatcher.json and types.json
index-NN.json    digests of routes-NN.json and keys-NN.json: each shard is whole or not, whatever the others are
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from hookline.routes import (
    BOOK_FILE,
    BOOK_SHARDS,
    Book,
    DispatcherRecord,
    Keys,
    Record,
    Route,
    Shard,
    TypeRecord,
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
    """One record as it stands in a file."""
    return _json(record.model_dump(mode="json"))


def shard_files(number: int, routes: Iterable[bytes], keys: Iterable[bytes]) -> dict[str, bytes]:
    """The files of a shard whose records were encoded before, both in the order of their uids."""
    routes_json, keys_json = (b"[" + b",".join(records) + b"]" for records in (routes, keys))
    index = {"format": FORMAT, "routes": digest_of(routes_json), "keys": digest_of(keys_json)}
    return {routes_file(number): routes_json, keys_file(number): keys_json, index_file(number): _json(index)}


def encode_root(
    shards: Iterable[int], dispatcher: DispatcherRecord, types: Iterable[TypeRecord] = ()
) -> dict[str, bytes]:
    """The files that speak of the whole book: which shards it has, the dispatcher, the event types."""
    policy = _json(dispatcher.model_dump(mode="json"))
    schemas = _json([record.model_dump(mode="json") for record in types])
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
    """A book from its files, and what is wrong with shards that stay as they were `before`.

    Each shard stands for itself: one that is half written keeps its last good state and holds no other up. A shard
    equal to the one before is not read again. Raises BookError when the root is not whole, and for a first book also
    when a shard is not: without it, deliveries of its Webhooks would look like those of deleted ones.
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
    if before is not None and root.digest == before.digest:
        return Book(shards, before.dispatcher, before.types, before.digest), problems
    dispatcher = _read(DispatcherRecord, _loads(files[DISPATCHER_FILE], DISPATCHER_FILE), DISPATCHER_FILE)
    types = tuple(_records(TypeRecord, files[TYPES_FILE], TYPES_FILE))
    return Book(shards, dispatcher, types, root.digest), problems


def decode_shard(number: int, files: Mapping[str, bytes]) -> Shard:
    """One shard from its three files. Raises BookError when one is missing, differs from the index or is not known."""
    return _shard(number, files, None)


def decode_keys(number: int, files: Mapping[str, bytes]) -> dict[str, Keys]:
    """The keys of a shard that may not be whole; empty when they cannot be read."""
    name = keys_file(number)
    try:
        return {each.uid: each for each in _records(Keys, files[name], name)}
    except (KeyError, BookError):
        return {}


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
    routes = {each.uid: each for each in _records(Route, files[routes_file(number)], routes_file(number))}
    keys = {each.uid: each for each in _records(Keys, files[keys_file(number)], keys_file(number))}
    if routes.keys() != keys.keys():
        raise BookError(f"{routes_file(number)} and {keys_file(number)} do not name the same Webhooks")
    return Shard(routes, keys, digest_of(files[name]))


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
