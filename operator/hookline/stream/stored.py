"""Messages read out of a stream as they lie there, many by one question, and what of them is stored anew.

Takes nothing. A copy of the stream that is a moment behind may answer, and have what is gone already.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import nats.errors
import structlog
from nats.aio.client import Client

from hookline.runtime.tasks import Deadline
from hookline.stream import names
from hookline.stream.api import unix_ns
from hookline.stream.connection import Heard, QueueUnusable, StreamRefused, StreamUnavailable, denied, listen
from hookline.stream.publish import OutOfRoom, Publisher, Replaced

log = structlog.get_logger(__name__)

AT_ONCE = 32
"""Messages of one answer."""

ANSWER_BYTES = 1024 * 1024
"""Of one answer, which is one message at least: nats-server ends the connection of a slow reader."""

LATE_SECONDS = 30.0
"""What should have come so long ago does not come any more: nats-server forgets what is due while a stream is brought
to fewer copies (seen with 2.14.6). It comes at once where it is stored again."""

_READ_SECONDS = 5.0
_SCHEDULE = ("Nats-Schedule", "Nats-Schedule-Target")
_SEQUENCE = "Nats-Sequence"
"""In each message of an answer, and not in what ends it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """`time` is when the server stored it, as it writes it."""

    subject: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seq: int
    time: str

    @property
    def stored_ns(self) -> int:
        """Unix time by the server's clock."""
        return unix_ns(self.time)

    @property
    def stored_s(self) -> float:
        """Unix time by the server's clock."""
        return datetime.fromisoformat(self.time).timestamp()

    @property
    def due_s(self) -> float | None:
        """For when it is scheduled, Unix time. None of what is not, or for no time that can be read."""
        word, _, at = self.headers.get("Nats-Schedule", "").partition(" ")
        try:
            return datetime.fromisoformat(at).timestamp() if word == "@at" else None
        except (ValueError, OverflowError):
            return None

    def is_overdue(self, now_s: float) -> bool:
        """Whether the server does not let it come any more. `now_s` is NATS's time, Unix time. What was stored just now
        for a time that is past has time to come."""
        return max(self.stored_s, self.due_s if self.due_s is not None else math.inf) < now_s - LATE_SECONDS

    def kept_headers(self) -> dict[str, str]:
        """Without the words to the server of when it was stored first; what is scheduled stays so. And without what
        cannot be written again: anybody on this NATS may have written it."""
        return {
            name: value
            for name, value in self.headers.items()
            if name in _SCHEDULE or (names.is_header(name) and not name.lower().startswith("nats-"))
        }


async def read_from(
    client: Client, stream: str, pattern: str, seq: int, *, at_once: int = AT_ONCE, answer_bytes: int = ANSWER_BYTES
) -> list[Stored]:
    """The next messages whose subject matches, from a sequence on; none behind the last one.

    By a direct get of many (ADR-31), at most `at_once` and, after the first, `answer_bytes`. Raises StreamUnavailable,
    QueueUnusable.
    """
    subject, inbox = f"$JS.API.DIRECT.GET.{stream}", client.new_inbox()
    question = {"seq": seq, "next_by_subj": pattern, "batch": at_once, "max_bytes": answer_bytes}
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    found: list[Stored] = []
    try:
        subscription = await listen(client, inbox, heard.put_nowait)
        try:
            with Deadline(_READ_SECONDS):
                await client.publish(subject, json.dumps(question).encode(), reply=inbox)
                while _SEQUENCE in (answer := await heard.get()).headers:
                    found.append(_stored(answer))
        finally:
            await subscription.unsubscribe()
    except (TimeoutError, nats.errors.Error, OSError) as error:
        problem = denied(client, subject)
        if problem is not None:
            raise QueueUnusable(problem) from None
        raise StreamUnavailable(f"JetStream does not give what waits in {stream} ({type(error).__name__})") from None
    if answer.headers.get("Status") not in ("204", "404"):
        raise StreamUnavailable(f"JetStream does not give what waits in {stream}; its servers may just begin")
    return found


async def store_anew(
    publisher: Publisher,
    stream: str,
    message: Stored,
    *,
    otherwise: str,
    once: str | None = None,
    instead_of_itself: bool = False,
) -> bool | None:
    """Store a message of a stream under its own subject; whether it is new.

    None when that cannot be: anybody may have written it. Then the log says `otherwise`.
    As Publisher.store besides, and raises Replaced when it was to be stored `instead_of_itself` and is not there.
    """
    expected = {"Nats-Expected-Last-Subject-Sequence": str(message.seq)} if instead_of_itself else {}
    headers = {**message.kept_headers(), **expected}
    try:
        return (await publisher.store(message.subject, message.body, headers, once=once)).new
    except (OutOfRoom, QueueUnusable, Replaced):
        raise
    except (StreamRefused, ValueError) as error:
        log.warning(otherwise, stream=stream, seq=message.seq, problem=type(error).__name__)
        return None


def _stored(answer: Heard) -> Stored:
    """The server writes its own headers behind those of the message, and the last of a name counts."""
    said = answer.headers
    return Stored(said["Nats-Subject"], said, answer.body, int(said[_SEQUENCE]), said["Nats-Time-Stamp"])
