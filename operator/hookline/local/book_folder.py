"""The route book of one machine as a folder: each file whole or not at all, and what it names before what names it.

Decides the order of writing and which files no longer belong. Never decides what a book holds.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from hookline.local import private_files
from hookline.routing.book_files import BookError, decode_keys, decode_shard, encode, is_secret, keys_file, routes_file
from hookline.routing.routes import BOOK_FILE, BOOK_SHARDS, Book, Keys, Route, index_file


def write(book: Book, folder: Path) -> int:
    """Make `folder` hold `book`; how many files were written. The same book again writes none."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = encode(book)
    changed = [name for name in sorted(files, key=_turn) if _differs(folder / name, files[name])]
    for name in changed:
        mode = private_files.PRIVATE if is_secret(name) else private_files.FOR_ALL
        private_files.write(folder / name, files[name], mode=mode)
    for path in folder.glob("*.json"):
        if path.name not in files:
            path.unlink()
    return len(changed)


def read_keys(folder: Path) -> dict[str, Keys]:
    """The keys that the folder's book holds, by uid of the Webhook. What cannot be read is left out."""
    found: dict[str, Keys] = {}
    for number in range(BOOK_SHARDS):
        name = keys_file(number)
        try:
            found |= decode_keys(number, {name: (folder / name).read_bytes()})
        except FileNotFoundError:
            continue
    return found


def read_routes(folder: Path) -> dict[str, Route]:
    """The routes that the folder's book holds, by title. Those of a shard that is not whole are left out."""
    found: dict[str, Route] = {}
    for number in range(BOOK_SHARDS):
        names = (routes_file(number), keys_file(number), index_file(number))
        files = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
        with contextlib.suppress(BookError):
            found |= {route.title: route for route in decode_shard(number, files).routes.values()}
    return found


def _turn(name: str) -> tuple[int, str]:
    """Digests after what they are of: a reader in between sees an old book or an unfinished one, never a wrong one."""
    if name == BOOK_FILE:
        return 2, name
    return (1 if name.startswith("index-") else 0), name


def _differs(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() != content
    except FileNotFoundError:
        return True
