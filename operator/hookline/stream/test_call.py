"""A test call of a Webhook: asked for over NATS, made by one sender, answered with its record. Nothing is stored.

Every sender hears a question. Those whose book has the Webhook say that they serve it; the first of them is asked to
make the call, and the others hear that they are not meant. So exactly one makes it, and a sender that does not have the
Webhook yet is in nobody's way. Decides what is a question and what an answer; which Webhooks may be called, and how, is
decided in delivery/test_call.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from hookline.events.schemas import is_event_name
from hookline.routing.signing import valid_message_id
from hookline.stream import attempt_record, names
from hookline.stream.attempt_record import AttemptRecord
from hookline.stream.connection import StreamUnavailable

ID_PREFIX = "test-"
"""What the id of a test begins with, so that a receiver sees it in what is signed."""

MAX_BODY_BYTES = 64 * 1024
"""Of a test. Samples have at most 16 KiB."""

MAX_QUESTION_BYTES = 512 * 1024
"""A body of the largest size with an escape for every character of it, and then some."""

MAX_POD_LENGTH = 128

FIND_SECONDS = 2.0
"""How long senders have to say that they serve a Webhook."""

MAX_CALL_SECONDS = 30
"""The longest time that a Webhook may allow a call."""

BEYOND_CALL_SECONDS = 5.0
"""How much longer than its call may take an answer is waited for."""


class Why(StrEnum):
    """Why no test call was made, or it is not known how it ended."""

    NO_SENDER = "NoSender"
    """Nobody hears the question: no sender runs, or all of them are of a version that makes no test calls."""
    NOT_SERVED = "NotServed"
    """No sender has the Webhook in its book."""
    NO_ANSWER = "NoAnswer"
    """A sender began the call and did not say how it ended."""
    DISABLED = "Disabled"
    HELD = "Held"
    BUSY = "Busy"
    INVALID = "Invalid"
    """A sender does not take the id, the event type or the body."""


_NO_SENDER = "no sender makes test calls: none runs, or all of them are of a version before"
_NOT_SERVED = (
    "no sender serves this Webhook yet; look at its condition Programmed (or this user of NATS may not ask: "
    "docs/nats-user.conf)"
)
_NO_ANSWER = "a sender began the call and did not say how it ended; the attempts log may have it"


class NotTested(Exception):
    """The text is for people. `reason` is a word of Why, or one that only a later version knows."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Question:
    """Who serves a Webhook, by its uid or its namespace/name; or, with a `sender`, that this one is to call it."""

    uid: str = ""
    webhook: str = ""
    sender: str = ""
    id: str = ""
    event_type: str = ""
    body: str = field(default="", repr=False)

    def encoded(self) -> bytes:
        return json.dumps({name: text for name, text in asdict(self).items() if text}).encode()

    @classmethod
    def read(cls, data: bytes) -> Question | None:
        """None of what is no question: anybody on this NATS may have sent it. Fields of a later version are passed
        over."""
        if len(data) > MAX_QUESTION_BYTES:
            return None
        content = _object(data)
        texts = [content.get(name, "") for name in cls.__slots__]
        return cls(*texts) if content and all(isinstance(text, str) for text in texts) else None

    def problem(self) -> str:
        """What keeps it from being a call; empty when nothing does."""
        if not self.id.startswith(ID_PREFIX) or not valid_message_id(self.id):
            return f"the id of a test begins with {ID_PREFIX}, and has up to 128 letters, digits, _ and -"
        if not is_event_name(self.event_type):
            return "an event type is named by letters and digits, with full stops or hyphens between them"
        if len(self.body.encode(errors="replace")) > MAX_BODY_BYTES:
            return f"the body of a test has at most {MAX_BODY_BYTES} bytes"
        return ""


@dataclass(frozen=True, slots=True)
class Serves:
    """What a sender says that serves a Webhook."""

    sender: str
    uid: str
    event_type: str
    """That the Webhook hears; empty when it hears none."""
    call_seconds: int
    """How long its calls may take."""
    pod: str = ""
    """What the sender is called in the attempts log."""

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, data: bytes) -> Serves | None:
        """None of what is no such answer: anybody on this NATS may have sent it."""
        content = _object(data)
        sender, uid, event_type = (content.get(name) for name in ("sender", "uid", "event_type"))
        seconds, pod = content.get("call_seconds"), content.get("pod", "")
        if not (isinstance(sender, str) and isinstance(uid, str) and isinstance(event_type, str)):
            return None
        if not isinstance(pod, str):
            return None
        if not sender or not names.is_uid(uid) or type(seconds) is not int or not 0 < seconds <= MAX_CALL_SECONDS:
            return None
        return cls(sender, uid, event_type, seconds, pod[:MAX_POD_LENGTH])


