"""Forgetting: everything that a tenant, or one event of it, has in the streams is found, removed, and looked for again.

Decides where something of a tenant may lie and what counts as its own. Works beside senders and publishers: what these
have in hand may be stored once more, so it is done again until nothing is found, and what is proved is proved of all
that was there before. The streams alone: what else keeps something of a tenant is in docs/retention.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from nats.aio.client import Client

from hookline.events.envelope import ID_HEADER, TENANT_HEADER
from hookline.routing.signing import valid_message_id
from hookline.stream import names
from hookline.stream.api import ask, ask_if_there
from hookline.stream.attempt_record import NOTED_SECONDS, decode
from hookline.stream.layout import Layout
from hookline.stream.log_reader import delete, state_of, subjects_of
from hookline.stream.publish import Publisher
from hookline.stream.stored import Stored, read_from
from hookline.stream.streams import find

ROUNDS, APART_SECONDS = 5, 0.5
"""How often it is done at most, and the time between: a call that is under way may be stored as a retry."""

_FOUND_AT_HEADER = "Hookline-Subject"
"""Of a dead letter that could not be read: where it was, see delivery/messages."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be forgotten: all of a tenant, or one event of it."""

    tenant: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something of a tenant may lie: subjects of a stream."""

    stream: str
    pattern: str
    what: str
    """For people, in the plural."""
    is_shared: bool = False
    """Whether other tenants have something under these subjects: then its headers say whose it is."""


def places(layout: Layout, tenant: str) -> list[Place]:
    """In the order in which they are emptied: first what more would follow from."""
    events = [
        place
        for stream in layout.streams(names.EVENTS)
        for place in (
            Place(stream, names.event_subject(tenant, ">"), "events"),
            Place(stream, names.large_subject(tenant, ">"), "large events"),
        )
    ]
    waiting = [
        Place(stream, names.SUBJECTS[base], what, is_shared=True)
        for base, what in ((names.DELIVERIES, "deliveries"), (names.PARKED, "parked deliveries"))
        for stream in layout.streams(base)
    ]
    dead = [
        place
        for stream in layout.streams(names.DEAD)
        for place in (
            Place(stream, names.dead_subject(tenant, "*"), "dead letters"),
            Place(stream, names.dead_subject(names.UNREAD, "*"), "messages that could not be read", is_shared=True),
        )
    ]
    backlog = Place(names.BACKLOG, names.backlog_subject(tenant), "lists of events that were set aside")
    log = Place(names.ATTEMPTS, names.attempts_subject(tenant, "*"), "batches of the attempts log")
    return [*events, backlog, *waiting, *dead, log]


def tenant_of(headers: Mapping[str, str]) -> str:
    """Whose a message is that lies among those of others; empty when it does not say so."""
    if tenant := headers.get(TENANT_HEADER, ""):
        return tenant
    found_at = headers.get(_FOUND_AT_HEADER, "")
    if names.stream_of(found_at) == names.EVENTS and names.is_event(found_at):
        return names.event_of(found_at)[0]
    return names.backlog_tenant(found_at) if names.stream_of(found_at) == names.BACKLOG else ""


def is_wanted(place: Place, wanted: Wanted, message: Stored) -> bool:
    """Whether a message is to be removed. A mark of what was purged is not: it says no more than that."""
    if place.is_shared and tenant_of(message.headers) != wanted.tenant:
        return False
    if message.subject == names.purged_subject(wanted.tenant):
        return False
    if not wanted.event_id:
        return True
    if place.stream == names.ATTEMPTS:
        return any(each.event_id == wanted.event_id for each in decode(message.body))
    if place.stream == names.BACKLOG:
        # It has places of events, and nothing of what is in them.
        return False
    given = message.headers.get(ID_HEADER, "")
    if names.stream_of(message.subject) == names.EVENTS and not valid_message_id(given):
        # As it is called from then on: whoever publishes with a NATS client may write anything there.
        given = f"seq-{message.seq}"
    return given == wanted.event_id


async def look(client: Client, wanted: Wanted) -> dict[Place, int]:
    """How many messages there are at each place that has some. Raises StreamUnavailable, QueueUnusable."""
    counts = {place: await _count(client, place, wanted) for place in await _places(client, wanted)}
    return {place: count for place, count in counts.items() if count}


async def purge(client: Client, wanted: Wanted) -> tuple[dict[Place, int], dict[Place, int]]:
    """Remove it; how many messages of each place, and how many are left of all that was there when it was done last.

    Raises StreamUnavailable, StreamRefused.
    """
    removed: Counter[Place] = Counter()
    bounds: dict[Place, int] = {}
    await _purge(client, wanted, removed, bounds)
    if _some(removed):
        # Else lines of calls that had just ended would come back a moment later. What a Replay has read is stored by
        # then as well, or read again.
        await asyncio.sleep(NOTED_SECONDS)
        await _purge(client, wanted, removed, bounds)
    await _leave_mark(client, wanted)
    left = {place: await _left(client, place, wanted, last) for place, last in bounds.items()}
    return _some(removed), _some(left)


async def _purge(client: Client, wanted: Wanted, removed: Counter[Place], bounds: dict[Place, int]) -> None:
    """Until a round finds nothing. `bounds` are the last sequences that it looked at."""
    for number in range(ROUNDS):
        if number:
            await asyncio.sleep(APART_SECONDS)
        found = False
        for place in await _places(client, wanted):
            bounds[place] = await _last(client, place.stream)
            count = await _remove(client, place, wanted, bounds[place])
            removed[place] += count
            found = found or count > 0
        if not found:
            break


def _some(counts: Mapping[Place, int]) -> dict[Place, int]:
    return {place: count for place, count in counts.items() if count}


async def _places(client: Client, wanted: Wanted) -> Sequence[Place]:
    """Those whose streams are there."""
    layout = await find(client)
    found = places(layout, wanted.tenant)
    there = {stream: await state_of(client, stream) is not None for stream in {each.stream for each in found}}
    return [each for each in found if there[each.stream]]


async def _last(client: Client, stream: str) -> int:
    return int((await ask(client, f"STREAM.INFO.{stream}"))["state"]["last_seq"])


async def _count(client: Client, place: Place, wanted: Wanted) -> int:
    if place.is_shared or wanted.event_id:
        return sum([1 async for _ in _matching(client, place, wanted, await _last(client, place.stream))])
    mark = names.purged_subject(wanted.tenant)
    return sum(
        count for subject, count in (await subjects_of(client, place.stream, place.pattern)).items() if subject != mark
    )


async def _remove(client: Client, place: Place, wanted: Wanted, last: int) -> int:
    if place.is_shared or wanted.event_id:
        # Erased on the disk as well: that is what a delete does unless it is told not to.
        return sum(
            [await delete(client, place.stream, each.seq) async for each in _matching(client, place, wanted, last)]
        )
    answer = await ask(client, f"STREAM.PURGE.{place.stream}", filter=place.pattern, seq=last + 1)
    return int(answer.get("purged", 0))


async def _left(client: Client, place: Place, wanted: Wanted, last: int) -> int:
    """By the leader's word: a copy that is behind may have what is gone."""
    return sum([1 async for each in _matching(client, place, wanted, last) if await _is_there(client, place, each.seq)])


async def _is_there(client: Client, place: Place, seq: int) -> bool:
    return await ask_if_there(client, f"STREAM.MSG.GET.{place.stream}", seq=seq) is not None


async def _matching(client: Client, place: Place, wanted: Wanted, last: int) -> AsyncIterator[Stored]:
    """Those up to a sequence."""
    seq = 1
    while seq <= last and (found := await read_from(client, place.stream, place.pattern, seq)):
        for each in found:
            if each.seq <= last and is_wanted(place, wanted, each):
                yield each
        seq = found[-1].seq + 1


async def _leave_mark(client: Client, wanted: Wanted) -> None:
    """For indexes of the attempts log: what they have of it is to be forgotten."""
    if await state_of(client, names.ATTEMPTS) is None:
        return
    body = b'{"event_id":"%b"}' % wanted.event_id.encode() if wanted.event_id else b"{}"
    await Publisher(client).store(names.purged_subject(wanted.tenant), body)
