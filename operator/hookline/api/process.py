"""The life of the log's API as a process: what it needs to answer, and how it ends.

It is ready once it knows how kube-apiserver proves that it is itself, whatever the queues do: an API that is not ready
is one that kube-apiserver cannot discover, and then no namespace of the cluster can be deleted. While queues are away
each request is told so.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from starlette.types import ASGIApp

from hookline.api.actions import Actions
from hookline.api.app import Api
from hookline.api.front_proxy import FollowedFrontProxy
from hookline.api.log import Log
from hookline.api.status import worded
from hookline.api.users import ClusterUsers, Users
from hookline.runtime.background import background
from hookline.runtime.metrics import ApiMetrics
from hookline.serving.api_server import ApiServer
from hookline.serving.certificate import Certificate
from hookline.serving.server import GRACE_SECONDS, Bounds, serving

IDLE_SECONDS = 120.0
"""How long a connection is kept between two requests. kube-apiserver keeps its own for 90 s: it gives them up first, so
that none is closed as a request is on its way there, which it would not send again if it changes something."""

HEAD_BYTES = 192 * 1024
"""Of URL and headers. kube-apiserver passes on each group of a user in a header of its own, and directories have people
who are in a thousand of them."""

CONNECTIONS = 1_200
"""A thousand watches, and requests. No more, since each may take three times its head before anybody is asked who it
is: 660 MB of the 1 GiB that a pod has."""


class ApiProcess:
    """Answers at `host` and `port` until it is told to stop."""

    def __init__(
        self,
        log: Log,
        users: Users,
        actions: Actions | None = None,
        *,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext] | None = None,
        unready: Callable[[], str | None] = lambda: None,
        missing: Callable[[], Sequence[str]] = lambda: (),
        only: str | None = None,
        beside: ASGIApp | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """`tls` gives the context of each new connection; without, on loopback, there is none.

        `missing` names the Dispatchers whose queues are not read, `only` the one namespace that is answered for.
        `beside` has the pages of resources that a cluster would have.
        """
        self.metrics = ApiMetrics()
        self._unready = unready
        self._stopping = False
        self._host = host
        self._port = port
        self._tls = tls
        self._grace_seconds = grace_seconds
        self._api = Api(
            log,
            users,
            actions,
            unready=self.unready,
            missing=missing,
            only=only,
            beside=beside,
            tell=self.metrics.answered,
        )
        self.metrics.watch(watches=lambda: self._api.watching, missing=lambda: len(missing()))

    def unready(self) -> str | None:
        """Why it should not be asked, if that is so."""
        return "draining" if self._stopping else self._unready()

    async def run(self, stop: asyncio.Event, *, on_listening: Callable[[int], None] = lambda _: None) -> None:
        """`on_listening` is told the port. Raises OSError when it cannot be had."""
        app = cast(Any, self._api)  # Starlette and uvicorn write the same interface in types of their own
        async with serving(
            app,
            host=self._host,
            port=self._port,
            wording=worded,
            tls=self._tls,
            bounds=Bounds(connections=CONNECTIONS, idle_seconds=IDLE_SECONDS, head_bytes=HEAD_BYTES),
            grace_seconds=self._grace_seconds,
        ) as port:
            on_listening(port)
            await stop.wait()
            self._stopping = True
            self._api.end_watches()


class ClusterApi:
    """The process in a pod: it asks `server` who somebody is and what he may do, and shows `certificate`."""

    def __init__(
        self,
        log: Log,
        server: ApiServer,
        certificate: Certificate,
        actions: Actions | None = None,
        *,
        host: str,
        port: int,
        missing: Callable[[], Sequence[str]] = lambda: (),
        only: str | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._front_proxy = FollowedFrontProxy(server, certificate.trust)
        self._users = ClusterUsers(
            server, lambda: self._front_proxy.current, lambda context: context is certificate.context
        )
        self.process = ApiProcess(
            log,
            self._users,
            actions,
            host=host,
            port=port,
            tls=lambda: certificate.context,
            unready=self._why_unready,
            missing=missing,
            only=only,
            grace_seconds=grace_seconds,
        )
        self.process.metrics.watch_certificate(lambda: certificate.expires_s)

    async def run(self, stop: asyncio.Event, *, on_listening: Callable[[int], None] = lambda _: None) -> None:
        """Until `stop`. Raises OSError when it cannot listen."""
        async with self._users, background(self._front_proxy.follow(stop)):
            await self.process.run(stop, on_listening=on_listening)

    def _why_unready(self) -> str | None:
        if self._front_proxy.known.is_set():
            return None
        return "it is not known yet by which certificate kube-apiserver is known"
