"""The log's API beside `hookline run`: on loopback, for whoever may read a file in its data folder.

The same paths as in a cluster, so that the same commands ask it. It is over the one queue of this machine, and keeps
Replays itself, which a cluster would keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.routing import Router

from hookline.api.doing import QueueActions
from hookline.api.process import ApiProcess
from hookline.api.queues import Queues
from hookline.api.replay.executor import Executor
from hookline.api.replay.kept import KeptReplays, routes
from hookline.api.replay.replays import Runner
from hookline.api.users import OneToken
from hookline.api.waiting import Named
from hookline.local import private_files
from hookline.local.evaluation import Key, Known
from hookline.local.replaying import ManifestWebhooks
from hookline.routing.queues import Queue
from hookline.routing.routes import Route, RouteState
from hookline.runtime.background import background

API_FILE = "api.json"
"""In the data folder: `{"url": …, "token": …}`, for this user alone, while there is an API."""

INDEX_FOLDER = "log-index"
REPLAYS_FILE = "replays.json"

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 5.0


class LocalLogApi:
    """Over the queue that `use` names. `objects` are what the manifests say, the routes in force are by uid."""

    def __init__(
        self,
        data: Path,
        dispatcher: str,
        objects: Callable[[], Mapping[Key, Known]],
        routes_in_force: Callable[[], Mapping[str, Route]],
    ) -> None:
        """Raises OSError, and ValueError of a file of Replays that is none."""
        self._data = data
        self._dispatcher = dispatcher
        self._routes = routes_in_force
        self._queues = Queues(data / INDEX_FOLDER, names_of=self._named)
        replays = KeptReplays(data / REPLAYS_FILE, now_s=time.time)
        webhooks = ManifestWebhooks(objects, lambda: routes_in_force().values(), dispatcher)
        executor = Executor(lambda: self._queues.clients, webhooks, self._queues)
        self._runner = Runner(replays, executor)
        self._token = secrets.token_urlsafe(32)
        self._api = ApiProcess(
            self._queues,
            OneToken(self._token),
            QueueActions(executor, lambda: self._queues.clients),
            host=LOOPBACK,
            port=0,
            missing=lambda: self._queues.missing,
            beside=Router(routes(replays)),
            grace_seconds=GRACE_SECONDS,
        )

    def use(self, nats_url: str) -> None:
        """NATS is at this address from now on."""
        self._queues.use([Queue(self._dispatcher, nats_url)])

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises OSError."""
        file = self._data / API_FILE
        try:
            async with background(self._queues.run(), self._runner.run()):
                await self._api.run(stop, on_listening=lambda port: self._tell(file, port))
        finally:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def _tell(self, file: Path, port: int) -> None:
        said = {"url": f"http://{LOOPBACK}:{port}", "token": self._token}
        private_files.write(file, json.dumps(said).encode() + b"\n")

    def _named(self, uid: str) -> Named | None:
        route = self._routes().get(uid)
        return None if route is None else Named(route.namespace, route.name, _why(route))


def _why(route: Route) -> str:
    if route.state is RouteState.DISABLED:
        return "Disabled"
    if route.paused:
        return "Paused"
    return "Held" if route.state is RouteState.HELD else ""
