"""Reads what the API tells of: the attempts log, dead letters, what waits. Takes nothing and acks nothing.

Attempts are read by direct gets of many: each question says from where, so there is nothing to be set up, kept or
lost. Headers of dead letters without their bodies are to be had by a consumer alone; it exists while they are read.
A work queue is read by direct gets only: a consumer would take from it.
"""

from __future__ import annotations

import json
import math
import secrets
from asyncio import Queue
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nats.errors
from nats.aio.client import Client

from hookline.runtime.tasks import Deadline
from hookline.stream import names
from hookline.stream.api import NOT_FOUND, api, ask, ask_if_there, unix_ns, unix_s
from hookline.stream.connection import Heard, StreamRefused, StreamUnavailable, listen
from hookline.stream.pull import read_reply
from hookline.stream.stored import Stored, read_from

LOG_STEP, LOG_STEP_BYTES = 100, 1024 * 1024
"""Messages of the log, and their bytes, that one question asks for: with 64 records each they are 6,400 records in
memory, and as many on their way."""

HEADS_STEP = 500
"""Headers of dead letters that one pull asks for: of each up to 48 KiB, as long as an answer is kept in them."""

FEW = 32
"""Dead letters that are read with their bodies: so few are not worth a consumer."""

SUBJECTS_MOST = 500_000
"""Subjects of a stream that are listed. The server lists 100,000 of them in one answer."""

_READ_SECONDS = 10.0
_IDLE_NS = 30_000_000_000
_SIZE_HEADER = "Nats-Msg-Size"


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream says of itself."""

    created: str
    first: int
    last: int
    messages: int
    deleted: int
    """Messages between the first and the last one that were deleted."""
    per_subject: int
    """Messages of one subject that it keeps; 0: all."""

    @property
    def created_ms(self) -> int:
        """Unix time."""
        return unix_ns(self.created) // 1_000_000


@dataclass(frozen=True, slots=True)
class LogReach:
    """How far back the attempts log has the lines of one Webhook, Unix time by the clock of NATS; infinite when it is
    not known to have any."""

    kept_s: float
    """What was stored at this time or later was not pushed out by age or room, nor lost with a stream."""
    whole_s: float
    """Before this time lines may be missing among those that are kept."""


NO_LOG = LogReach(math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Head:
    """A message without its body."""

    subject: str
    headers: Mapping[str, str] = field(repr=False)
    seq: int
    stored_ns: int
    body_bytes: int


async def state_of(client: Client, stream: str) -> StreamState | None:
    """None when there is no such stream. Raises StreamUnavailable, QueueUnusable."""
    info = await ask_if_there(client, f"STREAM.INFO.{stream}")
    if info is None:
        return None
    state = info["state"]
    return StreamState(
        str(info["created"]),
        int(state["first_seq"]),
        int(state["last_seq"]),
        int(state["messages"]),
        int(state.get("num_deleted") or 0),
        max(0, int(info["config"].get("max_msgs_per_subject") or 0)),
    )


async def reach_of_log(client: Client, tenant: str, uid: str) -> LogReach:
    """By the word of the stream's leader. Raises StreamUnavailable, QueueUnusable."""
    subject, purged = names.attempts_subject(tenant, uid), names.purged_subject(tenant)
    info = await ask_if_there(client, f"STREAM.INFO.{names.ATTEMPTS}", subjects_filter=subject)
    if info is None:
        return NO_LOG
    config, state = info["config"], info["state"]
    kept_s = _first_s(str(info["created"]), state)
    most = int(config.get("max_msgs_per_subject") or 0)
    if 0 < most <= (state.get("subjects") or {}).get(subject, 0):
        # It has as much as is kept of one, so that its oldest messages may be gone.
        kept_s = max(kept_s, await _time_of(client, seq=1, next_by_subj=subject) or math.inf)
    whole_s = _whole_s((config.get("metadata") or {}).get(names.LOG_WHOLE_SINCE, ""))
    return LogReach(kept_s, max(whole_s, await _time_of(client, last_by_subj=purged) or 0.0))


def _first_s(created: str, state: Mapping[str, Any]) -> float:
    """Since when nothing that was stored has gone."""
    if int(state["first_seq"]) <= 1:
        return unix_s(created)
    first_s = unix_s(str(state["first_ts" if state["messages"] else "last_ts"]))
    # The server may not say when the last one that has gone was stored.
    return first_s if first_s > 0 else math.inf


def _whole_s(since: str) -> float:
    """What cannot be read was not written by this version."""
    if not since:
        return 0.0
    try:
        found = float(since)
    except ValueError:
        return math.inf
    return found if found >= 0 else math.inf


async def _time_of(client: Client, **question: object) -> float | None:
    """When a message of the log was stored, Unix time."""
    said = await ask_if_there(client, f"STREAM.MSG.GET.{names.ATTEMPTS}", **question)
    return unix_s(str(said["message"]["time"])) if said is not None else None


