"""One gateway process, from an address of NATS and those who know callers, nothing else.

The order of its life: it listens at once, and answers that the queue cannot be used until it can. At the end what was
begun is answered before the connection to NATS is given up.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import structlog

from hookline.events.schemas import Catalogue
from hookline.gateway.app import Pages
from hookline.gateway.callers import Callers
from hookline.gateway.intake import Intake
from hookline.gateway.limits import Bounds, Limits
from hookline.gateway.problem import Kind, refuse, worded
from hookline.gateway.repeats import Repeats
from hookline.runtime.background import background
from hookline.runtime.metrics import GatewayMetrics
from hookline.serving.server import GRACE_SECONDS, serving
from hookline.stream.admission import Admission
from hookline.stream.connection import (
    CLOSED,
    MOVED,
    Client,
    StreamRefused,
    StreamUnavailable,
    close,
    connect,
    unavailable_once,
)

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 1.0
"""After a connection that failed, before the next; and when a producer is told to come again meanwhile."""


class GatewayProcess:
    """Answers at `host` and `port` until it is told to stop. Waits for NATS for ever."""

    def __init__(
        self,
        nats_url: str,
        callers: Callers,
        *,
        host: str,
        port: int,
        credentials: Path | None = None,
        tls: ssl.SSLContext | None = None,
        bounds: Bounds = Bounds(),  # noqa: B008  # frozen
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """`tls` may be given other certificates meanwhile; None serves without TLS, on loopback."""
        self.metrics = GatewayMetrics(verdicts=["stored", "repeat", *(kind.slug for kind in Kind)])
        self._nats_url = nats_url
        self._host = host
        self._port = port
        self._tls = tls
        self._credentials = credentials
        self._grace_seconds = grace_seconds
        self._repeats = Repeats()
        self._client: Client | None = None
        self._present: Intake | None = None
        self._catalogue = Catalogue()
        self._moved = asyncio.Event()
        self._said = ""
        self._stopping = False
        self.ready = asyncio.Event()
        """Set while there is a queue to store into."""
        limits = Limits(bounds)
        self._pages = Pages(self._intake, self._types, callers, limits, self.metrics.told)
        self.metrics.watch(
            requests=lambda: limits.requests,
            body_bytes=lambda: limits.body_bytes,
            connected=lambda: self._client is not None and self._client.is_connected,
        )

    async def run(self, stop: asyncio.Event, *, on_listening: Callable[[int], None] = lambda _: None) -> None:
        """`on_listening` is told the port. Raises OSError when it cannot be had."""
        async with background(self._keep_connected()):
            app = cast(Any, self._pages.app())  # Starlette and uvicorn write the same interface in types of their own
            serves = serving(
                app,
                host=self._host,
                port=self._port,
                wording=worded,
                tls=self._tls,
                grace_seconds=self._grace_seconds,
            )
            async with serves as port:
                on_listening(port)
                await stop.wait()
                self._stopping = True

    def unready(self) -> str | None:
        """Why no events are taken, if that is so."""
        if self._stopping:
            return "draining"
        return None if self.ready.is_set() else self._said or "the queue is being connected to"

    def move_to(self, nats_url: str) -> None:
        """NATS is at this address from now on."""
        self._nats_url = nats_url
        self._moved.set()

    def _intake(self) -> Intake:
        if self._present is None:
            raise refuse(
                Kind.UNAVAILABLE,
                "the queue cannot be used now; nothing was stored",
                retry_after_seconds=_AGAIN_SECONDS,
            )
        return self._present

    def _types(self) -> Catalogue:
        """The last known ones."""
        if self._present is not None:
            self._catalogue = self._present.catalogue
        return self._catalogue

    async def _keep_connected(self) -> None:
        while True:
            self._moved.clear()
            try:
                await self._connection()
            except (StreamUnavailable, StreamRefused) as error:
                self._say(str(error))
                await asyncio.sleep(_AGAIN_SECONDS)

    def _say(self, problem: str) -> None:
        """Once, however often it is met."""
        if problem and problem != self._said:
            log.warning("the gateway waits for the queue", problem=problem)
        elif self._said and not problem:
            log.info("the gateway has the queue again")
        self._said = problem

    async def _connection(self) -> None:
        """One connection, from its making to its end. Raises StreamUnavailable, StreamRefused."""
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        client = self._client = await connect(
            self._nats_url, name="hookline-gateway", credentials=self._credentials, on_closed=on_closed
        )
        try:
            admission = await Admission.at(client)
            self._present = Intake(admission, self._repeats, on_stored=self.metrics.stored)
            self.ready.set()
            self._say("")
            async with background(unavailable_once(closed, CLOSED), unavailable_once(self._moved, MOVED)):
                await admission.follow()
        finally:
            self._types()
            self._present = self._client = None
            self.ready.clear()
            await close(client)
