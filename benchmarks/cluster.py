"""Three nats-servers that are one queue, started by code of the tests: needs tests/ on the path, as `make` has it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.stage import producer

from doubles.nats_cluster import Server, nats_cluster, until_ready


class ThreeServers:
    """Of a stage. Each fsyncs every two minutes, as nats-server does where nothing else is asked for."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._folder = folder
        self._servers: list[Server] = []
        self._stack = AsyncExitStack()

    @property
    def pids(self) -> Sequence[int]:
        return [each.process.pid for each in self._servers if each.process is not None]

    async def start(self) -> str:
        cluster = await self._stack.enter_async_context(nats_cluster(self._folder))
        self._servers, self.url = cluster.servers, cluster.urls
        async with producer(self.url) as by:
            await until_ready(by.client)
        return self.url

    async def stop(self) -> None:
        await self._stack.aclose()
