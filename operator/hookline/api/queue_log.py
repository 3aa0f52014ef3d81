"""What the API asks of the queue, answered: the one way to attempts, deliveries and dead letters of all Dispatchers.

Lists of attempts and dead letters hold what their rows need; a single one is read whole, with headers and the answer,
out of its stream. Needs the rights of Role.API (stream/permissions).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import structlog

from hookline.api.attempts import Attempts
from hookline.api.dead_letters import DeadLetters
from hookline.api.index import Entry
from hookline.api.log import Attempt, Dead, Expired, Page, Unreadable, Waiting, Wanted
from hookline.api.object_names import attempt_name, place_of_attempt
from hookline.api.places import Begin, Part, Version, merged, more_text, read_more, read_version, version_text
from hookline.api.waiting import Named, WaitingDeliveries
from hookline.delivery.messages import event_of
from hookline.runtime.background import background
from hookline.runtime.tasks import within
from hookline.stream import names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.event_reader import EventReader
from hookline.stream.layout import Layout, plain
from hookline.stream.streams import find

log = structlog.get_logger(__name__)

LAYOUT_SECONDS = 10.0
"""Between two looks at where the streams are."""

AHEAD_SECONDS = 5.0
"""How long a version is waited for that is not known yet: another replica may have been quicker."""

LAYOUT_SOON_SECONDS = 0.5
"""The same, before they are known."""

FOLLOW_STEP = 500
"""Attempts that a follower is given before the next ones are read."""

_BEHIND_ALL = str(2**63 - 1)

T = TypeVar("T")
Ask: TypeAlias = Callable[["_Queue", str], Awaitable[Part[T]]]
"""What one Dispatcher has from a place on."""


class _Question(NamedTuple):
    namespace: str
    wanted: Wanted
    limit: int
    begin: str


@dataclass(frozen=True, slots=True)
class Source:
    """The queue of one Dispatcher, over a connection, with a folder that nobody else has: it may be emptied at any
    time, and a full one takes gigabytes (docs/operating.md)."""

    dispatcher: str
    """How people call it."""
    client: Client
    folder: Path


class QueueLog:
    """An implementation of `Log`. Its `run` must be running for as long as it is asked."""

    def __init__(self, sources: Sequence[Source], *, names_of: Callable[[str], Named | None] = lambda _: None) -> None:
        self._changed = asyncio.Event()
        # Always in one order: versions and places name them by it.
        self._queues = [
            _Queue(each, names_of, self._wake) for each in sorted(sources, key=lambda each: each.dispatcher)
        ]

    async def run(self) -> None:
        """Follow the streams until cancelled."""
        async with AsyncExitStack() as stack:
            for each in self._queues:
                await stack.enter_async_context(background(*each.work()))
            await asyncio.Event().wait()

    @property
    def is_ready(self) -> bool:
        """Whether attempts may be asked for: all was read that there was at the start."""
        return all(each.attempts.is_ready for each in self._queues)

    @property
    def behind(self) -> Sequence[str]:
        """Dispatchers of which only what was read before is told: now their queue, or an index, cannot be read."""
        return [each.dispatcher for each in self._queues if each.attempts.is_behind or each.dead.is_behind]

    async def attempts(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Attempt]:
        async def ask(queue: _Queue, place: str) -> Part[Attempt]:
            part = await queue.attempts.before(namespace, wanted, _number(place), limit)
            return [(str(each.place), queue.attempt(each)) for each in part.entries], _text(part.more)

        versions = [each.attempts.version() for each in self._queues]
        # What the first part has is what its version says, whatever comes meanwhile.
        first = [str(each.place + 1) for each in versions]
        question = _Question(namespace, wanted, limit, begin)
        return await self._page("attempts", question, first, version_text(versions), ask, lambda each: each.record.at_s)

    async def until_told(self, version: str) -> None:
        try:
            versions = read_version(version, len(self._queues))
        except Expired:
            return
        now = [each.attempts.version() for each in self._queues]
        if [each.created_ms for each in versions] == [each.created_ms for each in now]:
            await self._wait_for(versions)

    def check_attempts_of(self, dispatcher: str) -> None:
        found = next((each.attempts for each in self._queues if each.dispatcher == dispatcher), None)
        if found is None or not found.is_ready or found.is_behind:
            raise Unreadable(f"the attempts log of Dispatcher {dispatcher} cannot be read now")

    async def attempt(self, namespace: str, name: str) -> Attempt | None:
        async def whole(queue: _Queue, entry: Entry) -> Attempt | None:
            found = await queue.attempts.whole(entry)
            return queue.attempt(found) if found is not None and queue.attempt(found).name == name else None

        return await self._of_attempt(namespace, name, whole)

    async def follow_attempts(self, namespace: str, wanted: Wanted, since: str) -> AsyncIterator[Attempt]:
        """An empty `since` means from now on."""
        now = [each.attempts.version() for each in self._queues]
        versions = read_version(since, len(self._queues)) if since else now
        await self._wait_for(versions)
        while True:
            changed = self._changed
            for number, queue in enumerate(self._queues):
                is_all = False
                while not is_all:
                    followed = await queue.attempts.after(namespace, wanted, versions[number], FOLLOW_STEP)
                    for entry in followed.entries:
                        versions[number] = replace(versions[number], place=entry.place)
                        yield replace(queue.attempt(entry), version=version_text(versions))
                    versions[number] = replace(versions[number], place=followed.place)
                    is_all = followed.is_all
            await changed.wait()

    async def deliveries(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Waiting]:
        async def ask(queue: _Queue, place: str) -> Part[Waiting]:
            return await queue.waiting.after(namespace, wanted, place, limit)

        question = _Question(namespace, wanted, limit, begin)
        return await self._page("deliveries", question, [""] * len(self._queues), "", ask, lambda _: 0.0)

    async def delivery(self, namespace: str, name: str) -> Waiting | None:
        found = await self._waiting(namespace, name)
        return found[0] if found is not None else None

    async def dead_letters(self, namespace: str, wanted: Wanted, *, limit: int, begin: str = "") -> Page[Dead]:
        async def ask(queue: _Queue, place: str) -> Part[Dead]:
            found, more = await queue.dead.before(namespace, wanted, _number(place), limit)
            return [(str(at), each) for at, each in found], _text(more)

        question = _Question(namespace, wanted, limit, begin)
        first = [_BEHIND_ALL] * len(self._queues)
        return await self._page("deadletters", question, first, "", ask, lambda each: each.failed_at_s)

    async def dead_letter(self, namespace: str, name: str) -> Dead | None:
        found = await self._dead(namespace, name)
        return found[0] if found is not None else None

    async def drop_dead_letter(self, namespace: str, name: str) -> bool:
        async def drop(queue: _Queue) -> bool | None:
            return await queue.dead.drop(namespace, name) or None

        return bool(await self._first(drop))

    async def body_of_attempt(self, namespace: str, name: str) -> bytes | None:
        return await self._of_attempt(namespace, name, lambda queue, entry: queue.body_of(entry))

    async def body_of_delivery(self, namespace: str, name: str) -> bytes | None:
        found = await self._waiting(namespace, name)
        return found[1] if found is not None else None

    async def body_of_dead_letter(self, namespace: str, name: str) -> bytes | None:
        found = await self._dead(namespace, name)
        return found[1] if found is not None else None

    async def _of_attempt(
        self, namespace: str, name: str, ask: Callable[[_Queue, Entry], Awaitable[T | None]]
    ) -> T | None:
        """What is asked of the attempt that has this name, of whichever Dispatcher."""
        place = place_of_attempt(name)

        async def of(queue: _Queue) -> T | None:
            entry = await queue.attempts.at(place) if place is not None else None
            if entry is None or namespace not in ("", entry.tenant) or queue.attempt(entry).name != name:
                return None
            return await ask(queue, entry)

        return await self._first(of)

    async def _waiting(self, namespace: str, name: str) -> tuple[Waiting, bytes] | None:
        return await self._first(lambda queue: queue.waiting.get(namespace, name))

    async def _dead(self, namespace: str, name: str) -> tuple[Dead, bytes] | None:
        return await self._first(lambda queue: queue.dead.get(namespace, name))

    async def _first(self, ask: Callable[[_Queue], Awaitable[T | None]]) -> T | None:
        """What the first Dispatcher has that has it. One that cannot be read hides none of another; None says that
        each could be read, and none has it. Raises Unreadable."""
        unread: Unreadable | None = None
        for queue in self._queues:
            try:
                found = await ask(queue)
            except Unreadable as error:
                unread = unread or Unreadable(f"it may be of Dispatcher {queue.dispatcher}: {error}", soon=error.soon)
                continue
            if found is not None:
                return found
        if unread is not None:
            raise unread
        return None

    async def _page(
        self,
        kind: str,
        question: _Question,
        first: Sequence[str],
        version: str,
        ask: Ask[T],
        at_s: Callable[[T], float],
    ) -> Page[T]:
        """`first` is where the list of each Dispatcher begins, `at_s` the time by which lists are merged."""
        namespace, wanted, limit, begin = question
        start = read_more(begin, kind, namespace, wanted, len(self._queues))
        places = start.places if begin else first
        parts = [
            ((), None) if place is None else await ask(queue, place)
            for queue, place in zip(self._queues, places, strict=True)
        ]
        items, behind = merged(parts, places, limit, at_s)
        version = start.version or version
        return Page(items, more_text(Begin(behind, version), kind, namespace, wanted), version)

    async def _wait_for(self, versions: Sequence[Version]) -> None:
        """Until they are known. Raises Expired."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + AHEAD_SECONDS
        while any(
            version.place > queue.attempts.version().place
            for version, queue in zip(versions, self._queues, strict=True)
        ):
            if loop.time() >= until_s:
                if self.behind:
                    raise Unreadable(f"what came since cannot be read now, of Dispatchers {', '.join(self.behind)}")
                raise Expired("this version is not known; list anew")
            await within(self._changed, until_s - loop.time())

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _Queue:
    """The queue of one Dispatcher."""

    def __init__(self, source: Source, names_of: Callable[[str], Named | None], on_change: Callable[[], None]) -> None:
        self._client = source.client
        self.dispatcher = source.dispatcher
        self._layout: Layout | None = None
        self._events = EventReader(source.client, lambda: self._layout or plain())
        self.attempts = Attempts(
            source.client, source.folder, self._events, dispatcher=source.dispatcher, on_change=on_change
        )
        self.dead = DeadLetters(
            source.client, source.folder, self._events, self._known_layout, dispatcher=source.dispatcher
        )
        self.waiting = WaitingDeliveries(
            source.client, self._events, self._known_layout, dispatcher=source.dispatcher, names_of=names_of
        )

    def work(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return self._find(), self.attempts.run(), self.dead.run()

    def attempt(self, entry: Entry) -> Attempt:
        return Attempt(
            name=attempt_name(entry.record.event_id, entry.record.attempt, entry.place),
            namespace=entry.tenant,
            webhook=entry.webhook,
            uid=entry.uid,
            sender=entry.sender,
            dispatcher=self.dispatcher,
            version=str(replace(self.attempts.version(), place=entry.place)),
            record=entry.record,
        )

    async def body_of(self, entry: Entry) -> bytes | None:
        """Of the event of an attempt: it is known by its place, and must have the tenant and the id."""
        seq, layout = entry.record.event_seq, self._known_layout()
        if layout is None:
            raise Unreadable("the streams of the queue are not known yet; ask again soon")
        try:
            for stream in layout.streams(names.EVENTS) if seq > 0 else ():
                message = await self._events.read(stream, seq)
                if message is None or not names.is_event(message.subject):
                    continue
                event = event_of(
                    message.subject, message.headers, message.body, seq=seq, stored_s=message.stored_ns / 1e9
                )
                if event.tenant == entry.tenant and event.id == entry.record.event_id:
                    return event.body
        except (StreamUnavailable, StreamRefused) as error:
            raise Unreadable(str(error)) from None
        return None

    def _known_layout(self) -> Layout | None:
        return self._layout

    async def _find(self) -> None:
        while True:
            try:
                self._layout = await find(self._client)
            except (StreamUnavailable, StreamRefused) as error:
                log.debug("it is not known where the streams are", problem=str(error))
            await asyncio.sleep(LAYOUT_SECONDS if self._layout is not None else LAYOUT_SOON_SECONDS)


def _is_ahead(version: Version, queue: _Queue) -> bool:
    return version.place > queue.attempts.version().place


def _number(place: str) -> int:
    """Raises Expired."""
    if not place.isascii() or not place.isdigit() or len(place) > len(_BEHIND_ALL) or int(place) >= 2**63:
        raise Expired("the list is not known any more; ask for it from the beginning")
    return int(place)


def _text(place: int | None) -> str | None:
    return None if place is None else str(place)
