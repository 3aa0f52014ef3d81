"""nats-server with the configuration that the manifests ship, and users as the operator writes them."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from doubles.nats import free_port

CHECKOUT = Path(__file__).parents[2]


@dataclass
class ShippedNats:
    """nats-server with the shipped configuration, at a port of its own."""

    folder: Path
    url: str
    process: asyncio.subprocess.Process | None = None

    def users(self, text: str | None) -> None:
        """What lies where the Secret is mounted; None as it was shipped before there were users."""
        (self.folder / "users.conf").write_text(text or "")

    async def start(self) -> None:
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                binary, "--config", str(self.folder / "nats.conf"), env={"POD_NAME": "nats-0"}, stdout=log, stderr=log
            )

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), 15)


@asynccontextmanager
async def shipped(folder: Path, users: str | None) -> AsyncIterator[ShippedNats]:
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
    (folder / "cluster.conf").write_text((CHECKOUT / "manifests/nats/cluster.conf").read_text())
    found = ShippedNats(folder, f"nats://127.0.0.1:{port}")
    found.users(users)
    await found.start()
    try:
        yield found
    finally:
        await found.end()
