"""nats-server with the configuration that the manifests ship, and users as the operator writes them."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.ports import free_port

CHECKOUT = Path(__file__).parents[2]


@dataclass
class ShippedNats:
    """nats-server with the shipped configuration, at a port of its own."""

    folder: Path
    url: str
    environment: Mapping[str, str]
    process: asyncio.subprocess.Process | None = None

    def users(self, text: str | None) -> None:
        """What lies where the Secret is mounted; None as it was shipped before there were users."""
        (self.folder / "users.conf").write_text(text or "")

    async def start(self) -> None:
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                binary, "--config", str(self.folder / "nats.conf"), env=self.environment, stdout=log, stderr=log
            )

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), 15)


@asynccontextmanager
async def shipped(folder: Path, users: str | None) -> AsyncIterator[ShippedNats]:
    """One server."""
    cluster = (CHECKOUT / "manifests/nats/cluster.conf").read_text()
    server = _laid_out(folder, cluster, {"POD_NAME": "nats-0"})
    server.users(users)
    await server.start()
    try:
        yield server
    finally:
        await server.end()


@asynccontextmanager
async def three(folder: Path) -> AsyncIterator[list[ShippedNats]]:
    """Three servers that are not started, as they were before there were users: nobody proves anything to anybody."""
    ports = [free_port() for _ in range(3)]
    plain = ", ".join(f"nats://127.0.0.1:{port}" for port in ports)
    servers = []
    for number, port in enumerate(ports):
        cluster = f"cluster {{ name: hookline, listen: 127.0.0.1:{port}, routes: [ {plain} ] }}"
        server = _laid_out(folder / f"nats-{number}", cluster, {"POD_NAME": f"nats-{number}"})
        server.users(None)
        servers.append(server)
    try:
        yield servers
    finally:
        for server in servers:
            await server.end()


def with_password(servers: Sequence[ShippedNats], number: int, password: str) -> None:
    """What is mounted in one of three from now on: the shipped configuration of a cluster."""
    server = servers[number]
    ports = [_routes_port(each) for each in servers]
    routes = {f"ROUTE_{each}": f"nats://hookline:{password}@127.0.0.1:{port}" for each, port in enumerate(ports)}
    server.environment = {"POD_NAME": f"nats-{number}", "ROUTES_PASSWORD": password, **routes}
    conf = (CHECKOUT / "manifests/nats-ha/cluster.conf").read_text()
    assert "port: 6222" in conf
    (server.folder / "cluster.conf").write_text(conf.replace("port: 6222", f"listen: 127.0.0.1:{ports[number]}"))


def _routes_port(server: ShippedNats) -> str:
    found = re.search(r"listen: 127.0.0.1:(\d+)", (server.folder / "cluster.conf").read_text())
    assert found is not None
    return found[1]


def _laid_out(folder: Path, cluster: str, environment: Mapping[str, str]) -> ShippedNats:
    folder.mkdir(exist_ok=True)
    port = free_port()
    conf = (CHECKOUT / "manifests/nats/nats.conf").read_text()
    for theirs, ours in (
        ("port: 4222", f"listen: 127.0.0.1:{port}"),
        ("http_port: 8222", ""),
        ("/data", str(folder / "data")),
        ("9GB", "200MB"),
        ("sync_interval: always", "sync_interval: 10s"),
    ):
        assert theirs in conf
        conf = conf.replace(theirs, ours)
    assert "include users.conf" in conf
    (folder / "nats.conf").write_text(conf)
    (folder / "cluster.conf").write_text(cluster)
    return ShippedNats(folder, f"nats://127.0.0.1:{port}", environment)
