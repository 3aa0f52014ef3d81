"""Which streams and consumers there are, and how they are set. Creates what is missing, changes what differs.

The reasons for each setting are in docs/queue-internals.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from hookline.events.envelope import HEADERS_BYTES, MAX_BODY_BYTES, ROOM_BYTES, max_event_bytes
from hookline.stream import names
from hookline.stream.api import api, ask, place_of
from hookline.stream.connection import QueueUnusable, StreamRefused, StreamUnavailable, jetstream_answers
from hookline.stream.layout import Layout, changes, moved
from hookline.stream.owner import Mark
from hookline.stream.queue_problem import FOREIGN_ADVICE, QueueProblem, QueueReason

ACK_WAIT_SECONDS = 15.0
"""After this time without a word from a dead sender its messages go to another one. A living sender says every
third of it that it still works on what it holds."""

MAX_EVENT_BYTES = MAX_BODY_BYTES + HEADERS_BYTES
"""Of one message in EVENTS, its headers among them, where NATS takes messages that are large enough."""

MIN_EVENT_BYTES = 4 * 1024
"""A NATS that takes only smaller events is unfit."""

MAX_ACK_PENDING = 20_000
"""Messages of one consumer in the hands of all senders together. Each sender bounds its own share."""

_OVERLAP = 10065
_NAME_IN_USE = 10058
"""`err_code` of an error (nats-server, errors.json)."""

UNMARKED = Mark("", "", "")
"""The owner of streams without a mark, as they were before there were marks."""

DEDUPLICATION_SECONDS = 120.0
"""How long a message id is remembered, at 110-170 B of the server's memory each."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long streams keep what nobody takes, in seconds. Senders look after what is parked: each thing that
    waited too long becomes a dead letter, and nothing vanishes."""

    events_seconds: int = 604_800
    dead_seconds: int = 2_592_000


@dataclass(frozen=True, slots=True)
class FanoutPlace:
    """How far one consumer of events had come: every event of its own up to the sequence `settled` of `stream`, the one
    that was made at `created`."""

    created: str
    settled: int
    first: int = 1
    """The first sequence that the stream still had, before it was asked for `settled`."""
    unsettled: int = 0
    """Events of this consumer that are kept and not settled."""
    stream: str = names.EVENTS
    subjects: str = names.SUBJECTS[names.EVENTS]
    """Which events are its own."""


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How much of the attempts log is kept: what is older goes, and the oldest of what is too much."""

    seconds: int = 604_800
    bytes: int = 1_073_741_824


_NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})
_CONFIRMED_FIRST: Mapping[str, Any] = MappingProxyType({"persist_mode": "async"})
"""Of the attempts log with one copy: a batch is confirmed before it is written (ADR-56), since an fsync of each would
slow down those of events. What a kill of nats-server loses so is written again, see delivery/attempts_log."""

LEAST_LOG_BYTES = 4 * 1024 * 1024
"""Of the attempts log, where NATS has no more room to keep free for it."""

MAX_BATCH_BYTES = 32 * 1024
"""Of a batch of the attempts log, unless one record alone has more."""

_NOWHERE: Mapping[str, FanoutPlace] = MappingProxyType({})


def stream_configs(
    retention: Retention, *, replicas: int = 1, event_bytes: int = MAX_EVENT_BYTES, takes_large: bool = False
) -> list[StreamConfig]:
    """The five streams, without a prefix. A full stream refuses new messages, so that a publisher hears of it."""

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

    subjects = [names.SUBJECTS[names.EVENTS], *([names.LARGE_SUBJECTS] if takes_large else [])]
    events = config(names.EVENTS, subjects, RetentionPolicy.LIMITS, retention.events_seconds)
    # Whoever publishes more hears of it. What follows from an event has more headers than it, and must fit as well.
    events.max_msg_size = event_bytes
    deliveries = config(names.DELIVERIES, [names.SUBJECTS[names.DELIVERIES]], RetentionPolicy.WORK_QUEUE, 0)
    deliveries.allow_msg_schedules = True
    # The server sets it itself for schedules.
    deliveries.allow_rollup_hdrs = True
    # For the anchor, see stream/anchor.
    deliveries.allow_msg_ttl = True
    # nats-server takes schedules only with `discard: old`. Without any limit of its own the stream still discards
    # nothing: a full disk is refused to the publisher.
    deliveries.discard = DiscardPolicy.OLD
    return [
        events,
        deliveries,
        config(names.PARKED, [names.SUBJECTS[names.PARKED]], RetentionPolicy.WORK_QUEUE, 0),
        config(names.BACKLOG, ["hookline.backlog.*"], RetentionPolicy.WORK_QUEUE, 0),
        config(names.DEAD, [names.SUBJECTS[names.DEAD]], RetentionPolicy.LIMITS, retention.dead_seconds),
    ]


