"""The connection to NATS: how it is made, kept and given up, and what its failures are called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import nats.errors
import structlog
from nats.aio.client import Client as Client

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
"""How long a first connection may take before a person is told that NATS is not there."""


class StreamUnavailable(Exception):
    """NATS did not answer in time. Nothing may be taken for stored."""


class StreamRefused(Exception):
    """NATS answered, and said no: a full stream, a missing stream, missing permissions."""


def shown(url: str) -> str:
    """A NATS address without user and token, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"


async def connect(
    url: str,
    *,
    name: str,
    connect_seconds: float = CONNECT_SECONDS,
    on_reconnect: Callable[[], Awaitable[None]] | None = None,
) -> Client:
    """A connection that reconnects for ever. Raises StreamUnavailable when there is none within `connect_seconds`.

    ping_interval is 5 s and not 120 s, so that a frozen server is noticed; max_reconnect_attempts is -1, since the
    client's default gives up for good after two minutes.
    """

    last: list[Exception] = []

    async def on_error(error: Exception) -> None:
        last[:] = [error]
        log.debug("nats client", error=type(error).__name__)

    client = Client()

    async def on_disconnect() -> None:
        if not client.is_closed:
            log.warning("lost the connection to NATS; trying again", nats=shown(url))

    async def on_reconnected() -> None:
        log.info("connected to NATS again", nats=shown(url))
        if on_reconnect is not None:
            await on_reconnect()

    try:
        await asyncio.wait_for(
            client.connect(
                url,
                name=name,
                connect_timeout=2,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; only slept on,
                ping_interval=5,
                max_outstanding_pings=2,
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_reconnected,
            ),
            connect_seconds,
        )
        return client
    except (OSError, nats.errors.Error, TimeoutError, ValueError) as error:
        why = type(last[0] if last else error).__name__
        raise StreamUnavailable(
            f"NATS does not answer at {shown(url)} ({why}, after {connect_seconds:g} s); "
            "start it with `hookline run`, or name another one with --nats"
        ) from None
