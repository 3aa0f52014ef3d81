"""Taking messages: one inbox subscription for any number of consumers, robust against a server that comes and goes.

Rests on facts that were measured (docs/queue-internals.md):
- a message carries the stream's subject, and its consumer's name is in the reply; a status carries the inbox subject;
- a standing pull dies without a word with the server or the connection, and the client's own fetch() then sleeps out
  its whole timeout: so pulls are asked for again after a reconnect, and when two heartbeats were missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from hookline.runtime.tasks import cancel
from hookline.stream import names
from hookline.stream.connection import Heard, StreamUnavailable, listen, say

log = structlog.get_logger(__name__)

PULL_BYTES = 1024 * 1024
"""What one pull asks for at most, headers included. nats-server ends a connection for which 64 MiB wait to be read, and
there are at most two standing pulls for each of 17 consumers, and those of parked deliveries. The largest event fits
three times, and with bodies of up to 4 KB a pull hardly ever reaches it."""

EVENTS_PULL_BYTES = 4 * PULL_BYTES
"""Of events: what is large must be read past as quickly as it is published. All standing pulls come to 42 MiB."""

HELD_BYTES = 8 * 1024 * 1024
"""Bodies of one consumer in our hands, beyond which nothing more is asked for. With what standing pulls may still
bring, 16 shards and the fan-out come to 170 MiB, of the 512 MiB that a pod may have: all of them went to 128 messages
of 256 KiB in each shard. In a shard bodies of less than 64 KiB never reach it."""

EXPIRES_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
_GONE_RETRY_SECONDS = 2.0
_STUCK_SECONDS = 30.0
_NAK = b"-NAK"
_SIZE_HEADER = "Nats-Msg-Size"
"""The server writes it last, and the last of a name counts."""


class Origin(Enum):
    """Where a message was taken from; each value is the name of its stream, without its prefix."""

    EVENTS = names.EVENTS
    """An event, to become deliveries."""
    SHARD = names.DELIVERIES
    """A delivery that shares the room of its shard with others."""
    BACKLOG = names.BACKLOG
    """A message that names events which were set aside, or one of these events."""
    PARKED = names.PARKED
    """A delivery that waits by itself: it stays parked when it is not called."""


@dataclass(eq=False, slots=True)
class Taken:
    """A message in our hands until it is acked or given back.

    `seq` is its sequence in the stream, `stored_ns` when the server stored it, by its clock: Unix time in ns. Both are
    the same each time that it is delivered, and together name it also after the stream was made anew.
    """

    origin: Origin
    consumer: str
    subject: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seq: int
    stored_ns: int
    delivered: int
    """How often the server delivered it, this time included."""
    _client: Client = field(repr=False)
    _reply: str = field(repr=False)
    pending: int = 0
    """What its consumer had besides when it was sent."""
    is_head: bool = False
    """Whether it came without its body, which lies in the stream."""

    @property
    def size_bytes(self) -> int:
        """Of its body, also where that lies in the stream: the server says how large it is."""
        return int(self.headers.get(_SIZE_HEADER, 0)) if self.is_head else len(self.body)

    @property
    def place(self) -> str:
        """Names the message among all, also after a stream was made anew."""
        return f"{self.known_as}.{self.seq}.{self.stored_ns}"

    @property
    def known_as(self) -> str:
        """Whose sequence it is: an event is the same, whoever took it and in whichever way."""
        return names.EVENTS if self.origin is Origin.EVENTS else self.consumer

    @property
    def stored_s(self) -> float:
        """When the server stored it, by its clock: Unix time."""
        return self.stored_ns / 1e9

    async def ack(self) -> None:
        """Done with it. Best effort: a lost ack means one repeat."""
        await _answer(self._client, self._reply, b"+ACK")

    async def give_back(self) -> None:
        """Let another one take it at once. Never with a delay: see Publisher.store_later."""
        await _answer(self._client, self._reply, _NAK)

    async def left(self) -> None:
        """Not done with it, and not given back: it comes again after the ack wait."""

    async def doubled(self) -> None:
        """Delivered once more while it is in our hands: whoever has it acks it."""

    async def working(self) -> None:
        """Still at it: starts the consumer's ack wait anew."""
        await _answer(self._client, self._reply, b"+WPI")


