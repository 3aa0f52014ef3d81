"""What streams have kept, for whoever goes through it once: how far each reaches, what comes next, what is taken away.

Told by the leader of a stream, since a copy that is behind would have the end of it too early. And how much of one
Webhook waits, for whoever adds to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nats.aio.client import Client

from hookline.runtime.tasks import together
from hookline.stream import names
from hookline.stream.api import api, ask_if_there, unix_s
from hookline.stream.connection import StreamUnavailable
from hookline.stream.layout import Layout
from hookline.stream.stored import Stored, read_from

_BEHIND_SECONDS = 0.2
"""Before a copy is asked again that did not have yet what its leader has."""

_REMOVED_AT_ONCE = 32

_FAR = 2**31
"""An offset behind all subjects: only their number is told, and not a list of them."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a stream holds now: sequences, the last one included. `created` tells it from another one of its name.
    `now_s` is NATS's time, Unix time."""

    stream: str
    created: str
    first: int
    last: int
    now_s: float


async def reach(client: Client, stream: str) -> Reach | None:
    """None when there is no such stream. Raises StreamUnavailable, QueueUnusable."""
    said = await ask_if_there(client, f"STREAM.INFO.{stream}")
    if said is None:
        return None
    state = said["state"]
    return Reach(stream, str(said["created"]), int(state["first_seq"]), int(state["last_seq"]), unix_s(str(said["ts"])))


async def next_messages(client: Client, stream: str, pattern: str, seq: int, end: int) -> list[Stored]:
    """The next ones whose subject matches, from a sequence on and up to another one; none when there are no more.

    Raises StreamUnavailable, QueueUnusable.
    """
    while seq <= end:
        found = [each for each in await read_from(client, stream, pattern, seq) if seq <= each.seq <= end]
        if found:
            return found
        following = await _next(client, stream, pattern, seq)
        if following is None or following > end:
            break
        await asyncio.sleep(_BEHIND_SECONDS)
    return []


async def first_since(client: Client, has: Reach, since_s: float) -> int:
    """The first sequence of a stream that was stored at this time or later, Unix time; one behind the last if none was.

    By halves, since each question is for one message. Raises StreamUnavailable, QueueUnusable.
    """
    low, high = max(1, has.first), has.last + 1
    while low < high:
        middle = (low + high) // 2
        message = await _message(client, has.stream, seq=middle, next_by_subj=">")
        if message is None or int(message["seq"]) > has.last or unix_s(message["time"]) >= since_s:
            high = middle
        else:
            low = int(message["seq"]) + 1
    return low


async def message_at(client: Client, stream: str, seq: int) -> Stored | None:
    """One message; None when it is not there. Raises StreamUnavailable, QueueUnusable."""
    found = await read_from(client, stream, ">", seq)
    if found and found[0].seq == seq:
        return found[0]
    if await _message(client, stream, seq=seq) is None:
        return None
    raise StreamUnavailable(f"JetStream does not give a message of {stream} yet; its servers may just begin")


async def remove(client: Client, stream: str, created: str, seqs: Sequence[int]) -> None:
    """Take messages, those that are there still, out of the stream that was made then, and out of no other of its name:
    that has others under the same sequences. Raises StreamUnavailable, QueueUnusable; to be done again then.
    """
    for start in range(0, len(seqs), _REMOVED_AT_ONCE):
        has = await reach(client, stream)
        if has is None or has.created != created:
            return
        some = seqs[start : start + _REMOVED_AT_ONCE]
        await together([partial(_remove, client, stream, each) for each in some], at_once=_REMOVED_AT_ONCE)


async def _remove(client: Client, stream: str, seq: int) -> None:
    said = await api(client, f"STREAM.MSG.DELETE.{stream}", seq=seq, no_erase=True)
    if "error" in said and await _message(client, stream, seq=seq) is not None:
        raise StreamUnavailable(f"JetStream does not remove a message of {stream} ({said['error'].get('description')})")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Deliveries of one Webhook that are not done."""

    now: int
    """To be called as soon as they can be, or parked."""
    later: int
    """Scheduled for a later time."""


async def waiting_of(client: Client, layout: Layout, uid: str) -> Waiting:
    """Raises StreamUnavailable, QueueUnusable."""
    now = later = 0
    for stream in layout.streams(names.DELIVERIES):
        now += await _messages(client, stream, names.delivery_subject(uid))
        later += await _subjects(client, stream, names.later_subject(uid, "*"))
    for stream in layout.streams(names.PARKED):
        now += await _messages(client, stream, names.parked_subject(uid))
    return Waiting(now, later)


async def _messages(client: Client, stream: str, subject: str) -> int:
    said = await ask_if_there(client, f"STREAM.INFO.{stream}", subjects_filter=subject)
    return int((said["state"].get("subjects") or {}).get(subject, 0)) if said is not None else 0


async def _subjects(client: Client, stream: str, pattern: str) -> int:
    """How many subjects match: of those that hold one message each, how many messages."""
    said = await ask_if_there(client, f"STREAM.INFO.{stream}", subjects_filter=pattern, offset=_FAR)
    return int(said.get("total") or 0) if said is not None else 0


async def _next(client: Client, stream: str, pattern: str, seq: int) -> int | None:
    message = await _message(client, stream, seq=seq, next_by_subj=pattern)
    return int(message["seq"]) if message is not None else None


async def _message(client: Client, stream: str, **question: object) -> dict[str, Any] | None:
    said = await ask_if_there(client, f"STREAM.MSG.GET.{stream}", **question)
    return said["message"] if said is not None else None
