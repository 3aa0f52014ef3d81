"""The dead letters of one Dispatcher: headers of its streams are followed into an index; single ones are read whole.

Anybody on this NATS may have written one. The tenant is that of the subject; one whose headers name another is not
shown at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from hookline.api.dead_index import DeadIndex, DeadRow
from hookline.api.log import LARGEST_ATTEMPT, Dead, Unreadable, Wanted
from hookline.api.log_messages import webhook_of
from hookline.api.looking import Looking
from hookline.api.object_names import message_name, place_of_message, stream_of
from hookline.delivery.messages import DeadLetter, read_dead_letter
from hookline.events.context import context_of
from hookline.events.envelope import TENANT_HEADER, TYPE_HEADER, valid_tenant
from hookline.routing.signing import valid_message_id
from hookline.stream import log_reader, names
from hookline.stream.attempt_record import TEXT_CHARACTERS, WORD_CHARACTERS, with_marks
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.event_reader import EventReader
from hookline.stream.layout import Layout
from hookline.stream.log_reader import FEW, Head, StreamState

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the streams: how late it is seen what came, and what was removed by others."""

LIST_MOST = 1000

_LATEST_S = 1e11

T = TypeVar("T")


@dataclass(slots=True)
class _Seen:
    """How far a stream has been read."""

    state: StreamState
    last: int = 0
    first: int = 0
    deleted: int = 0
    read_in_vain_to: int = 0
    """Up to where a consumer found nothing more: the last ones were deleted, or a copy is behind."""