@dataclass(slots=True)
class _Source:
    origin: Origin
    stream: str
    room: int
    """Messages that may be in our hands at once."""
    held_most_bytes: int = HELD_BYTES
    gives_heads: bool = False
    """Whether its messages come without their bodies."""
    held: int = 0
    held_bytes: int = 0
    asked: int = 0
    """Messages that standing pulls still owe us."""
    oversized: bool = False
    """Whether the next message is larger than a whole pull, as only another NATS client makes them."""
    heard_s: float = 0.0
    gone_s: float | None = None
    """Since when the server says that there is no such consumer."""


class PullLoop:
    """Hands every message to `on_message`, which must only pass it on: never more than `room` unreleased, nor, but for
    what was asked for by then, more than HELD_BYTES of one consumer."""

    def __init__(
        self, client: Client, on_message: Callable[[Taken], None], *, on_gone: Callable[[str], None] | None = None
    ) -> None:
        self._client = client
        self._on_message = on_message
        self._on_gone = on_gone
        self._sources: dict[str, _Source] = {}
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._giving: set[asyncio.Task[None]] = set()
        """Tasks that return messages of consumers that were removed."""
        self._looked_s = 0.0

    async def start(self) -> None:
        """Begin. Raises StreamUnavailable when the connection is closed by now."""
        try:
            self._subscription = await listen(self._client, f"{self._inbox}.*", self._receive)
        except nats.errors.Error as error:
            raise StreamUnavailable(f"the connection to NATS is closed ({type(error).__name__})") from None
        self._looked_s = time.monotonic()
        self._tasks = [asyncio.create_task(self._pump()), asyncio.create_task(self._watch())]

    async def watched(self) -> None:
        """Wait until taking ends by itself, which it should not. Raises what ended it."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            if not each.cancelled():
                each.result()

    def stuck(self) -> str | None:
        """Why no message will ever be taken again, if that is so. An absent server is no reason: it may come back."""
        if any(task.done() for task in self._tasks):
            return "the pull loop has ended"
        if self._tasks and time.monotonic() - self._looked_s > _STUCK_SECONDS:
            return f"the pull loop has not moved for {_STUCK_SECONDS:g} s"
        return None

    def add(
        self,
        origin: Origin,
        consumer: str,
        room: int,
        *,
        stream: str = "",
        share: int = 1,
        gives_heads: bool = False,
    ) -> None:
        """Take what a consumer of the origin's stream, or of another one, has: at most `room` messages in our hands at
        once, and one of `share` parts of HELD_BYTES. `gives_heads` of one that leaves out the bodies."""
        held_bytes = HELD_BYTES // share
        self._sources[consumer] = _Source(origin, stream or origin.value, room, held_bytes, gives_heads)
        self._pull_soon(consumer)

    def resize(self, consumer: str, room: int, *, share: int = 1) -> None:
        """Have more or fewer messages of a consumer in our hands at once."""
        source = self._sources.get(consumer)
        if source is not None and (source.room, source.held_most_bytes) != (room, HELD_BYTES // share):
            source.room, source.held_most_bytes = room, HELD_BYTES // share
            self._pull_soon(consumer)

    def held(self, consumer: str) -> int:
        """Messages of a consumer in our hands."""
        source = self._sources.get(consumer)
        return source.held if source is not None else 0

    def remove(self, consumer: str) -> None:
        self._sources.pop(consumer, None)

    def release(self, taken: Taken) -> None:
        """One message less in our hands: there is room for another."""
        source = self._sources.get(taken.consumer)
        if source is not None:
            # A consumer that was removed and added again counts from 0.
            source.held = max(0, source.held - 1)
            source.held_bytes = max(0, source.held_bytes - len(taken.body))
            if _to_ask_for(source):  # else the pump would be woken for each message, and ask for nothing
                self._pull_soon(taken.consumer)

    def reconnected(self) -> None:
        """Standing pulls died with the connection: ask again."""
        for consumer, source in self._sources.items():
            source.asked = 0
            source.gone_s = None
            self._pull_soon(consumer)

    async def stop(self) -> None:
        """Take nothing more. What is held stays held, and may still be acked."""
        await cancel(self._tasks)
        self._tasks = []
        self._sources.clear()
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._subscription.unsubscribe()

    def _pull_soon(self, consumer: str) -> None:
        self._due.add(consumer)
        self._wake.set()

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, set()
            for consumer in due:
                await self._pull(consumer)

    async def _pull(self, consumer: str) -> None:
        source = self._sources.get(consumer)
        if source is None or source.gone_s is not None or not self._client.is_connected:
            return
        free = _to_ask_for(source)
        if not free:
            return
        # What is left out counts for the server as well: of heads a pull would end with a few of them.
        bounds = {} if source.gives_heads else {"max_bytes": _pull_bytes(source)}
        size = {"batch": 1} if source.oversized else {"batch": free, **bounds}
        source.oversized = False
        source.asked += size["batch"]
        source.heard_s = time.monotonic()
        request = {**size, "expires": int(EXPIRES_SECONDS * 1e9), "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{source.stream}.{consumer}"
        try:
            await self._client.publish(subject, json.dumps(request).encode(), reply=f"{self._inbox}.{consumer}")
        except nats.errors.Error:
            source.asked = 0

    def _receive(self, message: Heard) -> None:
        if "Status" in message.headers and not message.reply.startswith("$JS.ACK"):
            self._status(message.subject[len(self._inbox) + 1 :], message.headers)
            return
        consumer, seq, stored_ns, delivered, pending = read_reply(message.reply)
        source = self._sources.get(consumer)
        if source is None:
            giving = asyncio.create_task(_answer(self._client, message.reply, _NAK))
            self._giving.add(giving)
            giving.add_done_callback(self._giving.discard)
            return
        taken = Taken(
            source.origin,
            consumer,
            message.subject,
            message.headers,
            message.body,
            seq,
            stored_ns,
            delivered,
            self._client,
            message.reply,
            pending,
            source.gives_heads,
        )
        source.heard_s = time.monotonic()
        source.asked = max(0, source.asked - 1)
        source.held += 1
        source.held_bytes += len(taken.body)
        self._on_message(taken)

    def _status(self, consumer: str, headers: Mapping[str, str]) -> None:
        source = self._sources.get(consumer)
        if source is None:
            return
        source.heard_s = time.monotonic()
        status, description = headers["Status"], headers.get("Description", "")
        if status == "100":
            return
        if status == "503" or "Consumer Deleted" in description or "not found" in description.lower():
            self._gone(consumer, source)
            return
        # 408 (the pull expired) and 409 (its bytes or messages are used up, leadership change and the like) end one
        # pull and say what it still owed. One that gave nothing for all its bytes would give nothing again.
        source.oversized = "MaxBytes" in description and headers.get("Nats-Pending-Bytes") == str(_pull_bytes(source))
        owed = headers.get("Nats-Pending-Messages")
        if owed is None:
            # The pull was refused, such as for too many that wait, and so would the next one be. `_watch` asks again.
            source.asked = 0
            return
        source.asked = max(0, source.asked - int(owed))
        self._pull_soon(consumer)

    def _gone(self, consumer: str, source: _Source) -> None:
        source.asked = 0
        if source.gone_s is None:
            source.gone_s = time.monotonic()
            if self._on_gone is not None:
                self._on_gone(consumer)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            now_s = self._looked_s = time.monotonic()
            for consumer, source in self._sources.items():
                silent = source.asked > 0 and now_s - source.heard_s > 2 * HEARTBEAT_SECONDS + 1
                back = source.gone_s is not None and now_s - source.gone_s > _GONE_RETRY_SECONDS
                if silent or back:
                    source.asked, source.gone_s = 0, None
                if source.asked == 0:
                    self._pull_soon(consumer)


def _pull_bytes(source: _Source) -> int:
    """What one pull asks for at most."""
    return EVENTS_PULL_BYTES if source.origin is Origin.EVENTS else PULL_BYTES


def _to_ask_for(source: _Source) -> int:
    """Messages to be asked for now."""
    free = source.room - source.held - source.asked
    # A request for each single message would double the server's work: wait for half the room.
    if free <= 0 or (source.asked > 0 and free < source.room // 2) or source.held_bytes >= source.held_most_bytes:
        return 0
    return free


async def _answer(client: Client, reply: str, word: bytes) -> None:
    # A closed or overflowing connection loses the word, and the message is delivered again.
    with contextlib.suppress(nats.errors.Error):
        await say(client, reply, word)


def read_reply(reply: str) -> tuple[str, int, int, int, int]:
    """Consumer, stream sequence, time of storing in ns, count of deliveries, and what the consumer has besides, out of
    a message's reply subject (ADR-15). The library's reader costs 3 us more.

    $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>, or with domain and
    account hash before the stream.
    """
    tokens = reply.split(".")
    first = 2 if len(tokens) == 9 else 4
    seq, stored_ns, delivered = int(tokens[first + 3]), int(tokens[first + 5]), int(tokens[first + 2])
    return tokens[first + 1], seq, stored_ns, delivered, int(tokens[first + 6])
