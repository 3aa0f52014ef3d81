"""Looks at what waits in the streams, for whoever watches. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client

from hookline.stream import names
from hookline.stream.api import ask


@dataclass(frozen=True, slots=True)
class Held:
    """How many deliveries the streams hold."""

    deliveries: int
    """Those to be called, now or at a later time."""
    parked: int
    dead_letters: int


async def held(client: Client) -> Held:
    """What the streams hold. Raises StreamUnavailable, QueueUnusable."""
    queued, parked, dead = [await _messages(client, each) for each in (names.DELIVERIES, names.PARKED, names.DEAD)]
    anchors = await _messages(client, names.DELIVERIES, names.ANCHOR_SUBJECT)
    return Held(queued - anchors, parked, dead)


async def _messages(client: Client, stream: str, subject: str = "") -> int:
    """Of a stream, or of one subject of it."""
    if not subject:
        return int((await ask(client, f"STREAM.INFO.{stream}"))["state"]["messages"])
    state = (await ask(client, f"STREAM.INFO.{stream}", subjects_filter=subject))["state"]
    return int((state.get("subjects") or {}).get(subject, 0))


async def oldest_s(client: Client, stream: str) -> float | None:
    """When the oldest message of a stream was stored, by the server's clock in Unix time; None when it is empty.

    Raises StreamUnavailable, QueueUnusable.
    """
    state = (await ask(client, f"STREAM.INFO.{stream}"))["state"]
    return datetime.fromisoformat(state["first_ts"]).timestamp() if state.get("messages") else None