def attempts_config(bounds: LogBounds, *, replicas: int = 1) -> StreamConfig:
    """The attempts log. The oldest goes when it is full, and of one Webhook before it has half of all."""
    return StreamConfig(
        name=names.ATTEMPTS,
        subjects=[names.ATTEMPTS_SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        max_age=bounds.seconds,
        max_bytes=bounds.bytes,
        max_msgs_per_subject=bounds.bytes // (2 * MAX_BATCH_BYTES),
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        num_replicas=replicas,
        duplicate_window=min(DEDUPLICATION_SECONDS, bounds.seconds),
        allow_direct=True,
    )


async def ensure_attempts(
    client: Client,
    bounds: LogBounds,
    *,
    replicas: int = 1,
    owner: Mark = UNMARKED,
    now_s: float,
    has_gap: bool = False,
) -> tuple[int, int]:
    """Bring the attempts log to what is asked for; how many bytes it may have, and how many copies.

    What was made with one copy stays so: nats-server takes no other way of writing for a stream that is there. It makes
    no stream with more bytes than it may have in all. Where that is less, the log gets a quarter of what could be had,
    or less: events need the rest. A log that `has_gap`, or was turned off, says from now on that lines before `now_s`
    may be missing. Raises StreamUnavailable, StreamRefused, QueueUnusable when another application has the name.
    """
    there = (await api(client, f"STREAM.INFO.{names.ATTEMPTS}")).get("config")
    if there is not None and there.get("persist_mode") == _CONFIRMED_FIRST["persist_mode"]:
        replicas = 1
    more = _CONFIRMED_FIRST if there is None and replicas == 1 else _NOTHING_MORE
    was_off = there is not None and (there.get("metadata") or {}).get(names.LOG_WHOLE_SINCE) == names.LOG_OFF
    notes = {names.LOG_WHOLE_SINCE: f"{now_s:.3f}"} if was_off or (has_gap and there is not None) else {}

    async def set_to(size: int) -> bool:
        try:
            config = attempts_config(replace(bounds, bytes=size), replicas=replicas)
            await _ensure_stream(client, config, owner, more, notes)
        except QueueUnusable:
            raise
        except StreamRefused:
            if size // 2 < LEAST_LOG_BYTES:
                raise
            return False
        return True

    size = bounds.bytes
    if await set_to(size):
        return size, replicas
    if there is not None and 0 < there.get("max_bytes", 0) < size and await set_to(there["max_bytes"]):
        return int(there["max_bytes"]), replicas
    while not await set_to(size):
        size //= 2
    size = max(LEAST_LOG_BYTES, size // 4)
    await set_to(size)
    return size, replicas


async def turn_attempts_off(client: Client) -> None:
    """Have the attempts log say that lines are missing from now on, until `ensure_attempts`. Raises StreamUnavailable,
    StreamRefused, QueueUnusable."""
    there = (await api(client, f"STREAM.INFO.{names.ATTEMPTS}")).get("config")
    if there is None or not _is_ours(there, {"name": names.ATTEMPTS, "subjects": [names.ATTEMPTS_SUBJECTS]}):
        return
    metadata = _without_the_servers(there.get("metadata"))
    if metadata.get(names.LOG_WHOLE_SINCE) != names.LOG_OFF:
        asked = {**there, "metadata": {**metadata, names.LOG_WHOLE_SINCE: names.LOG_OFF}}
        _done(await api(client, f"STREAM.UPDATE.{names.ATTEMPTS}", **asked), f"the stream {names.ATTEMPTS}")


async def halve_attempts(client: Client) -> int:
    """Take the older half out of the attempts log, so that what is refused for want of room has some; its messages.

    Raises StreamUnavailable, StreamRefused.
    """
    info = await api(client, f"STREAM.INFO.{names.ATTEMPTS}")
    asked = {"name": names.ATTEMPTS, "subjects": [names.ATTEMPTS_SUBJECTS]}
    if "config" not in info or not _is_ours(info["config"], asked) or info["state"]["bytes"] <= LEAST_LOG_BYTES:
        return 0
    answer = await api(client, f"STREAM.PURGE.{names.ATTEMPTS}", keep=info["state"]["messages"] // 2)
    return int(_done(answer, f"a purge of {names.ATTEMPTS}").get("purged", 0))


def consumer_configs(layout: Layout, term: int = 1) -> list[tuple[str, ConsumerConfig]]:
    """(stream, consumer) for the fan-out and for each shard of deliveries, of the owner of a term. Of former streams as
    well, and of large events also where none are taken: nats-server takes filters beyond a stream's subjects."""
    events = [(stream, each) for stream in layout.streams(names.EVENTS) for each in _event_consumers(stream, term)]
    shards = [
        (stream, _consumer(names.shard_consumer(shard, term, stream.removesuffix(names.DELIVERIES)), filter_subject))
        for stream in layout.streams(names.DELIVERIES)
        for shard, filter_subject in enumerate(map(names.shard_filter, range(names.DELIVERY_SHARDS)))
    ]
    return [*events, *shards]


def _event_consumers(stream: str, term: int) -> tuple[ConsumerConfig, ConsumerConfig]:
    """Of all events but large ones, and of the headers of these."""
    prefix = stream.removesuffix(names.EVENTS)
    large = _consumer(names.large_consumer(term, prefix), names.LARGE_SUBJECTS)
    large.headers_only = True
    return _consumer(names.fanout_consumer(term, prefix), names.SUBJECTS[names.EVENTS]), large


def unpark_config(uid: str) -> ConsumerConfig:
    """A consumer that exists while one Webhook's parked deliveries are served, shared by all senders."""
    return _while_used(names.unpark_consumer(uid), names.parked_subject(uid))


def backlog_config(tenant: str, term: int) -> ConsumerConfig:
    """A consumer that exists while events of one tenant are set aside, shared by all senders of an owner."""
    return _while_used(names.backlog_consumer(tenant, term), names.backlog_subject(tenant))


async def ensure(
    client: Client,
    retention: Retention,
    *,
    replicas: int = 1,
    owner: Mark = UNMARKED,
    places: Mapping[str, FanoutPlace] = _NOWHERE,
    prefix: str | None = None,
    may_move: bool = False,
    take_large: bool | None = None,
) -> Layout:
    """Bring all streams, buckets and consumers to what is asked for; writes nothing that is so already. Says where
    they are.

    New streams get this prefix, and those that are there if they may be moved. A consumer of events that somebody
    deleted goes on from the place that is known of it (`places`, by its name), instead of from the first event that is
    kept. `take_large` is whether EVENTS takes large events under their own subject; None leaves that as it is. For the
    owner of the streams alone. Raises StreamUnavailable, StreamRefused, QueueUnusable.
    """
    layout = await find(client)
    if take_large is not None:
        layout = replace(layout, takes_large=take_large and (layout.takes_large or await _large_is_free(client)))
    configs = stream_configs(
        retention, replicas=replicas, event_bytes=_event_bytes(client), takes_large=layout.takes_large
    )
    if may_move and prefix is not None and layout.present and not layout.is_at(prefix):
        await _prepare(client, configs, prefix, owner)
    for config in configs:
        base = str(config.name)
        if base not in names.BASES:
            await _ensure_stream(client, config, owner)
            continue
        for change in changes(layout, base, prefix, may_move=may_move):
            subjects = config.subjects if change.serves else [names.former_subject(change.stream)]
            await _ensure_stream(client, replace(config, name=change.stream, subjects=subjects), owner)
        layout = moved(layout, base, prefix, may_move=may_move)
    for bucket in (names.TYPES_BUCKET, names.ENDPOINTS_BUCKET):
        await ensure_bucket(client, bucket, replicas=replicas, owner=owner)
    if owner.term > 1:
        for stream in layout.streams(names.EVENTS):
            await _ensure_fanout_follows(client, stream, owner.term)
        await _remove_consumers_of_others(client, layout, owner.term)
    for stream, consumer in consumer_configs(layout, owner.term):
        asked = consumer.as_dict()
        place = places.get(str(consumer.durable_name))
        if place is not None and place.settled and await _created(client, stream) == place.created:
            asked |= _from(place.settled + 1)
        await _ensure_consumer(client, stream, asked)
    return layout


async def _prepare(client: Client, configs: Sequence[StreamConfig], prefix: str, owner: Mark) -> None:
    """Make all that is missing for a move before a stream gives anything up: NATS may refuse the last of it, as for a
    bound of the account, and what is published must not lie in a stream that nothing is taken from."""
    made: set[str] = set()
    for config in configs:
        stream = f"{prefix}{config.name}"
        if config.name in names.BASES and "config" not in await api(client, f"STREAM.INFO.{stream}"):
            await _ensure_stream(client, replace(config, name=stream, subjects=[names.former_subject(stream)]), owner)
            made.add(stream)
    for stream, consumer in consumer_configs(Layout(dict.fromkeys(names.BASES, prefix)), owner.term):
        if stream in made:
            await _ensure_consumer(client, stream, consumer.as_dict())


async def find(client: Client) -> Layout:
    """Where our streams are. Raises StreamUnavailable, QueueUnusable."""
    present: dict[str, str] = {}
    for base, subjects in names.SUBJECTS.items():
        for stream in await _streams_with(client, subjects):
            if stream.endswith(base) and await is_known(client, stream):
                present[base] = stream.removesuffix(base)
    former = [each for each in await _streams_with(client, names.FORMER_SUBJECTS) if await is_known(client, each)]
    takes_large = names.EVENTS in present and f"{present[names.EVENTS]}{names.EVENTS}" in await _streams_with(
        client, names.LARGE_SUBJECTS
    )
    return Layout(present, tuple(sorted(former)), takes_large)


async def take_no_large(client: Client, layout: Layout) -> None:
    """Have large events stored as all others, until `ensure` changes it. Raises StreamUnavailable, StreamRefused."""
    stream = layout.stream(names.EVENTS)
    config = (await api(client, f"STREAM.INFO.{stream}")).get("config") or {}
    subjects = config.get("subjects") or []
    if names.LARGE_SUBJECTS in subjects:
        others = [each for each in subjects if each != names.LARGE_SUBJECTS]
        _done(await api(client, f"STREAM.UPDATE.{stream}", **{**config, "subjects": others}), f"the stream {stream}")


async def _large_is_free(client: Client) -> bool:
    """Whether no stream takes large events, as one of another application could."""
    return not (await api(client, "STREAM.NAMES", subject=names.LARGE_SUBJECTS)).get("streams")


async def foreign_names(client: Client, prefix: str) -> QueueProblem | None:
    """Why streams cannot get this prefix: another application has one of their names. Looked at before the first of
    them is moved, so that none is when not all can be. Raises StreamUnavailable, QueueUnusable."""
    wanted = [f"{prefix}{base}" for base in names.BASES]
    infos = [(each, (await api(client, f"STREAM.INFO.{each}")).get("config")) for each in wanted]
    taken = [each for each, config in infos if config is not None and not _is_ours(config, config)]
    if not taken:
        return None
    return QueueProblem(
        QueueReason.STREAM_FOREIGN,
        f"the streams stay where they are: {', '.join(taken)} is of another application; choose another stream prefix, "
        "or change that stream",
    )


async def _streams_with(client: Client, subjects: str) -> list[str]:
    answer = await api(client, "STREAM.NAMES", subject=subjects)
    return [each for each in answer.get("streams") or [] if names.parts_of(each) is not None]


async def is_known(client: Client, stream: str) -> bool:
    """Whether a stream with a name of ours is ours. Raises StreamUnavailable, QueueUnusable."""
    config = (await api(client, f"STREAM.INFO.{stream}")).get("config")
    return config is not None and _is_ours(config, config)


async def fanout_places(client: Client, layout: Layout, term: int) -> dict[str, FanoutPlace]:
    """How far each consumer of events has come, by its name, but for those that are not there.

    Raises StreamUnavailable, QueueUnusable.
    """
    places: dict[str, FanoutPlace] = {}
    for stream in layout.streams(names.EVENTS):
        # Before the consumers: what was removed by now and is not settled later never will be.
        kept = await api(client, f"STREAM.INFO.{stream}")
        for config in _event_consumers(stream, term):
            info = await api(client, f"CONSUMER.INFO.{stream}.{config.durable_name}")
            if "error" not in kept and "error" not in info:
                places[str(config.durable_name)] = FanoutPlace(
                    str(kept["created"]),
                    _settled(info, is_new_to_old_streams=bool(config.headers_only)),
                    int(kept["state"]["first_seq"]),
                    int(info["num_pending"]) + int(info["num_ack_pending"]),
                    stream,
                    str(config.filter_subject),
                )
    return places


def _settled(info: Mapping[str, Any], *, is_new_to_old_streams: bool) -> int:
    """Of a consumer. One that was made for a stream which had lost events says that all of these are settled."""
    floor = info["ack_floor"]
    return 0 if is_new_to_old_streams and not floor["consumer_seq"] else int(floor["stream_seq"])


async def _created(client: Client, stream: str) -> str:
    """When a stream was made: sequences of another one mean nothing."""
    return str((await api(client, f"STREAM.INFO.{stream}")).get("created", ""))


def _from(seq: int) -> dict[str, Any]:
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": seq}


def _event_bytes(client: Client) -> int:
    """The largest event of which everything that follows fits as well. Raises QueueUnusable."""
    largest = max_event_bytes(client.max_payload)
    if largest < MIN_EVENT_BYTES:
        raise QueueUnusable(
            QueueProblem(
                QueueReason.NATS_UNSUITABLE,
                f"NATS takes messages of at most {client.max_payload} bytes (max_payload), too few for deliveries and "
                f"their headers; set max_payload to {MAX_EVENT_BYTES + ROOM_BYTES} or more",
            )
        )
    return largest


def small_events(client: Client) -> str | None:
    """What to say of a NATS that takes only events smaller than Hookline's own bound, if it does."""
    largest = max_event_bytes(client.max_payload)
    if largest >= MAX_EVENT_BYTES:
        return None
    return (
        f"publishers are refused events of more than {largest} bytes with their headers; "
        f"max_payload of NATS is {client.max_payload}, and {MAX_EVENT_BYTES + ROOM_BYTES} is enough for all"
    )


async def ensure_bucket(client: Client, name: str, *, replicas: int = 1, owner: Mark = UNMARKED) -> None:
    """Bring a bucket of keys and values to what is asked for. Raises as `ensure` does."""
    config = StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        duplicate_window=DEDUPLICATION_SECONDS,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_direct=True,
        # For marks of what was removed, see stream/endpoints.
        allow_msg_ttl=True,
    )
    await _ensure_stream(client, config, owner)


async def _ensure_stream(
    client: Client,
    config: StreamConfig,
    owner: Mark,
    more: Mapping[str, Any] = _NOTHING_MORE,
    notes: Mapping[str, str] = _NOTHING_MORE,
) -> None:
    """`more` are settings, `notes` are kept in its metadata."""
    asked: dict[str, Any] = {key: value for key, value in config.as_dict().items() if value is not None} | dict(more)
    asked["metadata"] = {**_metadata(owner), **notes}
    name = asked["name"]
    there = (await api(client, f"STREAM.INFO.{name}")).get("config")
    if there is not None:
        if not _is_ours(there, asked):
            raise _foreign(f"the stream {name} of another application has the name that Hookline needs")
        if not _differing(there, asked):
            return
        besides = {key: value for key, value in there.items() if key != "metadata"}
        asked["metadata"] = {**_without_the_servers(there.get("metadata")), **asked["metadata"]}
        answer = await api(client, f"STREAM.UPDATE.{name}", **{**besides, **asked})
    else:
        answer = await api(client, f"STREAM.CREATE.{name}", **asked)
    error_code = answer.get("error", {}).get("err_code")
    if error_code == _OVERLAP:
        raise await _overlap(client, asked["subjects"])
    if error_code == _NAME_IN_USE and there is None:
        # Another one made it since we asked.
        await _ensure_stream(client, config, owner, more, notes)
        return
    kept = _done(answer, f"the stream {name}").get("config") or {}
    differing = _differing(kept, asked)
    if differing and all(key in kept for key in differing):
        # The answer tells what the stream is like by then.
        raise StreamUnavailable(f"another sender sets {', '.join(differing)} of the stream {name} at the same time")
    if differing:
        raise QueueUnusable(
            QueueProblem(
                QueueReason.NATS_UNSUITABLE,
                f"nats-server {_version(client)} does not keep {', '.join(differing)} of the stream {name}, "
                "without which retries would be lost; Hookline needs nats-server 2.12 or later, with JetStream",
            )
        )


def _version(client: Client) -> str:
    version = client.connected_server_version
    return f"{version.major}.{version.minor}.{version.patch}"


def _metadata(owner: Mark) -> dict[str, str]:
    if not owner.id:
        return {}
    return {names.OWNER_ID: owner.id, names.OWNER_NAME: owner.name, names.OWNER_TERM: str(owner.term)}


def _without_the_servers(metadata: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (metadata or {}).items() if not key.startswith("_nats.")}


def _is_ours(there: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """By its mark; without one, from before there were marks, by its subjects."""
    if names.OWNER_ID in (there.get("metadata") or {}):
        return True
    name = str(asked["name"])
    bears = names.parts_of(name)
    if bears is None:
        return bool(there.get("subjects") == asked["subjects"])
    large = [names.LARGE_SUBJECTS] if bears[1] == names.EVENTS else []
    subjects = [each for each in there.get("subjects") or [] if each not in large]
    return subjects in ([names.SUBJECTS[bears[1]]], [names.former_subject(name)])


def _differing(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The settings that are not as asked. What an administrator set besides is left alone."""
    return [key for key, value in asked.items() if not _is_so(there.get(key), value)]


def _is_so(there: Any, asked: Any) -> bool:
    if isinstance(asked, Mapping):
        return all((there or {}).get(key) == value for key, value in asked.items())
    # The server leaves out what is nothing.
    return bool(there == asked or (not asked and not there))


def _foreign(problem: str) -> QueueUnusable:
    return QueueUnusable(QueueProblem(QueueReason.STREAM_FOREIGN, f"{problem}; {FOREIGN_ADVICE}"))


async def _overlap(client: Client, subjects: Sequence[str]) -> StreamUnavailable | QueueUnusable:
    found = {
        name
        for subject in subjects
        for name in (await api(client, "STREAM.NAMES", subject=subject)).get("streams") or []
    }
    if all([names.parts_of(each) is not None and await is_known(client, each) for each in found]):
        return StreamUnavailable("another sender moves the streams")
    return _foreign(f"the stream {', '.join(sorted(found))} of another application takes {', '.join(subjects)}")


async def _ensure_fanout_follows(client: Client, stream: str, term: int) -> None:
    """The new owner's consumers of events begin where the former owner's had come to."""
    there = await _consumers(client, stream)
    for former, mine in zip(_event_consumers(stream, 1), _event_consumers(stream, term), strict=True):
        before = [each for each in there if each.startswith(str(former.durable_name))]
        if mine.durable_name in before or not before:
            continue
        infos = [await api(client, f"CONSUMER.INFO.{stream}.{each}") for each in before]
        floor = max(int(info.get("ack_floor", {}).get("stream_seq") or 0) for info in infos)
        await _ensure_consumer(client, stream, {**mine.as_dict(), **_from(floor + 1)})


async def _remove_consumers_of_others(client: Client, layout: Layout, term: int) -> None:
    """A former owner finds his consumers gone: he can take nothing, however late he learns of it."""
    mine = {consumer.durable_name for _, consumer in consumer_configs(layout, term)}
    for stream in (*layout.streams(names.EVENTS), *layout.streams(names.DELIVERIES)):
        for name in await _consumers(client, stream):
            if name not in mine and names.is_of_owner(name):
                await api(client, f"CONSUMER.DELETE.{stream}.{name}")
    for name in await _consumers(client, names.BACKLOG):
        if names.is_backlog_of_others(name, term):
            await api(client, f"CONSUMER.DELETE.{names.BACKLOG}.{name}")


async def _consumers(client: Client, stream: str) -> list[str]:
    found: list[str] = []
    while True:
        answer = await api(client, f"CONSUMER.NAMES.{stream}", offset=len(found))
        names_ = answer.get("consumers") or []
        found += names_
        if not names_ or len(found) >= answer.get("total", 0):
            return found


async def _ensure_consumer(client: Client, stream: str, asked: Mapping[str, Any]) -> None:
    name = asked["durable_name"]
    there = (await api(client, f"CONSUMER.INFO.{stream}.{name}")).get("config")
    # Where it began cannot be changed, and says nothing any more.
    wanted = asked if there is None else {key: asked[key] for key in asked.keys() - {"deliver_policy", "opt_start_seq"}}
    if there is not None and not _differing(there, wanted):
        return
    config = {**(there or {}), **wanted, "name": name}
    answer = await api(client, f"CONSUMER.CREATE.{stream}.{name}", stream_name=stream, config=config)
    _done(answer, f"the consumer {name}")


def _done(answer: dict[str, Any], what: str) -> dict[str, Any]:
    """The answer to a request that changes something. Raises StreamUnavailable, StreamRefused."""
    error = answer.get("error")
    if error is None:
        return answer
    if error.get("code") == 503:
        raise StreamUnavailable(f"JetStream cannot make {what} now ({error.get('description')})")
    raise StreamRefused(f"NATS refused {what}: {error.get('description')}")


def _consumer(name: str, filter_subject: str) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=name,
        filter_subject=filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_ack_pending=MAX_ACK_PENDING,
        max_waiting=512,
    )


def _while_used(name: str, filter_subject: str) -> ConsumerConfig:
    """One that vanishes by itself once nobody has pulled from it for a minute."""
    config = _consumer(name, filter_subject)
    config.inactive_threshold = 60.0
    return config


class SubjectCounts:
    """How many messages a stream has of each subject of a pattern, by the subject's last token.

    The whole list takes 0.6 MB with 10,000 of them, and mostly nothing has moved since it was asked for.
    """

    def __init__(self, client: Client, stream: Callable[[], str], pattern: str) -> None:
        self._client = client
        self._stream = stream
        self._pattern = pattern
        self._counts: dict[str, int] = {}
        self._read_at: tuple[object, ...] = ()
        """What the stream was like when they were read."""
        self._moves = True

    async def counts(self) -> Mapping[str, int]:
        """Raises StreamUnavailable, QueueUnusable."""
        stream = self._stream()
        if not self._moves and place_of(await ask(self._client, f"STREAM.INFO.{stream}")) == self._read_at:
            return self._counts
        counts: dict[str, int] = {}
        read_at: tuple[object, ...] = ()
        while True:
            info = await ask(
                self._client,
                f"STREAM.INFO.{stream}",
                subjects_filter=self._pattern,
                offset=len(counts),
            )
            read_at = read_at or place_of(info)
            subjects = info["state"].get("subjects") or {}
            counts |= {subject.rsplit(".", 1)[1]: count for subject, count in subjects.items()}
            if not subjects or len(counts) >= info.get("total", 0):
                break
        self._moves, self._counts, self._read_at = read_at != self._read_at, counts, read_at
        return counts


@dataclass(frozen=True, slots=True)
class Oldest:
    """The first parked delivery of one Webhook: when it was parked, by the server's clock, and its headers."""

    stored_s: float
    headers: Mapping[str, str]


async def oldest_parked(client: Client, stream: str, uid: str) -> Oldest | None:
    """In a stream with what is parked. Raises StreamUnavailable."""
    try:
        message = await client.jetstream().get_msg(stream, seq=1, subject=names.parked_subject(uid), next=True)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, nats.js.errors.Error) as error:
        raise StreamUnavailable(f"JetStream does not answer ({type(error).__name__})") from None
    at = message.time.timestamp() if message.time else 0.0
    return Oldest(at, message.headers or {})


async def open_unpark(client: Client, stream: str, uid: str) -> str:
    """Make the consumer of one Webhook's parked deliveries, in the stream with these; its name.

    Raises StreamUnavailable.
    """
    await _open(client, stream, unpark_config(uid))
    return names.unpark_consumer(uid)


async def open_backlog(client: Client, tenant: str, term: int) -> str:
    """Make the consumer of what was set aside of one tenant, for the owner of a term; its name.

    Raises StreamUnavailable.
    """
    await _open(client, names.BACKLOG, backlog_config(tenant, term))
    return names.backlog_consumer(tenant, term)


async def _open(client: Client, stream: str, config: ConsumerConfig) -> None:
    with jetstream_answers():
        await client.jetstream().add_consumer(stream, config)
