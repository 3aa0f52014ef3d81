"""The attempts log in NATS: its stream, and batches that are stored there. Nothing else needs either.

What keeps a batch from being stored has a word, and is nobody's problem but the log's: it never counts as one of the
queue's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import nats.errors
from nats.aio.client import Client

from hookline.stream import names
from hookline.stream.attempt_record import FORMAT, FORMAT_HEADER, SENDER_HEADER, WEBHOOK_HEADER
from hookline.stream.connection import Denied, QueueUnusable, StreamRefused, StreamUnavailable
from hookline.stream.inbox import Inbox, is_unheard
from hookline.stream.log_reader import state_of
from hookline.stream.owner import Mark
from hookline.stream.publish import ACK_SECONDS, LATER, NO_RESOURCES, bytes_of
from hookline.stream.queue_problem import QueueReason
from hookline.stream.streams import LogBounds, ensure_attempts, halve_attempts, turn_attempts_off

_STORED = re.compile(rb'\{"stream":"%b", ?"seq":([0-9]+)\}' % names.ATTEMPTS.encode())
"""What the server nearly always says."""

_HEADERS_BYTES = 2048
"""Of a batch, at most: names of 253 characters, and the sender's."""


class Lost(StrEnum):
    """Why lines of the log are lost."""

    ROOM = "Room"
    """More was to be written than finds room in the sender: too much for it or of one tenant, or NATS is away."""
    REFUSED = "Refused"
    """NATS has no room on its disk, its limits do not allow the stream, or it takes no messages as large."""
    DENIED = "Denied"
    """This user of NATS has no right to it, as one that was made for a version before."""
    FOREIGN = "Foreign"
    """A stream of another application has the name or the subjects."""
    ENDED = "Ended"
    """The sender ended before they could be written."""
    FAULT = "Fault"
    """A fault in Hookline itself."""


class NotStored(Exception):
    """NATS said no. `full`: because it has no room for anything."""

    def __init__(self, why: Lost, problem: str, *, full: bool = False) -> None:
        super().__init__(problem)
        self.why = why
        self.full = full


class AttemptsStream:
    """Over one connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = Inbox(client, ACK_SECONDS)

    @property
    def connection(self) -> int | None:
        """Its number, another one before anybody is told of a new connection; None while there is none."""
        return int(self._client.stats["reconnects"]) if self._client.is_connected else None

    @property
    def most_bytes(self) -> int:
        """What a batch may have."""
        return self._client.max_payload - _HEADERS_BYTES

    async def last_seq(self) -> int:
        """The place of the last message that the stream has, or had. Raises StreamUnavailable, QueueUnusable."""
        state = await state_of(self._client, names.ATTEMPTS)
        return state.last if state is not None else 0

    async def halve(self) -> int:
        """Take the older half out of the log, unless that is little; how many batches. Raises StreamUnavailable,
        StreamRefused."""
        return await halve_attempts(self._client)

    async def ensure(
        self, bounds: LogBounds, *, replicas: int, owner: Mark, now_s: float, has_gap: bool
    ) -> tuple[int, int]:
        """Make the stream, or change what differs; how many bytes and copies it has. If it `has_gap`, it says that
        lines before `now_s` may be missing. Raises StreamUnavailable, NotStored."""
        with _refused():
            return await ensure_attempts(
                self._client, bounds, replicas=replicas, owner=owner, now_s=now_s, has_gap=has_gap
            )

    async def turn_off(self) -> None:
        """Have it say, if it is there, that nothing is written. Raises StreamUnavailable, NotStored."""
        with _refused():
            await turn_attempts_off(self._client)

    async def store(self, subject: str, body: bytes, *, once: str, sender: str, webhook: str = "") -> int:
        """Store a batch; its place in the stream. A second one of the same `once` within two minutes is the same.

        Raises StreamUnavailable when it is not known to be stored, NotStored when it is known not to be.
        """
        headers = {"Nats-Msg-Id": once, FORMAT_HEADER: FORMAT, SENDER_HEADER: sender}
        if webhook:
            headers[WEBHOOK_HEADER] = webhook
        if len(body) > self.most_bytes and len(body) + bytes_of(headers) > self._client.max_payload:
            # The server ends the connection of whoever sends too much, and deliveries go over it as well.
            raise NotStored(
                Lost.REFUSED, f"NATS takes messages of at most {self._client.max_payload} bytes (max_payload)"
            )
        try:
            answer, _ = await self._inbox.ask(subject, body, headers, again=True)
        except Denied:
            raise NotStored(Lost.DENIED, f"NATS does not permit this user to publish to {subject}") from None
        except (TimeoutError, nats.errors.Error, OSError) as error:
            raise StreamUnavailable(f"NATS did not confirm ({type(error).__name__})") from None
        if is_unheard(answer):
            raise StreamUnavailable("no stream takes this subject, or JetStream is not up")
        return _place_in(answer.body)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except QueueUnusable as error:
        foreign = error.problem.reason is QueueReason.STREAM_FOREIGN
        raise NotStored(Lost.FOREIGN if foreign else Lost.DENIED, str(error)) from None
    except StreamRefused as error:
        raise NotStored(Lost.REFUSED, str(error)) from None


def _place_in(said: bytes) -> int:
    """The place in the stream that the server says. Raises StreamUnavailable, NotStored."""
    stored = _STORED.match(said)
    if stored is not None:
        return int(stored[1])
    try:
        answer = json.loads(said)
        problem, stream, seq = answer.get("error"), answer.get("stream"), int(answer.get("seq", 0))
    except (ValueError, TypeError, AttributeError):
        raise StreamUnavailable("NATS gave no answer that can be read") from None
    if problem is not None:
        reason, code = problem.get("description", "without a reason"), problem.get("err_code")
        if code in LATER or (problem.get("code") == 503 and code not in NO_RESOURCES):
            raise StreamUnavailable(f"NATS cannot say yet whether it is stored: {reason}")
        raise NotStored(Lost.REFUSED, f"NATS refused to store: {reason}", full=code in NO_RESOURCES)
    if stream != names.ATTEMPTS:
        raise NotStored(Lost.FOREIGN, f"the stream {stream} of another application took it")
    return seq
