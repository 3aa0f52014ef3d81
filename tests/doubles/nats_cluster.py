"""Three real nats-servers in one cluster, each started, killed, frozen and restarted by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.ports import free_port
from doubles.frozen import stand_still
from hookline.stream.connection import Client

READY_SECONDS = 60.0


@dataclass
class Server:
    """One server, with its store in a folder of its own."""

    name: str
    folder: Path
    port: int
    cluster_port: int
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
        self.process = await asyncio.create_subprocess_exec(binary, "--config", str(self.folder / "nats.conf"))

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        stand_still(self.process.pid)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)


@dataclass
class Cluster:
    servers: list[Server]

    @property
    def url(self) -> str:
        """Of the first."""
        return self.servers[0].url

    @property
    def urls(self) -> str:
        """Of all, as people write them."""
        return ",".join(each.url for each in self.servers)

    def named(self, name: str) -> Server:
        return next(each for each in self.servers if each.name == name)

    async def start(self) -> None:
        for each in self.servers:
            await each.start()


async def leader_of(client: Client, stream: str) -> str:
    """The name of the server that leads a stream."""
    info = await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)
    return str(json.loads(info.data)["cluster"]["leader"])


async def until_ready(client: Client) -> None:
    """Until the cluster has a leader that answers."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(Exception):
            answer = json.loads((await client.request("$JS.API.INFO", b"", timeout=1)).data)
            if "error" not in answer:
                return
        assert time.monotonic() < deadline, "the cluster has no leader"
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def nats_cluster(folder: Path, *, started: bool = True) -> AsyncIterator[Cluster]:
    """Three servers, or their folders and ports where `started` is false. All end with the body."""
    ports = [(free_port(), free_port()) for _ in range(3)]
    routes = [f"nats://127.0.0.1:{cluster_port}" for _, cluster_port in ports]
    servers = []
    for number, (port, cluster_port) in enumerate(ports):
        server = Server(f"n{number}", folder / f"n{number}", port, cluster_port)
        server.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "server_name": server.name,
            "listen": f"127.0.0.1:{port}",
            "log_file": str(server.folder / "log"),
            "jetstream": {"store_dir": str(server.folder / "store")},
            "cluster": {"name": "test", "listen": f"127.0.0.1:{cluster_port}", "routes": routes},
        }
        (server.folder / "nats.conf").write_text(json.dumps(settings))
        servers.append(server)
    cluster = Cluster(servers)
    try:
        if started:
            await cluster.start()
        yield cluster
    finally:
        for each in servers:
            if each.process is not None and each.process.returncode is None:
                each.thaw()
                await each.kill()
