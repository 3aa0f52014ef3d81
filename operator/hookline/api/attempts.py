"""The attempts of one Dispatcher: its log is followed into the index, out of which lists are answered.

Looks at the stream all the time, and reads what it does not have: from where it stopped, so nothing is missed, whatever
came between. A stream that was made anew begins a new file. Lists are refused until all is read that there was at the
start: half a list would look like the whole.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from hookline.api import log_messages
from hookline.api.index import SCHEMA, Entry, IndexWriter, remove
from hookline.api.index_reader import IndexReader, Part
from hookline.api.log import Expired, Unreadable, Wanted
from hookline.api.looking import Looking
from hookline.api.object_names import place_in_log, seq_of
from hookline.api.places import Version
from hookline.runtime.tasks import cancel
from hookline.runtime.tuning import give_memory_back
from hookline.stream import log_reader, names
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.event_reader import EventReader
from hookline.stream.log_reader import StreamState
from hookline.stream.stored import Stored

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks at the stream: how late a new record is seen."""

PUSHED_OUT_SECONDS = 10.0
"""Between two looks at which Webhooks have as much as is kept of one."""

PUSHED_OUT_AT_ONCE = 500
"""Webhooks whose first message is looked at in one look."""

READERS = 2
"""Threads that answer lists."""

LIST_MOST = 1000
"""Records of one part of a list."""

