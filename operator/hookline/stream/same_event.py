"""Whether a key that NATS has already stands for the same event: asked by whoever published, answered by one of the
senders, which reads what lies there.

A publisher may not read events. And NATS says of a repeat only where the first one lies. Decides only that no answer
means that it is not known: there may be no sender, or an older one, or no permission, or the event is gone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.events.envelope import ID_HEADER
from hookline.stream import names
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.event_reader import StoredEvent
from hookline.stream.publish import Former

ANSWER_SECONDS = 1.0
"""How long an answer is waited for. Without any sender NATS says so at once."""

AT_ONCE = 512
"""Events that a sender reads for this. What is asked beyond is not heard."""

_SAME, _ANOTHER = b"same", b"another"


_NOTHING = hashlib.blake2b(digest_size=16)
"""Copied for each event: to make a digest with a size takes three times as long."""


def digest_of(event_type: str, body: bytes) -> bytes:
    """Of what makes two events with one key the same."""
    digest = _NOTHING.copy()
    digest.update(event_type.encode() + b"\0")
    digest.update(body)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Question:
    """Whether the event with this id, at this place, has this digest."""

    stream: str
    seq: int
    id: str
    digest: str

    @classmethod
    def of(cls, former: Former, event_id: str, digest: bytes) -> Question:
        return cls(former.stream, former.seq, event_id, digest.hex())

    @classmethod
    def read(cls, text: bytes) -> Question | None:
        """None of what is no question: anybody on this NATS may have sent it."""
        try:
            question = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        stream, seq, id_, digest = question.stream, question.seq, question.id, question.digest
        texts = (stream, id_, digest)
        if not all(isinstance(each, str) for each in texts) or type(seq) is not int or not 0 < seq < 1 << 63:
            return None
        return question if names.bears(stream, names.EVENTS) else None

    def judge(self, stored: StoredEvent | None) -> bytes | None:
        """What is answered; None is no answer, as when something else lies there."""
        if stored is None or not names.is_event(stored.subject) or stored.headers.get(ID_HEADER) != self.id:
            return None
        _, event_type = names.event_of(stored.subject)
        return _SAME if digest_of(event_type, stored.body).hex() == self.digest else _ANOTHER


async def is_another(client: Client, former: Former, event_id: str, digest: bytes) -> bool | None:
    """Whether another event than this one was stored under this id; None when no sender knows."""
    question = json.dumps(asdict(Question.of(former, event_id, digest))).encode()
    try:
        answer = await client.request(names.SAME_SUBJECT, question, timeout=ANSWER_SECONDS)
    except (nats.errors.Error, TimeoutError):
        return None
    return {_SAME: False, _ANOTHER: True}.get(answer.data)


async def answer_same(
    client: Client,
    read: Callable[[str, int], Awaitable[StoredEvent | None]],
    spawn: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """Begin to answer. `read` gives what lies at a place, as EventReader does. Raises StreamUnavailable."""
    under_way = 0

    async def answer(question: Question, reply: str) -> None:
        nonlocal under_way
        try:
            said = question.judge(await read(question.stream, question.seq))
            if said is not None:
                await client.publish(reply, said)
        except (StreamUnavailable, StreamRefused, nats.errors.Error):
            # A lost answer only means that it is not known.
            pass
        finally:
            under_way -= 1

    async def asked(message: Msg) -> None:
        nonlocal under_way
        question = Question.read(message.data)
        if question is not None and names.is_inbox(message.reply) and under_way < AT_ONCE:
            under_way += 1
            spawn(answer(question, message.reply))

    try:
        await client.subscribe(names.SAME_SUBJECT, queue="senders", cb=asked)
    except nats.errors.Error as error:
        raise StreamUnavailable(f"questions of publishers cannot be heard ({type(error).__name__})") from None
