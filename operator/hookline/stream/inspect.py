"""Looks at what waits in the streams, for whoever watches. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client

from hookline.stream import names
from hookline.stream.api import api, ask
from hookline.stream.layout import Layout
from hookline.stream.streams import FanoutPlace, consumer_configs


@dataclass(frozen=True, slots=True)
class Held:
    """How many deliveries the streams hold."""

    deliveries: int
    """Those to be called, now or at a later time."""
    parked: int
    dead_letters: int


async def held(client: Client, layout: Layout) -> Held:
    """What the streams hold, former ones among them. Raises StreamUnavailable, QueueUnusable."""
    queued, parked, dead = [
        sum([await _messages(client, each) for each in layout.streams(base)])
        for base in (names.DELIVERIES, names.PARKED, names.DEAD)
    ]
    anchors = sum([await _messages(client, each, names.ANCHOR_SUBJECT) for each in layout.streams(names.DELIVERIES)])
    return Held(queued - anchors, parked, dead)


async def left_in_former(client: Client, layout: Layout, term: int) -> int:
    """Messages that are still to be done, or moved, from former streams. What is only kept there does not count.

    Raises StreamUnavailable, QueueUnusable.
    """
    left = 0
    of_events = layout.former_of(names.EVENTS)
    for stream, consumer in consumer_configs(layout, term):
        if stream in of_events:
            info = await ask(client, f"CONSUMER.INFO.{stream}.{consumer.durable_name}")
            left += int(info["num_pending"]) + int(info["num_ack_pending"])
    for stream in (*layout.former_of(names.DELIVERIES), *layout.former_of(names.PARKED)):
        left += await _messages(client, stream)
    return left


async def large_left(client: Client, layout: Layout, term: int) -> int:
    """Large events that no sender has read past yet. Raises StreamUnavailable, QueueUnusable."""
    infos = [
        await ask(client, f"CONSUMER.INFO.{stream}.{consumer.durable_name}")
        for stream, consumer in consumer_configs(layout, term)
        if consumer.headers_only
    ]
    return sum(int(info["num_pending"]) for info in infos)


async def _messages(client: Client, stream: str, subject: str = "") -> int:
    """Of a stream, or of one subject of it."""
    if not subject:
        return int((await ask(client, f"STREAM.INFO.{stream}"))["state"]["messages"])
    state = (await ask(client, f"STREAM.INFO.{stream}", subjects_filter=subject))["state"]
    return int((state.get("subjects") or {}).get(subject, 0))


async def oldest_unsettled_s(client: Client, place: FanoutPlace) -> float | None:
    """When the oldest event of a consumer that is not settled was stored, by the server's clock in Unix time; None
    without one.

    Raises StreamUnavailable.
    """
    if not place.unsettled:
        return None
    said = await api(
        client,
        f"STREAM.MSG.GET.{place.stream}",
        seq=max(place.settled + 1, place.first),
        next_by_subj=place.subjects,
    )
    message = said.get("message")
    return datetime.fromisoformat(message["time"]).timestamp() if message is not None else None


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream holds."""

    messages: int
    size_bytes: int
    """On disk, of one copy."""
    limit_bytes: int
    """What it may have; 0 without a limit of its own."""
    oldest_s: float | None
    """When the oldest message was stored, by the server's clock in Unix time; None when it is empty."""


async def state_of(client: Client, stream: str) -> StreamState:
    """Raises StreamUnavailable, QueueUnusable."""
    info = await ask(client, f"STREAM.INFO.{stream}")
    state = info["state"]
    messages = int(state["messages"])
    oldest_s = datetime.fromisoformat(state["first_ts"]).timestamp() if messages else None
    return StreamState(messages, int(state["bytes"]), max(0, int(info["config"].get("max_bytes") or 0)), oldest_s)


@dataclass(frozen=True, slots=True)
class Disk:
    """Of an account, or of a server."""

    used_bytes: int
    limit_bytes: int
    """0 without a limit."""


async def account_disk(client: Client, replicas: int) -> Disk:
    """What all streams of our account take, and may take; where an account has tiers, those with so many copies.

    Raises StreamUnavailable, also when the user may not ask, and QueueUnusable.
    """
    info = await ask(client, names.ACCOUNT_INFO.removeprefix("$JS.API."))
    told = (info.get("tiers") or {}).get(f"R{replicas}", info)
    limit = int((told.get("limits") or {}).get("max_storage") or 0)
    return Disk(int(told.get("storage") or 0), max(0, limit))