async def log_from(client: Client, seq: int) -> list[Stored]:
    """The next messages of the attempts log, many at once. Raises StreamUnavailable, QueueUnusable."""
    return await read_from(
        client, names.ATTEMPTS, "hookline.attempts.*.*", seq, at_once=LOG_STEP, answer_bytes=LOG_STEP_BYTES
    )


async def heads_from(client: Client, stream: str, seq: int, last: int) -> AsyncIterator[Sequence[Head]]:
    """The headers of dead letters from a sequence on, to the end, many at once; `last` is the stream's last one.

    Raises StreamUnavailable, StreamRefused, QueueUnusable: whoever reads goes on behind what it has.
    """
    pattern = names.SUBJECTS[names.DEAD]
    if last - seq < FEW:
        while found := await read_from(client, stream, pattern, seq):
            yield [Head(each.subject, each.headers, each.seq, each.stored_ns, len(each.body)) for each in found]
            seq = found[-1].seq + 1
        return
    async for step in _consumed(client, stream, pattern, seq):
        yield step


async def _consumed(client: Client, stream: str, pattern: str, seq: int) -> AsyncIterator[Sequence[Head]]:
    consumer = f"api-{secrets.token_hex(8)}"
    config = {
        "name": consumer,
        "filter_subject": pattern,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": max(1, seq),
        "ack_policy": "none",
        "headers_only": True,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": _IDLE_NS,
    }
    answer = await api(client, f"CONSUMER.CREATE.{stream}.{consumer}", stream_name=stream, config=config)
    if "error" in answer:
        raise StreamRefused(f"NATS refused a consumer of {stream} ({answer['error'].get('description')})")
    left = int(answer.get("num_pending", 0))
    try:
        while left > 0:
            heads, left = await _pulled(client, stream, consumer, min(left, HEADS_STEP))
            yield heads
    finally:
        await api(client, f"CONSUMER.DELETE.{stream}.{consumer}")


async def _pulled(client: Client, stream: str, consumer: str, count: int) -> tuple[list[Head], int]:
    """So many heads, or those that there are, and how many are behind them."""
    inbox, heard, heads, left = client.new_inbox(), Queue[Heard](), list[Head](), 0
    try:
        subscription = await listen(client, inbox, heard.put_nowait)
        try:
            with Deadline(_READ_SECONDS):
                question = json.dumps({"batch": count, "no_wait": True}).encode()
                await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", question, reply=inbox)
                while len(heads) < count and (message := await heard.get()).reply.startswith("$JS.ACK"):
                    _, seq, stored_ns, _, left = read_reply(message.reply)
                    size = int(message.headers.get(_SIZE_HEADER, 0))
                    heads.append(Head(message.subject, message.headers, seq, stored_ns, size))
        finally:
            await subscription.unsubscribe()
    except (TimeoutError, nats.errors.Error, OSError) as error:
        raise StreamUnavailable(f"JetStream does not give what {stream} has ({type(error).__name__})") from None
    return heads, left


async def deleted_of(client: Client, stream: str) -> frozenset[int]:
    """Sequences between the first and the last one that were deleted. Raises StreamUnavailable, QueueUnusable."""
    info = await ask(client, f"STREAM.INFO.{stream}", deleted_details=True)
    return frozenset(info["state"].get("deleted") or ())


async def subjects_of(client: Client, stream: str, pattern: str) -> Mapping[str, int]:
    """How many messages each subject has, of SUBJECTS_MOST subjects at most. Raises StreamUnavailable,
    QueueUnusable."""
    found: dict[str, int] = {}
    while len(found) < SUBJECTS_MOST:
        info = await ask_if_there(client, f"STREAM.INFO.{stream}", subjects_filter=pattern, offset=len(found))
        if info is None:
            # No sender has made it yet.
            return {}
        some = info["state"].get("subjects") or {}
        found |= some
        if not some or len(found) >= info.get("total", 0):
            break
    return found


async def first_of(client: Client, stream: str, subject: str) -> Stored | None:
    """The first message of a subject. Raises StreamUnavailable, QueueUnusable."""
    found = await read_from(client, stream, subject, 1, at_once=1)
    return found[0] if found else None


async def delete(client: Client, stream: str, seq: int) -> bool:
    """Remove one message; whether it was there. Raises StreamUnavailable, StreamRefused, QueueUnusable."""
    answer = await api(client, f"STREAM.MSG.DELETE.{stream}", seq=seq)
    error = answer.get("error")
    if error is None:
        return bool(answer.get("success"))
    if error.get("err_code") in _NO_MESSAGE or error.get("code") == NOT_FOUND:
        return False
    raise StreamRefused(f"NATS refused to delete a message of {stream}: {error.get('description')}")


_NO_MESSAGE = (10037, 10057)
"""No message found; sequence not found or deletion failed (nats-server, errors.json)."""
