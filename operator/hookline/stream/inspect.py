"""Looks at what waits in the streams, for whoever watches. Changes nothing."""

from __future__ import annotations

from datetime import datetime

from nats.aio.client import Client

from hookline.stream.api import ask


async def oldest_s(client: Client, stream: str) -> float | None:
    """When the oldest message of a stream was stored, by the server's clock in Unix time; None when it is empty.

    Raises StreamUnavailable, QueueUnusable.
    """
    state = (await ask(client, f"STREAM.INFO.{stream}"))["state"]
    return datetime.fromisoformat(state["first_ts"]).timestamp() if state.get("messages") else None