def new_test_id() -> str:
    return f"{ID_PREFIX}{uuid.uuid4().hex}"


async def who_serves(client: Client, *, uid: str = "", webhook: str = "") -> Serves:
    """The first sender that serves a Webhook, which is named by its uid or as namespace/name.

    Raises NotTested, StreamUnavailable.
    """
    answer = await _asked(client, Question(uid=uid, webhook=webhook), FIND_SECONDS, Why.NOT_SERVED, _NOT_SERVED)
    serves = Serves.read(answer)
    if serves is None:
        raise NotTested(Why.NOT_SERVED, "what answers for a sender cannot be read")
    return serves


async def have_called(client: Client, serves: Serves, event_type: str, body: bytes, test_id: str) -> AttemptRecord:
    """Have this sender make the call, and wait for its end. Raises NotTested, StreamUnavailable."""
    question = Question(serves.uid, "", serves.sender, test_id, event_type, body.decode(errors="replace"))
    problem = question.problem()
    if problem:
        raise NotTested(Why.INVALID, problem)
    seconds = serves.call_seconds + BEYOND_CALL_SECONDS
    answer = await _asked(client, question, seconds, Why.NO_ANSWER, _NO_ANSWER)
    said = _object(answer)
    reason, message = said.get("refused"), said.get("message")
    if isinstance(reason, str) and isinstance(message, str):
        raise NotTested(reason, message)
    records = attempt_record.decode(answer)
    if not records:
        raise NotTested(Why.NO_ANSWER, "what a sender says of the call cannot be read")
    return records[0]


async def ask_for_test(client: Client, uid: str, event_type: str, body: bytes, test_id: str = "") -> AttemptRecord:
    """One test call of a Webhook, and how it ended. Raises NotTested, StreamUnavailable."""
    serves = await who_serves(client, uid=uid)
    return await have_called(client, serves, event_type, body, test_id or new_test_id())


async def _asked(client: Client, question: Question, seconds: float, late: Why, late_words: str) -> bytes:
    try:
        return (await client.request(names.TEST_SUBJECT, question.encoded(), timeout=seconds)).data
    except nats.errors.NoRespondersError:
        raise NotTested(Why.NO_SENDER, _NO_SENDER) from None
    except (nats.errors.TimeoutError, TimeoutError):
        raise NotTested(late, late_words) from None
    except nats.errors.Error as error:
        raise StreamUnavailable(f"senders cannot be asked ({type(error).__name__})") from None


async def answer_tests(
    client: Client,
    me: str,
    serves: Callable[[Question], Serves | None],
    call: Callable[[Question], Awaitable[AttemptRecord]],
    spawn: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """Begin to answer as the sender `me`. `call` may raise NotTested. Raises StreamUnavailable."""

    async def answer(question: Question, reply: str) -> None:
        try:
            said = attempt_record.encode([await call(question)])
        except NotTested as refusal:
            said = json.dumps({"refused": refusal.reason, "message": str(refusal)}).encode()
        await _say(client, reply, said)

    async def asked(message: Msg) -> None:
        question = Question.read(message.data)
        if question is None or not names.is_inbox(message.reply):
            return
        if question.sender == me:
            spawn(answer(question, message.reply))
        elif not question.sender and (found := serves(question)) is not None:
            await _say(client, message.reply, found.encoded())

    try:
        await client.subscribe(names.TEST_SUBJECT, cb=asked)
    except nats.errors.Error as error:
        raise StreamUnavailable(f"test calls cannot be heard of ({type(error).__name__})") from None


async def _say(client: Client, reply: str, said: bytes) -> None:
    """A lost answer only means that whoever asked waits in vain."""
    try:
        await client.publish(reply, said)
    except nats.errors.Error:
        return


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object; empty of everything else."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
