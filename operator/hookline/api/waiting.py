"""What waits of one Dispatcher: queued, scheduled and parked deliveries, read as they lie in the streams.

Whose they are is known by the uid in the subject, and by the tenant that each message names: anybody on this NATS may
have written one, and only those of the namespace that was asked for are shown. A list goes by Webhook, what waits
longest first, and reads a bounded number of messages and bytes for each part.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from hookline.api.log import LARGEST_ATTEMPT, Expired, Unreadable, Waiting, Wanted
from hookline.api.object_names import MessagePlace, mark_of, message_name, place_of_message
from hookline.delivery import messages
from hookline.delivery.messages import ATTEMPT_HEADER, UNKNOWN_FORMAT, MalformedDelivery, UnknownFormat
from hookline.events.envelope import ID_HEADER, TENANT_HEADER, TYPE_HEADER, valid_tenant
from hookline.routing.signing import valid_message_id
from hookline.stream import log_reader, names
from hookline.stream.attempt_record import WORD_CHARACTERS, with_marks
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.endpoints import EndpointBucket
from hookline.stream.event_reader import EventReader
from hookline.stream.layout import Layout
from hookline.stream.stored import Stored, read_from

LIST_MOST = 500
"""Deliveries of one part of a list."""

READ_MOST, READ_MOST_BYTES = 2000, 32 * 1024 * 1024
"""Messages, and bytes of their bodies, that are read for one part of a list."""

HEAPS_MOST = 200
"""Webhooks, in each of their states, that are looked at for one part of a list: each takes a question."""

UIDS_SECONDS = 5.0
"""How long it is known which Webhooks have something waiting."""

STATES_SECONDS = 2.0
"""How long the states of endpoints are known."""

UIDS_AT_ONCE = 64
"""Webhooks whose first message is read at once, to know whose they are."""

_UIDS_REMEMBERED = 100_000
_WORD = re.compile(r"[A-Z][A-Za-z]{0,31}")
_LATER = "hookline.deliveries.later."

QUEUED, SCHEDULED, PARKED = "Queued", "Scheduled", "Parked"

_BEFORE_ENDPOINT = ("Disabled", "Paused", "Held")

RETRY = "Retry"
"""Why something is scheduled that was called before. The word for a first attempt is CALLED: it is under way, and comes
once more if nobody says how it ended."""
CALLED = "Called"


@dataclass(frozen=True, slots=True)
class Named:
    """What is known of a Webhook by its uid."""

    namespace: str
    name: str
    why: str = ""
    """Why its deliveries are parked, a word such as Paused or Held, where its endpoint is not the reason."""


@dataclass(frozen=True, slots=True, order=True)
class _Heap:
    """Deliveries of one Webhook in one state and one stream."""

    uid: str
    kind: int
    """Place of its state in _KINDS."""
    stream: str

    @property
    def pattern(self) -> str:
        return _KINDS[self.kind][1](self.uid)

    @property
    def state(self) -> str:
        return _KINDS[self.kind][0]


_KINDS: Sequence[tuple[str, Callable[[str], str]]] = (
    (PARKED, names.parked_subject),
    (QUEUED, names.delivery_subject),
    (SCHEDULED, lambda uid: names.later_subject(uid, "*")),
)


class WaitingDeliveries:
    """Over one connection. `layout` says where the streams are, None before that is known; `names_of` whose a uid is,
    None of one that is not known."""

    def __init__(
        self,
        client: Client,
        events: EventReader,
        layout: Callable[[], Layout | None],
        *,
        dispatcher: str,
        names_of: Callable[[str], Named | None],
    ) -> None:
        self._client = client
        self._events = events
        self._layout = layout
        self._dispatcher = dispatcher
        self._names_of = names_of
        self._heaps: list[_Heap] = []
        self._heaps_s = float("-inf")
        self._listing = asyncio.Lock()
        self._tenants: dict[str, frozenset[str]] = {}
        """Of uids: whom their first messages name."""
        self._bucket = EndpointBucket(client)
        self._states: dict[str, str] = {}
        self._states_s = float("-inf")
        self._sharing = asyncio.Lock()

    async def after(
        self, namespace: str, wanted: Wanted, begin: str, limit: int
    ) -> tuple[Sequence[tuple[str, Waiting]], str | None]:
        """Deliveries, each with the place behind it, and from where to go on; None behind the last. Raises Unreadable,
        Expired."""
        try:
            return await self._after(namespace, wanted, _place_of(begin), min(limit, LIST_MOST))
        except (StreamUnavailable, StreamRefused) as error:
            raise Unreadable(str(error)) from None

    async def get(self, namespace: str, name: str) -> tuple[Waiting, bytes] | None:
        """With its body. Raises Unreadable."""
        place = place_of_message(name)
        try:
            found = await self._find(place) if place is not None else None
            if found is None:
                return None
            heap, message = found
            await self._learn_states()
        except (StreamUnavailable, StreamRefused) as error:
            raise Unreadable(str(error)) from None
        waiting = self._waiting(heap, message)
        if waiting is None or (namespace and waiting.namespace != namespace) or waiting.name != name:
            return None
        return waiting, message.body

    async def _after(
        self, namespace: str, wanted: Wanted, place: tuple[_Heap, int] | None, limit: int
    ) -> tuple[Sequence[tuple[str, Waiting]], str | None]:
        heaps = await self._heaps_of(namespace)
        await self._learn_states()
        found: list[tuple[str, Waiting]] = []
        read = size = looked_at = 0
        for heap in heaps:
            if (place is not None and heap < place[0]) or not self._may_be_of(heap.uid, wanted.webhook):
                continue
            if looked_at == HEAPS_MOST:
                return found, _text_of(heap, 0)
            looked_at += 1
            seq = place[1] + 1 if place is not None and heap == place[0] else 1
            async for message in self._messages(heap, seq):
                at = _text_of(heap, message.seq)
                read, size = read + 1, size + len(message.body)
                waiting = self._waiting(heap, message)
                if waiting is not None and _is_wanted(waiting, namespace, wanted):
                    found.append((at, waiting))
                if len(found) >= limit or read >= READ_MOST or size >= READ_MOST_BYTES:
                    return found, at
        return found, None

    def _may_be_of(self, uid: str, webhook: str) -> bool:
        named = self._names_of(uid) if webhook else None
        return not webhook or (named is not None and named.name == webhook)

    async def _messages(self, heap: _Heap, seq: int) -> AsyncIterator[Stored]:
        while some := await read_from(self._client, heap.stream, heap.pattern, seq):
            for each in some:
                yield each
            seq = some[-1].seq + 1

    async def _find(self, place: MessagePlace) -> tuple[_Heap, Stored] | None:
        layout = self._known_layout()
        streams = (*layout.streams(names.PARKED), *layout.streams(names.DELIVERIES))
        stream = next((each for each in streams if mark_of(each) == place.mark), None)
        if stream is None or place.seq < 1:
            return None
        pattern = f"{'hookline.parked.*' if names.bears(stream, names.PARKED) else 'hookline.deliveries.>'}"
        some = await read_from(self._client, stream, pattern, place.seq, at_once=1)
        if not some or some[0].seq != place.seq:
            return None
        heap = _heap_of(stream, some[0].subject)
        return (heap, some[0]) if heap is not None else None

    def _waiting(self, heap: _Heap, message: Stored) -> Waiting | None:
        """None of what is no delivery."""
        headers = message.headers
        tenant, event_id = headers.get(TENANT_HEADER, ""), headers.get(ID_HEADER, "")
        if not valid_tenant(tenant) or not valid_message_id(event_id):
            return None
        reason = self._reason(heap)
        try:
            attempt = messages.read(names.delivery_subject(heap.uid), headers, message.body).attempt
        except UnknownFormat:
            attempt, reason = _attempt_of(headers), UNKNOWN_FORMAT
        except MalformedDelivery:
            return None
        attempt = min(attempt, LARGEST_ATTEMPT)
        if heap.state == SCHEDULED and not reason:
            reason = RETRY if attempt > 1 else CALLED
        named = self._names_of(heap.uid)
        return Waiting(
            name=message_name(event_id, attempt, heap.stream, message.seq),
            namespace=tenant,
            webhook=named.name if named is not None and named.namespace == tenant else "",
            uid=heap.uid,
            dispatcher=self._dispatcher,
            event_id=event_id,
            event_type=with_marks(headers.get(TYPE_HEADER, ""))[:WORD_CHARACTERS],
            state=heap.state,
            reason=reason,
            attempt=attempt,
            stored_s=float(messages.stored_s(headers)),
            since_s=message.stored_s,
            next_at_s=message.due_s if heap.state == SCHEDULED else None,
            body_bytes=len(message.body),
        )

    def _reason(self, heap: _Heap) -> str:
        if heap.state != PARKED:
            return ""
        named = self._names_of(heap.uid)
        why = named.why if named is not None else ""
        # A Webhook that may not be called waits for its owner, whatever its endpoint was like before.
        return why if why in _BEFORE_ENDPOINT else self._states.get(heap.uid, why)

    async def _heaps_of(self, namespace: str) -> Sequence[_Heap]:
        """What there is of Webhooks of a namespace, in the order of a list."""
        async with self._listing:
            if time.monotonic() - self._heaps_s > UIDS_SECONDS:
                self._heaps = await self._all_heaps()
                self._heaps_s = time.monotonic()
            heaps = self._heaps
            if not namespace:
                return heaps
            await self._learn_tenants([each for each in heaps if each.uid not in self._tenants])
        return [
            each for each in heaps if namespace in self._tenants.get(each.uid, ()) or self._is_of(each.uid, namespace)
        ]

    def _is_of(self, uid: str, namespace: str) -> bool:
        named = self._names_of(uid)
        return named is not None and named.namespace == namespace

    async def _all_heaps(self) -> list[_Heap]:
        layout = self._known_layout()
        found: set[_Heap] = set()
        for stream in layout.streams(names.PARKED):
            for subject in await log_reader.subjects_of(self._client, stream, names.parked_subject("*")):
                found |= _one(_heap_of(stream, subject))
        for stream in layout.streams(names.DELIVERIES):
            for pattern in ("hookline.deliveries.*.*", names.later_subject("*", "*")):
                for subject in await log_reader.subjects_of(self._client, stream, pattern):
                    found |= _one(_heap_of(stream, subject))
        return sorted(found)

    async def _learn_tenants(self, heaps: Sequence[_Heap]) -> None:
        if len(self._tenants) > _UIDS_REMEMBERED:
            self._tenants.clear()
        for start in range(0, len(heaps), UIDS_AT_ONCE):
            some = heaps[start : start + UIDS_AT_ONCE]
            firsts = await asyncio.gather(
                *(log_reader.first_of(self._client, each.stream, each.pattern) for each in some)
            )
            for heap, first in zip(some, firsts, strict=True):
                tenant = first.headers.get(TENANT_HEADER, "") if first is not None else ""
                if valid_tenant(tenant):
                    self._tenants[heap.uid] = self._tenants.get(heap.uid, frozenset()) | {tenant}

    async def _learn_states(self) -> None:
        """Of endpoints. Where they cannot be read, what waits is shown without."""
        async with self._sharing:
            if time.monotonic() - self._states_s < STATES_SECONDS:
                return
            self._states_s = time.monotonic()
            try:
                anew, entries = await self._bucket.changes()
            except StreamUnavailable:
                return
            if anew:
                self._states.clear()
            for each in entries:
                kind = _kind_of(each.value)
                if kind:
                    self._states[each.key] = kind
                else:
                    self._states.pop(each.key, None)

    def _known_layout(self) -> Layout:
        layout = self._layout()
        if layout is None:
            raise Unreadable("the streams of the queue are not known yet; ask again soon")
        return layout


def _heap_of(stream: str, subject: str) -> _Heap | None:
    """None of a subject under which no delivery of a Webhook is stored."""
    uid = subject.removeprefix(_LATER).partition(".")[0] if subject.startswith(_LATER) else names.uid_of(subject)
    if not names.is_uid(uid):
        return None
    if subject.startswith(_LATER):
        return _Heap(uid, 2, stream)
    if subject == names.parked_subject(uid):
        return _Heap(uid, 0, stream)
    return _Heap(uid, 1, stream) if subject == names.delivery_subject(uid) else None


def _one(heap: _Heap | None) -> set[_Heap]:
    return {heap} if heap is not None else set()


def _text_of(heap: _Heap, seq: int) -> str:
    return f"{heap.uid} {heap.kind} {heap.stream} {seq}"


def _place_of(text: str) -> tuple[_Heap, int] | None:
    """None of the beginning. Raises Expired."""
    if not text:
        return None
    uid, kind, stream, seq = (*text.split(" "), "", "", "", "")[:4]
    if not names.is_uid(uid) or kind not in ("0", "1", "2") or not seq.isdecimal() or len(seq) > 19:
        raise Expired("the list is not known any more; ask for it from the beginning")
    return _Heap(uid, int(kind), stream), int(seq)


def _is_wanted(waiting: Waiting, namespace: str, wanted: Wanted) -> bool:
    if namespace and waiting.namespace != namespace:
        return False
    pairs = (
        (wanted.webhook, waiting.webhook),
        (wanted.event_id, waiting.event_id),
        (wanted.event_type, waiting.event_type),
        (wanted.reason, waiting.reason),
    )
    # Nothing that waits has a status.
    return not wanted.status and all(not asked or asked == said for asked, said in pairs)


def _attempt_of(headers: Mapping[str, str]) -> int:
    text = headers.get(ATTEMPT_HEADER, "")
    return max(1, int(text)) if len(text) <= 9 and text.isascii() and text.isdigit() else 1


def _kind_of(value: bytes | None) -> str:
    """Failing, Gone, Backlogged, or what only another version knows; empty of what is no state."""
    try:
        said = json.loads(value) if value else None
    except (ValueError, RecursionError):
        return ""
    kind = said.get("kind") if isinstance(said, dict) else None
    return kind if isinstance(kind, str) and _WORD.fullmatch(kind) else ""
