"""The command `hookline operator` as a process of its own, to be killed, frozen and started again.

Decides nothing about the operator. A process that its test leaves behind is ended with the control plane's servers,
because its command line names their folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from controlplane.ports import free_port
from controlplane.processes import pid_file
from doubles.command import HOOKLINE
from doubles.frozen import stand_still

START_SECONDS = 30.0


class OperatorProcess:
    """One operator. Its name stays the same when it starts again, as that of a container's pod does."""

    def __init__(self, folder: Path, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._words = words
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._started_at = 0
        self.starts = 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def said(self) -> str:
        """What it said since it started last."""
        return self.output[self._started_at :]

    def start(self) -> None:
        """Start it; nothing is awaited."""
        assert not self.running, f"{self.name} runs already"
        self._port = free_port()
        self.starts += 1
        self._started_at = len(self.output)
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [HOOKLINE, "operator", *self._words, "--name", self.name, "--listen", f"127.0.0.1:{self._port}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        pid_file(self._folder, self.name).write_text(f"{self._process.pid}\n")

    def kill(self) -> None:
        """SIGKILL, at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def freeze(self) -> None:
        assert self._process is not None
        stand_still(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def end(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self.thaw()
        self._process.terminate()
        try:
            return await self.ended(30)
        finally:
            if self.running:
                self.kill()

    async def ended(self, seconds: float) -> int:
        """Wait for its end, whatever ends it; the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, seconds)

    async def until_leads(self, *, seconds: float = START_SECONDS) -> None:
        """Wait until it works."""
        deadline = time.monotonic() + seconds
        while await self.metric("hookline_leader") != 1:
            assert self.running, f"{self.name} ended: {self.output[-2000:]}"
            assert time.monotonic() < deadline, f"{self.name} does not lead: {self.output[-2000:]}"
            await asyncio.sleep(0.05)

    async def metric(self, name: str) -> float | None:
        """A gauge without labels; None when nobody answers."""
        match = re.search(rf"^{name} (\S+)$", await self.page("/metrics"), re.MULTILINE)
        return float(match[1]) if match else None

    async def page(self, path: str) -> str:
        """A page of its health port; empty when nobody answers."""
        try:
            async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                return (await client.get(f"http://127.0.0.1:{self._port}{path}")).text
        except httpx.HTTPError:
            return ""