class DeadLetters:
    """Over one connection, with a file in a folder. `layout` says where the streams are, None before that is known."""

    def __init__(
        self, client: Client, folder: Path, events: EventReader, layout: Callable[[], Layout | None], *, dispatcher: str
    ) -> None:
        self._client = client
        self._folder = folder
        self._events = events
        self._layout = layout
        self._dispatcher = dispatcher
        self._thread = ThreadPoolExecutor(1, "dead-letters")
        self._index: DeadIndex | None = None
        self._seen: dict[str, _Seen] = {}
        self._is_ready = False
        self._looking = Looking("the dead letters", "their index", dispatcher, self._look, self._give_up_index)

    @property
    def is_behind(self) -> bool:
        """Whether something is wrong, so that what comes now is not known."""
        return bool(self._looking.problem)

    async def before(
        self, namespace: str, wanted: Wanted, place: int, limit: int
    ) -> tuple[Sequence[tuple[int, Dead]], int | None]:
        """Dead letters with their places, newest first, and from where to go on. Raises Unreadable."""
        index = self._index
        if index is None or not self._is_ready:
            raise Unreadable("the dead letters are being read; ask again soon")
        try:
            rows, more = await self._do(partial(index.before, namespace, wanted, place, min(limit, LIST_MOST)))
        except sqlite3.Error as error:
            raise Unreadable(f"the index of dead letters cannot be read ({type(error).__name__})") from None
        return [(each.place, self._dead(each)) for each in rows], more

    async def get(self, namespace: str, name: str) -> tuple[Dead, bytes] | None:
        """With headers and the answer, and its body. Raises Unreadable."""
        found = await self._find(namespace, name)
        return (found[0], found[1].body) if found is not None else None

    async def drop(self, namespace: str, name: str) -> bool:
        """Raises Unreadable."""
        found = await self._find(namespace, name)
        if found is None:
            return False
        dead, _, stream, seq = found
        try:
            dropped = await log_reader.delete(self._client, stream, seq)
        except (StreamUnavailable, StreamRefused) as error:
            raise Unreadable(str(error)) from None
        if self._index is not None:
            await self._do(partial(self._index.forget, stream, deleted=(seq,)))
        log.info("a dead letter was dropped", namespace=dead.namespace, webhook=dead.webhook, event_id=dead.event_id)
        return dropped

    async def run(self) -> None:
        """Follow the streams until cancelled."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._looking.forever(LOOK_SECONDS)
        finally:
            self._thread.shutdown(cancel_futures=True)
            if self._index is not None:
                self._index.close()

    async def _find(self, namespace: str, name: str) -> tuple[Dead, DeadLetter, str, int] | None:
        place, layout = place_of_message(name), self._layout()
        if place is None:
            return None
        if layout is None:
            raise Unreadable("the streams of the queue are not known yet; ask again soon")
        stream = stream_of(place, layout.streams(names.DEAD))
        if not stream:
            return None
        try:
            message = await self._events.read(stream, place.seq)
        except (StreamUnavailable, StreamRefused) as error:
            raise Unreadable(str(error)) from None
        if message is None:
            return None
        letter = read_dead_letter(message.subject, message.headers, message.body)
        row = row_of(stream, place.seq, message.stored_ns, letter, len(message.body))
        if row is None or (namespace and row.tenant != namespace):
            return None
        dead = self._dead(row, letter)
        return (dead, letter, stream, place.seq) if dead.name == name else None

    def _dead(self, row: DeadRow, letter: DeadLetter | None = None) -> Dead:
        last = letter.last_attempt if letter is not None else None
        return Dead(
            name=message_name(row.event_id, row.attempt, row.stream, row.seq),
            namespace=row.tenant,
            webhook=row.webhook,
            uid=row.uid,
            dispatcher=self._dispatcher,
            event_id=row.event_id,
            event_type=row.event_type,
            reason=row.reason,
            detail=row.detail,
            failed_at_s=row.failed_at_s,
            attempt=row.attempt,
            outcome=row.outcome,
            status=row.status,
            answer=last.answer if last is not None else b"",
            body_bytes=row.body_bytes,
            headers=_beside_the_body(letter.headers) if letter is not None else {},
        )

    async def _look(self) -> None:
        layout = self._layout()
        if layout is None:
            return
        index = self._index or await self._open()
        there = set()
        for stream in layout.streams(names.DEAD):
            state = await log_reader.state_of(self._client, stream)
            if state is not None:
                there.add(stream)
                await self._follow(index, stream, state)
        for stream in self._seen.keys() - there:
            await self._do(partial(index.forget_stream, stream))
            del self._seen[stream]
        self._is_ready = True

    async def _give_up_index(self) -> None:
        """The next look makes another one."""
        former, self._index, self._is_ready = self._index, None, False
        if former is not None:
            with contextlib.suppress(sqlite3.Error):
                await self._do(former.close)

    async def _open(self) -> DeadIndex:
        self._seen.clear()
        self._index = await self._do(lambda: DeadIndex(self._folder / "dead.sqlite3"))
        return self._index

    async def _follow(self, index: DeadIndex, stream: str, state: StreamState) -> None:
        seen = self._seen.get(stream)
        if seen is None or seen.state.created != state.created or state.last < seen.last:
            await self._do(partial(index.forget_stream, stream))
            # A stream that never had a message begins with none.
            seen = self._seen[stream] = _Seen(state, max(0, state.first - 1))
        if seen.last < state.last:
            await self._read_on(index, stream, seen, state.last)
        if (state.first, state.deleted) != (seen.first, seen.deleted):
            deleted = await log_reader.deleted_of(self._client, stream) if state.deleted else frozenset[int]()
            await self._do(partial(index.forget, stream, before=state.first, deleted=deleted))
            seen.first, seen.deleted = state.first, state.deleted

    async def _read_on(self, index: DeadIndex, stream: str, seen: _Seen, last: int) -> None:
        # Where a consumer found nothing, a question that costs less will do.
        in_vain = seen.read_in_vain_to == last
        seen.read_in_vain_to = last
        async for heads in log_reader.heads_from(
            self._client, stream, last + 1 - FEW if in_vain else seen.last + 1, last
        ):
            rows = await self._do(partial(_rows, stream, heads))
            if rows:
                await self._do(partial(index.add, rows))
            seen.last = heads[-1].seq if heads else seen.last

    async def _do(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)


def _rows(stream: str, heads: Sequence[Head]) -> list[DeadRow]:
    rows = (
        row_of(stream, each.seq, each.stored_ns, read_dead_letter(each.subject, each.headers, b""), each.body_bytes)
        for each in heads
    )
    return [each for each in rows if each is not None]


def row_of(stream: str, seq: int, stored_ns: int, letter: DeadLetter, body_bytes: int) -> DeadRow | None:
    """None of what says no tenant, or two."""
    headers, delivery, last = letter.headers, letter.delivery, letter.last_attempt
    if not valid_tenant(letter.tenant) or headers.get(TENANT_HEADER, letter.tenant) != letter.tenant:
        return None
    made = (delivery.attempt if last is not None else delivery.attempt - 1) if delivery is not None else 0
    return DeadRow(
        place=stored_ns,
        stream=stream,
        seq=seq,
        tenant=letter.tenant,
        webhook=webhook_of(letter.webhook, letter.tenant),
        uid=letter.uid,
        event_id=letter.event_id if valid_message_id(letter.event_id) else "",
        event_type=with_marks(delivery.event.type if delivery is not None else _type_of(headers))[:WORD_CHARACTERS],
        reason=with_marks(letter.word)[:WORD_CHARACTERS],
        detail=with_marks(letter.reason.partition(":")[2].strip())[:TEXT_CHARACTERS],
        failed_at_s=_unix_s(letter.failed_at, stored_ns / 1e9),
        attempt=min(made, LARGEST_ATTEMPT),
        outcome=with_marks(last.outcome)[:WORD_CHARACTERS] if last is not None else "",
        status=last.status if last is not None else None,
        body_bytes=body_bytes,
    )


def _beside_the_body(headers: Mapping[str, str]) -> Mapping[str, str]:
    """What travels with the event. The rest is ours, or NATS's, or of whoever published without the gateway, and may be
    secret."""
    return {name: with_marks(text) for name, text in context_of(headers).items()}


def _type_of(headers: Mapping[str, str]) -> str:
    return headers.get(TYPE_HEADER, "")


def _unix_s(text: str, otherwise_s: float) -> float:
    try:
        found = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return otherwise_s
    return found if math.isfinite(found) and 0 <= found <= _LATEST_S else otherwise_s
