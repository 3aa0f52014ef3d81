"""The route book on a sender's side: read from a folder, checked, swapped as a whole.

Keeps the last good book when the files are missing, half written or damaged, and says so. Never writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog
from watchfiles import awatch

from hookline.egress import EgressPolicy, parse_cidrs
from hookline.routes import INDEX_FILE, Book, BookError, decode, digest_of, file_names

log = structlog.get_logger(__name__)

RESCAN_SECONDS = 5.0
"""Looked at anyway this often: a file system may not report changes."""


class RouteBook:
    """The book in force. `current` is None until a first good one was read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listeners: list[Callable[[Book], None]] = []
        self._complaint = ""
        self.current: Book | None = None
        self.policy = EgressPolicy()

    def on_change(self, listener: Callable[[Book], None]) -> None:
        """Call `listener` with each new book."""
        self._listeners.append(listener)

    def reload(self) -> None:
        """Read the folder; swap if it holds another whole book."""
        try:
            files = _read(self._folder)
            if self.current is not None and self.current.digest == digest_of(files[INDEX_FILE]):
                return
            book = decode(files)
            policy = EgressPolicy(parse_cidrs(book.dispatcher.allow_cidrs))
        except (BookError, ValueError, OSError) as error:
            self._complain(str(error) if not isinstance(error, OSError) else f"{type(error).__name__} while reading it")
            return
        self._complaint = ""
        self.current, self.policy = book, policy
        log.info("route book in force", digest=book.digest[:12], webhooks=len(book.routes))
        for listener in self._listeners:
            listener(book)

    async def watch(self, stop: asyncio.Event) -> None:
        """Reload on every change of the folder, until `stop`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.reload()
        async for _ in awatch(
            self._folder,
            debounce=100,
            step=20,
            stop_event=stop,
            rust_timeout=int(RESCAN_SECONDS * 1000),
            yield_on_timeout=True,
        ):
            self.reload()

    def _complain(self, text: str) -> None:
        """Once for each kind of trouble: a writer at work makes several half books."""
        if text != self._complaint:
            self._complaint = text
            kept = "keeping the last good one" if self.current else "waiting for a first good one"
            log.warning("route book not usable", problem=text, doing=kept)


def _read(folder: Path) -> dict[str, bytes]:
    try:
        index = (folder / INDEX_FILE).read_bytes()
    except FileNotFoundError:
        raise BookError(f"{INDEX_FILE} is missing") from None
    files = {INDEX_FILE: index}
    for name in file_names(index):
        path = folder / name
        if path.is_file():
            files[name] = path.read_bytes()
    return files
