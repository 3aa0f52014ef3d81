"""A watch as it is sent: a line for each attempt, bookmarks, and how it ends.

It ends after its time, when its user may no longer watch, when its client is gone, or reads nothing (then the server
cuts it), and when the process ends. A client goes on where it was, at whichever replica. Attempts do not change and are
not taken back: there is ADDED, and no other event of an object.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Send

from hookline.api.answers import Stream, encoded, until_gone
from hookline.api.kinds import API_VERSION, Resource
from hookline.api.listing import item_in
from hookline.api.log import Attempt, Expired, Log, Page, Unreadable
from hookline.api.query import Form, Options
from hookline.api.shelves import Shelf
from hookline.api.status import Refused, Status, expired, unavailable
from hookline.api.table import table
from hookline.runtime.background import background
from hookline.runtime.tasks import Deadline, cancel

LONGEST_SECONDS = 3600.0
"""Of a watch, whatever it asks for."""

SHORTEST_UNASKED_SECONDS = 1800.0
"""Of one that asks for no time: as in kube-apiserver up to twice as long, so that not all of them end at once."""

TICK_SECONDS = 30.0
"""How often a watch looks whether its user may still watch, and says where it is if that is wished."""

_AHEAD = 64
"""Attempts that are read while the client still reads those before."""

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"

_TOO_OLD = "too old resource version: the log does not reach back so far; list again"


class _End:
    """Put among the attempts when nothing more is to be sent."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What one watch needs. `still_may` raises Refused once its user may no longer watch."""

    log: Log
    shelf: Shelf
    resource: Resource
    namespace: str
    options: Options
    form: Form
    still_may: Callable[[], Awaitable[None]]
    stopping: asyncio.Event

    async def send(self, receive: Receive, send: Send) -> None:
        """Until it ends. Raises Unreadable, Expired and Refused before the answer has begun."""
        async with aclosing(self._what_there_is()) as parts:
            first = await anext(parts)
            lines = _Lines(self, Stream(send), self.options.version if first is None else first.version)
            await lines.stream.begin()
            if self.options.initial_events and not await self._send_what_there_is(first, parts, lines):
                return
        inbox = _Inbox()
        async with background(inbox.fill(self._what_comes(lines.version)), inbox.end_with(receive, self.stopping)):
            await self._pass_on(inbox, lines)
        await lines.stream.end()

    async def _what_there_is(self) -> AsyncGenerator[Page[Any] | None, None]:
        """Part by part; of a watch that does not begin with it one part, which says the version, or None if it is
        known."""
        selection = self.options.selection
        if self.options.initial_events:
            async for page in self.shelf.pages(self.namespace, selection, limit=0):
                yield page
        else:
            yield None if self.options.version else await self.shelf.page(self.namespace, selection, limit=1)

    def _what_comes(self, since: str) -> AsyncIterator[Attempt]:
        selection = self.options.selection
        if selection.nothing or (self.namespace and selection.namespace not in ("", self.namespace)):
            return _nothing()
        return self.log.follow_attempts(self.namespace or selection.namespace, selection.wanted, since)

    async def _send_what_there_is(
        self, page: Page[Any] | None, rest: AsyncIterator[Page[Any] | None], lines: _Lines
    ) -> bool:
        """Whether all of it could be sent."""
        try:
            while page is not None:
                for each in page.items:
                    await lines.added(each, moves=False)
                page = await anext(rest, None)
        except (Unreadable, Expired):
            await lines.stream.end()
            return False
        if self.options.initial_events_end:
            await lines.bookmark({_INITIAL_EVENTS_END: "true"})
        await lines.stream.flush()
        return True

    async def _pass_on(self, inbox: _Inbox, lines: _Lines) -> None:
        ends_s = time.monotonic() + _seconds(self.options.timeout_seconds)
        tick_s = time.monotonic() + TICK_SECONDS
        name = self.options.selection.name
        while (now_s := time.monotonic()) < ends_s:
            if now_s >= tick_s:
                tick_s = now_s + TICK_SECONDS
                try:
                    await self.still_may()
                except Refused:
                    return
                if self.options.bookmarks:
                    await lines.bookmark({})
            try:
                with Deadline(max(min(ends_s, tick_s) - now_s, 0.0)):
                    event = await inbox.next()
            except TimeoutError:
                continue
            if isinstance(event, Attempt):
                if name in ("", event.name):
                    await lines.added(event, moves=True)
                if inbox.is_empty:
                    await lines.stream.flush()
            elif isinstance(event, Expired):
                await lines.error(expired(_TOO_OLD))
                return
            elif isinstance(event, Unreadable):
                await lines.error(unavailable(str(event)))
                return
            else:
                return


