"""The processes of a scenario: a nats-server and a sender that can be killed and come back, and a receiver."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from controlplane.ports import free_port
from crash import launcher
from crash.wire import Passages, When
from doubles.local import until
from doubles.receiver import Call, TlsReceiver

ACK_WAIT_SECONDS = 3.0
GONE_SECONDS = 1.2


def uid_of(name: str) -> str:
    """Of the Webhook that calls the path of this name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


class NatsProcess:
    """A nats-server with settings of the test's own on one port, killed and started again at will.

    Strict about its disk as the embedded one is.
    """

    def __init__(self, folder: Path, **jetstream: Any) -> None:
        self.port = free_port()
        self._folder = folder
        self._jetstream = jetstream
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self, **jetstream: Any) -> None:
        """Start, or start again; with other settings of JetStream from now on if some are given."""
        self._jetstream |= jetstream
        self._folder.mkdir(exist_ok=True)
        store = {"store_dir": str(self._folder), "sync_interval": "always", **self._jetstream}
        settings = {"listen": f"127.0.0.1:{self.port}", "jetstream": store, "log_file": str(self._folder / "log")}
        (self._folder / "nats.conf").write_text(json.dumps(settings))
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
        self._process = await asyncio.create_subprocess_exec(binary, "--config", str(self._folder / "nats.conf"))
        deadline = time.monotonic() + 15
        while not await self._listens():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            await asyncio.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None, "started before it has a pid"
        return self._process.pid

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.kill_now()
        assert self._process is not None
        await self._process.wait()

    def kill_now(self) -> None:
        assert self._process is not None, "started before it is killed"
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def __aenter__(self) -> NatsProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


class KeptProcess:
    """A program in Python, started again whenever it ends, as a kubelet does."""

    def __init__(self, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.exits: list[int] = []
        """How it ended, each time."""
        self._words = words
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            self._signal(signal.SIGTERM)
            await self._end()

    async def _end(self) -> None:
        """Not longer than a kubelet waits."""
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), 40)
            except TimeoutError:
                self.kill()
                await self._process.wait()
                raise AssertionError(f"the process did not end: {self.output[-2000:]}") from None

    @property
    def pid(self) -> int:
        assert self._process is not None, "started before it has a pid"
        return self._process.pid

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    async def until_says(self, text: str, *, seconds: float = 30) -> None:
        await until(lambda: text in self.output, seconds=seconds, what=f"{text!r} in the log")

    async def _keep(self) -> None:
        while True:
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, *self._words, stdout=log, stderr=log, env={**os.environ, **self._environment}
                )
            self.exits.append(await self._process.wait())

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None and self._process.returncode is None:
                self._process.send_signal(number)


class SenderProcess(KeptProcess):
    """`hookline sender`."""

    def __init__(self, folder: Path, book: Path, nats_url: str, *, ack_wait_seconds: float = ACK_WAIT_SECONDS) -> None:
        self.clock = folder / "clock"
        """How many seconds its wall clock is ahead."""
        self.clock.write_text("0")
        words = ["sender", "--book", str(book), "--nats", nats_url, "--listen", "127.0.0.1:0", "--installation=crash"]
        environment = {
            launcher.ACK_WAIT: str(ack_wait_seconds),
            launcher.GONE: str(GONE_SECONDS),
            launcher.CLOCK: str(self.clock),
        }
        super().__init__([launcher.__file__, *words], folder / "sender.log", environment)

    def set_clock_ahead(self, seconds: float) -> None:
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(self.clock)


class ExecutorProcess(KeptProcess):
    """A pod that executes Replays."""

    def __init__(
        self, folder: Path, nats_url: str, api_url: str, ca_pem: str, *, name: str = "one", renew_seconds: float = 10.0
    ) -> None:
        (folder / "token").write_text("a-token")
        (folder / "ca.crt").write_text(ca_pem)
        words = ["-m", "crash.replaying", nats_url, api_url, str(folder), name, str(renew_seconds)]
        environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
        super().__init__(words, folder / f"{name}.log", environment)


class CrashReceiver(TlsReceiver):
    """Answers as `answer` says, and ends a sender that calls it if `passages` say so."""

    def __init__(self, answer: Callable[[Call], tuple[int, float]], passages: Passages | None = None) -> None:
        super().__init__("127.0.0.1", name="127.0.0.1")
        self._answer = answer
        self._passages = passages or Passages()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def _receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.path, headers, await request.read())
        self.calls.append(call)
        stored = (uid_of(request.path.removeprefix("/")), headers["webhook-id"]) in self._passages.stored
        dies = self._passages.passed("call" if stored else "call from an event")
        if dies and self._passages.when is When.BEFORE:
            self._passages.die()
        status, wait_seconds = self._answer(call)
        await asyncio.sleep(wait_seconds)
        response = web.Response(status=status)
        if dies and self._passages.when is When.AFTER:
            await response.prepare(request)
            await response.write_eof()
            self._passages.die()
        return response
