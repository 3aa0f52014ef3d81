"""Which streams and consumers there are, and how they are set. Creates what is missing, changes what differs.

The reasons for each setting are in docs/queue.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.kv import KeyValue

from hookline.events import MAX_BODY_BYTES
from hookline.stream import names
from hookline.stream.connection import StreamRefused, StreamUnavailable, jetstream_answers

ACK_WAIT_SECONDS = 15.0
"""After this time without a word from a dead sender its messages go to another one. A living sender says every
third of it that it still works on what it holds."""

MAX_EVENT_BYTES = MAX_BODY_BYTES + 16 * 1024
"""Of one message in EVENTS, its headers among them."""

MAX_ACK_PENDING = 20_000
"""Messages of one consumer in the hands of all senders together. Each sender bounds its own share."""

DEDUPLICATION_SECONDS = 120.0
"""How long a message id is remembered, at 110-170 B of the server's memory each."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long streams keep what nobody takes, in seconds. The shelf is swept by senders: each thing that waited too
    long becomes a dead letter, and nothing vanishes."""

    events_seconds: int = 604_800
    dead_seconds: int = 2_592_000


def stream_configs(retention: Retention, *, replicas: int = 1) -> list[StreamConfig]:
    """The four streams. A full stream refuses new messages, so that a publisher hears of it."""

    def config(name: str, subjects: list[str], policy: RetentionPolicy, max_age_seconds: float) -> StreamConfig:
        return StreamConfig(
            name=name,
            subjects=subjects,
            retention=policy,
            max_age=max_age_seconds,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            num_replicas=replicas,
            # Not above max_age: the server refuses that.
            duplicate_window=min(DEDUPLICATION_SECONDS, max_age_seconds or DEDUPLICATION_SECONDS),
            allow_direct=True,
        )

    events = config(names.EVENTS, ["hookline.events.>"], RetentionPolicy.LIMITS, retention.events_seconds)
    # Whoever publishes more hears of it. What follows from an event has more headers than it, and must fit as well.
    events.max_msg_size = MAX_EVENT_BYTES
    deliveries = config(names.DELIVERIES, ["hookline.deliveries.>"], RetentionPolicy.WORK_QUEUE, 0)
    deliveries.allow_msg_schedules = True
    # For the anchor, see stream/anchor.
    deliveries.allow_msg_ttl = True
    # nats-server takes schedules only with `discard: old`. Without any limit of its own the stream still discards
    # nothing: a full disk is refused to the publisher.
    deliveries.discard = DiscardPolicy.OLD
    return [
        events,
        deliveries,
        config(names.PARKED, ["hookline.parked.*"], RetentionPolicy.WORK_QUEUE, 0),
        config(names.DEAD, ["hookline.dead.*.*"], RetentionPolicy.LIMITS, retention.dead_seconds),
    ]


def consumer_configs() -> list[tuple[str, ConsumerConfig]]:
    """(stream, consumer) for the fan-out and for each shard of deliveries."""
    shards = [
        (names.DELIVERIES, _consumer(names.shard_consumer(shard), names.shard_filter(shard)))
        for shard in range(names.DELIVERY_SHARDS)
    ]
    return [(names.EVENTS, _consumer(names.FANOUT_CONSUMER, "hookline.events.>")), *shards]


def unpark_config(uid: str) -> ConsumerConfig:
    """A consumer that exists while one Webhook's shelf is served, shared by all senders."""
    config = _consumer(names.unpark_consumer(uid), names.parked_subject(uid))
    config.inactive_threshold = 60.0
    return config


async def ensure(client: Client, retention: Retention, *, replicas: int = 1) -> None:
    """Create or update all streams and consumers. Raises StreamUnavailable or StreamRefused."""
    js = client.jetstream()
    try:
        for config in stream_configs(retention, replicas=replicas):
            await _ensure_stream(js, config)
        for stream, consumer in consumer_configs():
            await js.add_consumer(stream, consumer)
    except nats.js.errors.APIError as error:
        if isinstance(error, nats.js.errors.ServiceUnavailableError):
            raise _unavailable(error) from None
        raise StreamRefused(f"NATS refused the streams: {error.description}") from None
    except nats.errors.Error as error:
        raise _unavailable(error) from None


def _unavailable(error: Exception) -> StreamUnavailable:
    return StreamUnavailable(f"JetStream does not answer ({type(error).__name__}); is it enabled?")


async def _ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.add_stream(config)
    except nats.js.errors.BadRequestError:
        # It exists with other settings: bring them up to date.
        await js.update_stream(config)


def _consumer(name: str, filter_subject: str) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=name,
        filter_subject=filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_ack_pending=MAX_ACK_PENDING,
        max_waiting=512,
    )


async def parked(client: Client) -> dict[str, int]:
    """How many deliveries are on the shelf, by uid of their Webhook. Raises StreamUnavailable."""
    counts: dict[str, int] = {}
    while True:
        info = await ask(
            client, f"STREAM.INFO.{names.PARKED}", subjects_filter=names.parked_subject("*"), offset=len(counts)
        )
        subjects = info["state"].get("subjects") or {}
        counts |= {names.uid_of(subject): count for subject, count in subjects.items()}
        if not subjects or len(counts) >= info.get("total", 0):
            return counts


@dataclass(frozen=True, slots=True)
class Oldest:
    """The first delivery on the shelf of one Webhook: when it came there, by the server's clock, and its headers."""

    stored_s: float
    headers: Mapping[str, str]


async def oldest_parked(client: Client, uid: str) -> Oldest | None:
    """Raises StreamUnavailable."""
    try:
        message = await client.jetstream().get_msg(names.PARKED, seq=1, subject=names.parked_subject(uid), next=True)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, nats.js.errors.Error) as error:
        raise _unavailable(error) from None
    at = message.time.timestamp() if message.time else 0.0
    return Oldest(at, message.headers or {})


async def ask(client: Client, what: str, **question: object) -> dict[str, Any]:
    """A question to JetStream's API; its answer. Raises StreamUnavailable."""
    try:
        answer = await client.request(f"$JS.API.{what}", json.dumps(question).encode(), timeout=5)
    except nats.errors.Error as error:
        raise _unavailable(error) from None
    said: dict[str, Any] = json.loads(answer.data)
    if "error" in said:
        raise StreamUnavailable(f"JetStream does not answer {what} ({said['error'].get('description')})")
    return said


async def open_unpark(client: Client, uid: str) -> str:
    """Make the consumer of one Webhook's parked deliveries; its name. Raises StreamUnavailable."""
    with jetstream_answers():
        await client.jetstream().add_consumer(names.PARKED, unpark_config(uid))
    return names.unpark_consumer(uid)


async def open_bucket(client: Client, name: str, *, replicas: int = 1) -> KeyValue:
    """A bucket of keys and values, made if it is not there. Raises what the client raises."""
    js = client.jetstream()
    try:
        return await js.key_value(name)
    except nats.js.errors.BucketNotFoundError:
        return await js.create_key_value(bucket=name, replicas=replicas)