class _Lines:
    """What a client reads, and the version up to which it has been told."""

    def __init__(self, watch: Watch, stream: Stream, version: str) -> None:
        self._watch = watch
        self._headers = True
        self.stream = stream
        self.version = version

    async def added(self, attempt: Attempt, *, moves: bool) -> None:
        """`moves`: whether all before it were told, so that a watch can go on from it."""
        if moves:
            self.version = attempt.version
        said = item_in(self._watch.resource, self._watch.form, self._watch.options, attempt, time.time())
        if self._watch.form is Form.TABLE:
            said = self._as_table(said, attempt.version)
        await self._line("ADDED", said)

    async def bookmark(self, annotations: dict[str, str]) -> None:
        meta: dict[str, Any] = {"resourceVersion": self.version}
        if annotations:
            meta["annotations"] = annotations
        kind = {"kind": self._watch.resource.kind, "apiVersion": API_VERSION}
        if self._watch.form is not Form.OBJECT:
            kind = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        said: dict[str, Any] = {**kind, "metadata": meta}
        if self._watch.form is Form.TABLE:
            said = self._as_table({"cells": [], "object": said}, self.version)
        await self._line("BOOKMARK", said)
        await self.stream.flush()

    async def error(self, status: Status) -> None:
        await self._line("ERROR", status.document())

    def _as_table(self, row: dict[str, Any], version: str) -> dict[str, Any]:
        """The first one names the columns."""
        headers, self._headers = self._headers, False
        return table(self._watch.resource, [row], {"resourceVersion": version}, headers=headers)

    async def _line(self, kind: str, said: dict[str, Any]) -> None:
        await self.stream.give(encoded({"type": kind, "object": said}))


class _Inbox:
    """What comes, a few ahead of what is sent, and the end."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Attempt | Expired | Unreadable | _End] = asyncio.Queue()
        self._room = asyncio.Semaphore(_AHEAD)

    @property
    def is_empty(self) -> bool:
        return self._events.empty()

    async def next(self) -> Attempt | Expired | Unreadable | _End:
        event = await self._events.get()
        if isinstance(event, Attempt):
            self._room.release()
        return event

    async def fill(self, attempts: AsyncIterator[Attempt]) -> None:
        end: Expired | Unreadable | _End = _End()
        try:
            async for each in attempts:
                await self._room.acquire()
                self._events.put_nowait(each)
        except (Expired, Unreadable) as error:
            end = error
        self._events.put_nowait(end)
        await asyncio.Event().wait()

    async def end_with(self, receive: Receive, stopping: asyncio.Event) -> None:
        """When the client goes, or the process stops."""
        gone, stopped = asyncio.create_task(until_gone(receive)), asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([gone, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel([gone, stopped])
        self._events.put_nowait(_End())
        await asyncio.Event().wait()


async def _nothing() -> AsyncIterator[Attempt]:
    await asyncio.Event().wait()
    yield  # type: ignore[misc]


def _seconds(asked: int | None) -> float:
    if not asked:
        return random.uniform(SHORTEST_UNASKED_SECONDS, LONGEST_SECONDS)
    return min(float(asked), LONGEST_SECONDS)
