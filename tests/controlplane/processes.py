"""Servers as processes: started into a folder with log and pid file, awaited, ended by whoever knows the folder.

Decides how a process is recognised as ours and how it ends. Knows nothing of what the programs do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 10.0
_LAST_LINES = 3


class StartError(Exception):
    """A server did not start. The message says which one, and what it said last."""


class Server:
    """One server process of a folder. Its command line must name the folder: that is how it is recognised."""

    def __init__(self, folder: Path, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.running else None

    def start(self) -> None:
        """Start it; it is not ready yet."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal must not end servers before the test that uses them.
                start_new_session=True,
            )
        pid_file(self._folder, self.name).write_text(f"{self._process.pid}\n")

    def until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `ready`. Raises StartError when it ends before, or does not get there."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise StartError(f"{self.name} ended at its start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} was not ready within {seconds:g} s: {self.last_words()}")
            time.sleep(_LOOK_SECONDS)

    def end(self, *, kill: bool = False) -> None:
        """End it, by SIGKILL at once if `kill`."""
        if self._process is None:
            return
        end(self._folder, self.name, grace_seconds=0 if kill else _GRACE_SECONDS)
        self._process.wait(_GRACE_SECONDS)

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "it wrote no log"
        return " | ".join(each.strip()[:300] for each in lines[-_LAST_LINES:]) + f" (log: {self.log})"


def pid_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pid"


def recorded(folder: Path) -> list[str]:
    """Names of the servers that a folder's pid files tell of, whether they run or not."""
    return sorted(each.stem for each in folder.glob("*.pid"))


def running_pid(folder: Path, name: str) -> int | None:
    """The process of a server of this folder if it runs: a pid that another program got since does not count."""
    try:
        pid = int(pid_file(folder, name).read_text())
    except (OSError, ValueError):
        return None
    return pid if str(folder) in _command_of(pid) else None


def end(folder: Path, name: str, *, grace_seconds: float = _GRACE_SECONDS) -> None:
    """End a server by its pid file, whoever started it: SIGTERM, and SIGKILL when it does not go in time."""
    attempts = [(signal.SIGTERM, grace_seconds)] if grace_seconds else []
    for number, seconds in [*attempts, (signal.SIGKILL, _GRACE_SECONDS)]:
        pid = running_pid(folder, name)
        if pid is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline = time.monotonic() + seconds
        while running_pid(folder, name) is not None and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
    pid_file(folder, name).unlink(missing_ok=True)


def _command_of(pid: int) -> str:
    """The command line of a process; empty when there is none, or it has ended and nobody fetched its exit code."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    # -ww: ps cuts lines at 80 characters where there is no terminal.
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, check=False)
    return listed.stdout.decode(errors="replace").strip()
