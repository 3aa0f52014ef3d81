"""Writes a route book into a folder: each file whole or not at all, the index last."""

from __future__ import annotations

import os
from pathlib import Path

from hookline.routes import INDEX_FILE, Book, encode, is_secret


def write(book: Book, folder: Path) -> int:
    """Make `folder` hold `book`; how many files were written. The same book again writes none."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = encode(book)
    changed = [name for name in files if name != INDEX_FILE and _differs(folder / name, files[name])]
    for name in changed:
        _replace(folder / name, files[name], private=is_secret(name))
    if _differs(folder / INDEX_FILE, files[INDEX_FILE]):
        _replace(folder / INDEX_FILE, files[INDEX_FILE], private=is_secret(INDEX_FILE))
        changed.append(INDEX_FILE)
    for path in folder.glob("*.json"):
        if path.name not in files:
            path.unlink()
    return len(changed)


def _differs(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() != content
    except FileNotFoundError:
        return True


def _replace(path: Path, content: bytes, *, private: bool) -> None:
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    part.replace(path)
