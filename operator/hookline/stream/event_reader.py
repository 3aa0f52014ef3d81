"""Single events out of EVENTS, by their sequence, for whoever knows it, and the bodies of those that came without.
Takes nothing, and acks nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import nats.errors
from nats.aio.client import Client

from hookline.stream import names
from hookline.stream.api import NOT_FOUND, api, unix_ns
from hookline.stream.connection import StreamUnavailable, read_headers
from hookline.stream.inbox import Inbox
from hookline.stream.layout import Layout, plain
from hookline.stream.pull import Taken
from hookline.stream.streams import find

_READ_SECONDS = 5.0

BODIES_BYTES = 256 * 1024
"""Large bodies that are on their way over the connection, or one that is larger: what else comes over it waits behind
them."""

_UNIT_BYTES = 4 * 1024
_UNITS = BODIES_BYTES // _UNIT_BYTES


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """`stored_ns` is when the server stored it, by its clock: Unix time in ns."""

    subject: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    stored_ns: int


class EventReader:
    """Reads over one connection, many events at once, from the streams that `layout` says and any that came since."""

    def __init__(self, client: Client, layout: Callable[[], Layout] = plain) -> None:
        self._client = client
        self._layout = layout
        self._inbox = Inbox(client, _READ_SECONDS)
        self._looking: asyncio.Task[Layout] | None = None
        self._next_look: asyncio.Task[Layout] | None = None
        self._turn = asyncio.Lock()
        self._units = asyncio.Semaphore(_UNITS)
        """Those that are free: each stands for _UNIT_BYTES of the bodies that may be on their way."""

    async def whole(self, taken: Taken) -> Taken | None:
        """An event with its body. None when no stream holds it any more. Raises StreamUnavailable, QueueUnusable."""
        if not taken.is_head:
            return taken
        async with self._on_its_way(taken.size_bytes):
            event = await self.find(taken.seq, taken.stored_ns)
        return replace(taken, body=event.body, is_head=False) if event is not None else None

    @contextlib.asynccontextmanager
    async def _on_its_way(self, size_bytes: int) -> AsyncIterator[None]:
        """Once there is room for a body of that size. In turn: smaller ones do not keep a larger one waiting."""
        units, has = min(_UNITS, 1 + size_bytes // _UNIT_BYTES), 0
        try:
            async with self._turn:
                while has < units:
                    await self._units.acquire()
                    has += 1
            yield
        finally:
            for _ in range(has):
                self._units.release()

    async def find(self, seq: int, stored_ns: int) -> StoredEvent | None:
        """The event with this sequence that was stored at this time. None when no stream holds it any more: not the
        present one, and no former one, each of which has an event of its own with that sequence.

        Raises StreamUnavailable, QueueUnusable.
        """
        streams = self._layout().streams(names.EVENTS)
        event = await self._find_in(streams, seq, stored_ns)
        if event is None:
            # Another sender may have moved the streams since this one looked.
            others = (await self._found_now()).streams(names.EVENTS)
            event = await self._find_in([each for each in others if each not in streams], seq, stored_ns)
        return event

    async def _found_now(self) -> Layout:
        """Where the streams are, by a look that begins after this was asked. Many that ask at once share one: it takes
        ten questions, and of what waited for too long thousands of events are gone."""
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look(self._looking))
        return await asyncio.shield(self._next_look)

    async def _look(self, before: asyncio.Task[Layout] | None) -> Layout:
        if before is not None:
            await asyncio.wait([before])
        self._looking, self._next_look = self._next_look, None
        return await find(self._client)

    async def _find_in(self, streams: Iterable[str], seq: int, stored_ns: int) -> StoredEvent | None:
        for stream in streams:
            event = await self.read(stream, seq)
            if event is not None and event.stored_ns == stored_ns:
                return event
        return None

    async def read(self, stream: str, seq: int) -> StoredEvent | None:
        """None when a stream does not hold it any more. Raises StreamUnavailable, QueueUnusable."""
        try:
            answer, _ = await self._inbox.ask(f"$JS.API.DIRECT.GET.{stream}", b'{"seq":%d}' % seq, again=True)
        except (TimeoutError, nats.errors.Error, OSError) as error:
            raise StreamUnavailable(f"JetStream does not answer ({type(error).__name__})") from None
        # The server writes its own behind those of the event, and the last of a name counts.
        subject, at = answer.headers.get("Nats-Subject"), answer.headers.get("Nats-Time-Stamp")
        if subject is None or at is None:
            # Nobody is there, or a copy that is behind and may not have it yet: only the leader knows that it is gone.
            return await _from_leader(self._client, stream, seq)
        return StoredEvent(subject, answer.headers, answer.body, unix_ns(at))


async def _from_leader(client: Client, stream: str, seq: int) -> StoredEvent | None:
    answer = await api(client, f"STREAM.MSG.GET.{stream}", seq=seq)
    if answer.get("error", {}).get("code") == NOT_FOUND:
        return None
    message = answer.get("message")
    if message is None:
        raise StreamUnavailable(f"JetStream does not give an event ({answer.get('error', {}).get('description')})")
    body, head = base64.b64decode(message.get("data", "")), base64.b64decode(message.get("hdrs", ""))
    return StoredEvent(message["subject"], read_headers(head), body, unix_ns(message["time"]))
