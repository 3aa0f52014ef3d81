"""A gateway in this process, as `hookline run` and a pod have one, and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import httpx

from hookline.gateway.callers import Caller, Callers, OneToken
from hookline.gateway.limits import Bounds
from hookline.gateway.process import GatewayProcess

TOKEN = "canary-token"
ONE_TYPE = "IdentityCreated"
"""The type that the caller of OF_TEAM_A may publish, and no other."""
OF_TEAM_A = {"Authorization": "Bearer of-team-a"}


class TwoTokens(OneToken):
    """As in a cluster: one caller for its own namespace only, and one for one type."""

    async def caller(self, token: str, source: str = "") -> Caller:
        if token == "of-team-a":
            return Caller("team-a/app", "team-a", frozenset({ONE_TYPE}))
        return await super().caller(token, source)


@contextlib.asynccontextmanager
async def gateway_of(
    nats_url: str,
    callers: Callers,
    tls: ssl.SSLContext | None = None,
    *,
    bounds: Bounds = Bounds(),  # noqa: B008
) -> AsyncIterator[int]:
    """Its port, once it has the queue."""
    process = GatewayProcess(nats_url, callers, host="127.0.0.1", port=0, tls=tls, bounds=bounds, grace_seconds=5)
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(process.run(stop, on_listening=port.set_result))
    try:
        at: int = await port
        await asyncio.wait_for(process.ready.wait(), 30)
        yield at
    finally:
        stop.set()
        await running


@contextlib.asynccontextmanager
async def gateway_at(nats_url: str, bounds: Bounds = Bounds()) -> AsyncIterator[httpx.AsyncClient]:  # noqa: B008
    """A client of a gateway that has the queue."""
    callers = TwoTokens(TOKEN, namespace="default", name="test")
    async with gateway_of(nats_url, callers, bounds=bounds) as port:
        url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            yield client
