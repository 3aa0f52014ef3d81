"""The route book on a sender's side: read from a folder, checked shard by shard, swapped at once.

Keeps what was last good of each shard while files are missing, half written or damaged, and says so. Reads no more
than has changed. Never writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import structlog

from hookline.delivery.book_changes import changes
from hookline.resources.egress_policy import EgressPolicy
from hookline.routing.book_files import BookError, decode
from hookline.routing.routes import Book
from hookline.runtime.folders import follow_folder
from hookline.runtime.metrics import SenderMetrics

log = structlog.get_logger(__name__)

CHANGES_SAID = 20
"""Webhooks of which one change of the book says what became of them."""

PATIENCE_SECONDS = 10.0
"""How long a shard may be unfinished before that is worth a line: its two objects reach a pod one after the other."""


class RouteBook:
    """The book in force. `current` is None until a first good one was read."""

    def __init__(self, folder: Path, metrics: SenderMetrics) -> None:
        self._folder = folder
        self._metrics = metrics
        self._listeners: list[Callable[[Book], None]] = []
        self._troubles = _Troubles()
        self.current: Book | None = None
        self.policy = EgressPolicy()
        self.problem = "nothing was read yet"
        """What is wrong with the files now. Empty when `current` is exactly what they say."""

    def on_change(self, listener: Callable[[Book], None]) -> None:
        """Call `listener` with each new book."""
        self._listeners.append(listener)

    def reload(self) -> None:
        """Read what has changed in the folder; swap if it makes another book."""
        try:
            book, problems = decode(_Files(self._folder), self.current)
        except BookError as error:
            self._say([str(error)])
            return
        except OSError as error:
            self._say([f"its folder cannot be read ({type(error).__name__})"])
            return
        self._say(problems)
        if self.current is None or book.served() != self.current.served():
            self._swap(book)

    async def watch(self, stop: asyncio.Event) -> None:
        """Reload on every change of the folder, until `stop`. A look reads the small index files only."""
        await follow_folder(self._folder, self.reload, stop, what="the route book")

    def _swap(self, book: Book) -> None:
        before, self.current, self.policy = self.current, book, book.dispatcher.policy()
        webhooks = webhooks_in(book)
        self._metrics.book_loaded(webhooks, unread=len(book.unread))
        log.info("configuration loaded", webhooks=webhooks, shards=len(book.shards), root=book.digest[:12])
        self._say_changes(before, book)
        self._say_unread(before, book)
        for listener in self._listeners:
            listener(book)

    def _say_changes(self, before: Book | None, now: Book) -> None:
        """What changed for which Webhook; of very many, how many."""
        if before is None:
            return
        found = list(changes(before, now))
        for each in found[:CHANGES_SAID]:
            log.info("webhook changed", webhook=each.webhook, change=each.what)
        if len(found) > CHANGES_SAID:
            log.info("more webhooks changed", count=len(found) - CHANGES_SAID)

    def _say_unread(self, before: Book | None, now: Book) -> None:
        """Webhooks that this version cannot do right by; of very many, how many."""
        said = before.unread if before is not None else {}
        new = [uid for uid, why in now.unread.items() if said.get(uid) != why]
        for uid in new[:CHANGES_SAID]:
            route = now.route(uid)
            log.error(
                "a webhook is held: it needs another version of the sender",
                webhook=route.title if route else uid,
                problem=now.unread[uid],
            )
        if len(new) > CHANGES_SAID:
            log.error("more webhooks are held: they need another version of the sender", count=len(new) - CHANGES_SAID)

    def _say(self, problems: list[str]) -> None:
        if problems and "; ".join(problems) != self.problem:
            self._metrics.book_refused()
        self.problem = "; ".join(problems)
        patience_seconds = PATIENCE_SECONDS if self.current else 0.0
        for text in self._troubles.worth_saying(problems, time.monotonic(), patience_seconds):
            kept = "keeping what was last good" if self.current else "waiting for a first good one"
            log.warning("route book not usable", problem=text, doing=kept)


def webhooks_in(book: Book) -> int:
    """How many Webhooks a book holds."""
    return sum(1 for _ in book.routes())


class _Files(Mapping[str, bytes]):
    """The files of a folder, each read when it is asked for, and once.

    A kubelet puts each version of a volume into a folder of its own and swings the link `..data` to it: read through
    the link's target, all files are of one version.
    """

    def __init__(self, folder: Path) -> None:
        data = folder / "..data"
        self._folder = data.resolve() if data.is_symlink() else folder
        self._read: dict[str, bytes | None] = {}

    def __getitem__(self, name: str) -> bytes:
        if name not in self._read:
            self._read[name] = self._content(name)
        content = self._read[name]
        if content is None:
            raise KeyError(name)
        return content

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self._folder.glob("*.json"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _content(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BookError(f"{name} cannot be read ({type(error).__name__})") from None


class _Troubles:
    """Each trouble once, and only when it lasts: a writer at work makes several unfinished books."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}
        self._said: set[str] = set()

    def worth_saying(self, problems: Iterable[str], now_s: float, patience_seconds: float) -> list[str]:
        """Those of the present problems that have lasted and were not said before."""
        self._since_s = {text: self._since_s.get(text, now_s) for text in problems}
        self._said &= self._since_s.keys()
        new = [
            text
            for text, since_s in self._since_s.items()
            if text not in self._said and now_s - since_s >= patience_seconds
        ]
        self._said.update(new)
        return new