_TENANTS_REMEMBERED = 50_000
_NO_STREAM = StreamState("1970-01-01T00:00:00.001Z", 1, 0, 0, 0, 0)
"""Stands for a log that no sender has made yet: nothing is in it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Followed:
    """What came behind a place, and how far that is all; `is_all` when nothing more is there now."""

    entries: Sequence[Entry]
    place: int
    is_all: bool


@dataclass(eq=False, frozen=True, slots=True)
class _File:
    """One that is made anew under the same name is another one."""

    path: Path


class Attempts:
    """Of the log that a connection leads to, with files in a folder of its own. `on_change` is called after records
    came; it must only pass it on."""

    def __init__(
        self, client: Client, folder: Path, events: EventReader, *, dispatcher: str, on_change: Callable[[], None]
    ) -> None:
        self._client = client
        self._folder = folder
        self._events = events
        self._looking = Looking(
            "the attempts log", "its index", dispatcher, self._look, self._begin_anew, self._begin_anew_unless_ready
        )
        self._on_change = on_change
        self._writing = ThreadPoolExecutor(1, "attempts-write")
        self._reading = ThreadPoolExecutor(READERS, "attempts-read")
        self._local = threading.local()
        self._readers: set[IndexReader] = set()
        self._writer: IndexWriter | None = None
        self._state: StreamState | None = None
        self._file: _File | None = None
        """What may be read, once it has caught up."""
        self._is_broken = False
        self._progress = ""
        self._last = 0
        self._newest: dict[str, int] = {}
        self._newest_from = 0
        self._looked_at: tuple[object, ...] = ()
        self._look_at_s = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether all was read that there was at the start."""
        return self._file is not None

    @property
    def is_behind(self) -> bool:
        """Whether something is wrong, so that what comes now is not known."""
        return bool(self._looking.problem)

    def version(self) -> Version:
        """Of all that is known now. Raises Unreadable."""
        if self._state is None or self._file is None:
            why = self._looking.problem or f"it is being read{self._progress}"
            raise Unreadable(f"the attempts log cannot be told now: {why}; ask again soon")
        return Version(self._state.created_ms, self._last)

    async def before(self, namespace: str, wanted: Wanted, place: int, limit: int) -> Part:
        """As IndexReader.before. Raises Unreadable."""
        self.version()
        return await self._read(
            lambda index: index.before(namespace, wanted, place, self._floor(), min(limit, LIST_MOST))
        )

    async def after(self, namespace: str, wanted: Wanted, since: Version, limit: int) -> Followed:
        """Raises Unreadable, Expired."""
        now = self.version()
        if since.created_ms != now.created_ms:
            raise Expired("the attempts log was made anew; list anew")
        if since.place > now.place:
            raise Expired("this version is not known; list anew")
        if self._has_nothing_of(namespace, since.place):
            return Followed((), now.place, is_all=True)
        part, pushed_out = await self._read(
            lambda index: (index.after(namespace, wanted, since.place, now.place, limit), index.pushed_out(namespace))
        )
        # Asked behind the reading: what went meanwhile was not read.
        if since.place < max(self._floor(), pushed_out) - 1:
            raise Expired("what came since is not kept any more; list anew")
        return Followed(part.entries, now.place if part.more is None else part.more, is_all=part.more is None)

    async def at(self, place: int) -> Entry | None:
        """A record as lists have it. What came since the last look is read out of the stream: another replica may have
        told of it. Raises Unreadable."""
        known = self.version()
        if place < self._floor():
            return None
        if place > known.place:
            return await self._in_stream(place)
        return await self._read(lambda index: index.at(place))

    async def whole(self, entry: Entry) -> Entry | None:
        """With all that its message says; None once that is gone. Raises Unreadable."""
        found = await self._in_stream(entry.place)
        return found if found is not None and found.tenant == entry.tenant else None

    async def run(self) -> None:
        """Follow the log until cancelled."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._looking.forever(LOOK_SECONDS)
        finally:
            self._close()

    async def _in_stream(self, place: int) -> Entry | None:
        seq = seq_of(place)
        try:
            message = await self._events.read(names.ATTEMPTS, seq)
        except (StreamUnavailable, StreamRefused) as error:
            raise Unreadable(str(error)) from None
        if message is None:
            return None
        found = log_messages.entries_of(seq, message.subject, message.headers, message.body)
        return next((each for each in found if each.place == place), None)

    def _floor(self) -> int:
        return place_in_log(self._state.first, 0) if self._state is not None else 0

    def _has_nothing_of(self, namespace: str, place: int) -> bool:
        """Whether a namespace is known to have got nothing behind a place: of a hundred that follow only those are
        to be answered whose namespace got something."""
        if place >= self._last:
            return True
        return bool(namespace) and place >= self._newest_from and self._newest.get(namespace, 0) <= place

    async def _look(self) -> None:
        if self._is_broken:
            raise sqlite3.DatabaseError("it cannot be read")
        state = await log_reader.state_of(self._client, names.ATTEMPTS) or _NO_STREAM
        if self._state is None or self._state.created != state.created or self._writer is None:
            await self._open(state)
        self._state = state
        writer = self._writer
        assert writer is not None, "it was opened just now"
        if place_in_log(state.first, 0) > writer.floor:
            await self._write(partial(writer.raise_floor, state.first))
        await self._read_on(writer, state)
        if not self.is_ready:
            self._progress = ""
            await self._write(writer.make_indexes)
            await self._forget_marked(writer)
            await self._write(writer.filled)
            # The pages of the file that is filled: the C library would keep most of them.
            await self._write(give_memory_back)
            self._newest, self._newest_from = {}, self._last
            self._file = _File(self._path_of(state))
        while not writer.is_cleared:
            await self._write(writer.forget_some)
        if state.per_subject:
            await self._forget_pushed_out(writer, state)

    async def _read_on(self, writer: IndexWriter, state: StreamState) -> None:
        """All that there is, while the next step is on its way."""
        if state.last < writer.seen:
            await self._rewind(writer)
        self._last = log_messages.last_place(writer.seen)
        if state.last == writer.seen:
            return
        # With the last one that is known: it must be the same.
        next_step = asyncio.create_task(log_reader.log_from(self._client, max(1, writer.seen)))
        try:
            while messages := await next_step:
                if messages[0].seq == writer.seen:
                    if messages[0].stored_ns != writer.seen_ns:
                        await self._rewind(writer)
                        return
                    messages = messages[1:]
                if messages:
                    next_step = asyncio.create_task(log_reader.log_from(self._client, messages[-1].seq + 1))
                    await self._add(writer, messages, state)
                else:
                    next_step = asyncio.create_task(log_reader.log_from(self._client, writer.seen + 1))
        finally:
            await cancel([next_step])

    async def _add(self, writer: IndexWriter, messages: Sequence[Stored], state: StreamState) -> None:
        newest = await self._write(partial(_add, writer, messages))
        if len(self._newest) > _TENANTS_REMEMBERED:
            self._newest, self._newest_from = {}, self._last
        self._newest |= newest
        if self.is_ready:
            await self._forget_marked(writer)
        self._last = log_messages.last_place(writer.seen)
        if self.is_ready:
            self._on_change()
        else:
            span = max(1, state.last - state.first)
            self._progress = f" ({min(100, 100 * max(0, writer.seen - state.first) // span)} %)"

    async def _forget_marked(self, writer: IndexWriter) -> None:
        while await self._write(writer.forget_marked):
            pass

    async def _rewind(self, writer: IndexWriter) -> None:
        """The server lost the end of the log, as when it was killed: go back to where both have the same."""
        for step in await self._write(writer.steps):
            message = await self._events.read(names.ATTEMPTS, step[0])
            if message is not None and message.stored_ns == step[1]:
                log.warning("the attempts log lost its last records, and so does the index")
                await self._write(partial(writer.rewind, step))
                self._last = log_messages.last_place(writer.seen)
                self._on_change()
                return
        await self._begin_anew()
        raise StreamUnavailable("the attempts log is another one")

    async def _forget_pushed_out(self, writer: IndexWriter, state: StreamState) -> None:
        """Of each Webhook as many messages are kept, so that a noisy one cannot push out its neighbours'."""
        now_s = asyncio.get_running_loop().time()
        at = (state.created, state.last, state.messages)
        if now_s < self._look_at_s or at == self._looked_at:
            return
        self._look_at_s, self._looked_at = now_s + PUSHED_OUT_SECONDS, at
        counts = await log_reader.subjects_of(self._client, names.ATTEMPTS, "hookline.attempts.*.*")
        full = [subject for subject, count in counts.items() if count >= state.per_subject]
        for subject in full[:PUSHED_OUT_AT_ONCE]:
            tenant, uid = log_messages.tenant_and_last(subject)
            first = await log_reader.first_of(self._client, names.ATTEMPTS, subject) if names.is_uid(uid) else None
            if tenant and first is not None:
                before = place_in_log(first.seq, 0)
                while await self._write(partial(writer.forget_pushed_out, tenant, uid, before)):
                    pass

    async def _open(self, state: StreamState) -> None:
        self._file = None
        self._last, self._newest, self._newest_from = 0, {}, 0
        path = self._path_of(state)
        former, self._writer = self._writer, None
        if former is not None:
            await self._write(former.close)
        for other in self._folder.glob("attempts-*.sqlite3"):
            if other != path:
                remove(other)
        writer = await self._write(lambda: IndexWriter(path))
        self._writer = writer
        # Those who follow hear that there is another log.
        self._on_change()

    async def _begin_anew_unless_ready(self) -> None:
        if not self.is_ready:
            await self._begin_anew()

    async def _begin_anew(self) -> None:
        writer, self._writer, self._file, self._is_broken = self._writer, None, None, False
        if writer is not None:
            await self._write(writer.close)
        for each in self._folder.glob("attempts-*.sqlite3"):
            remove(each)

    def _path_of(self, state: StreamState) -> Path:
        return self._folder / f"attempts-{SCHEMA}-{state.created_ms}.sqlite3"

    async def _write(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, do)

    async def _read(self, do: Callable[[IndexReader], T]) -> T:
        assert self._file is not None, "asked for the version before"
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._reading, partial(self._read_here, self._file, do)
            )
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError):
                self._is_broken = True
            raise Unreadable(f"the index of attempts cannot be read ({type(error).__name__}); ask again soon") from None

    def _read_here(self, file: _File, do: Callable[[IndexReader], T]) -> T:
        """With this thread's own connection."""
        known: tuple[_File, IndexReader] | None = getattr(self._local, "reader", None)
        if known is None or known[0] is not file:
            if known is not None:
                self._readers.discard(known[1])
                known[1].close()
            self._local.reader = known = (file, IndexReader(file.path))
            self._readers.add(known[1])
        return do(known[1])

    def _close(self) -> None:
        self._file = None
        if self._writer is not None:
            self._writer.interrupt()
        self._writing.shutdown(cancel_futures=True)
        self._reading.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.close()
        if self._writer is not None:
            self._writer.close()


def _add(writer: IndexWriter, messages: Sequence[Stored]) -> Mapping[str, int]:
    """The last place of each tenant that got something."""
    batches = (
        log_messages.entries_of(each.seq, each.subject, each.headers, each.body, whole=False) for each in messages
    )
    entries = [entry for batch in batches for entry in batch]
    marks = (log_messages.mark_of(each.seq, each.subject, each.body) for each in messages)
    writer.add(entries, messages[-1].seq, messages[-1].stored_ns, [each for each in marks if each is not None])
    return log_messages.newest_of(entries)
