"""The command `hookline` as a user runs it: a process of its own, or what a process would do, in this one."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

HOOKLINE = str(Path(sys.executable).with_name("hookline"))


def hookline(
    *words: str | Path, stdin: bytes = b"", cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end. `environment` is added to that of the tests."""
    command = [HOOKLINE, *map(str, words)]
    environ = {**os.environ, **(environment or {})}
    return subprocess.run(command, input=stdin, capture_output=True, timeout=90, cwd=cwd, env=environ, check=False)


def typed(
    program: Callable[[], object],
    *words: str | Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the entry point of a program to its end as if it had been typed; a process takes a second to begin.

    For what reads, asks and prints: it must set up neither logs nor anything else that stays.
    """
    command = [HOOKLINE, *map(str, words)]
    out, err = io.BytesIO(), io.BytesIO()
    facts: dict[str, Any] = {
        "argv": command,
        "stdin": _text(io.BytesIO(stdin)),
        "stdout": _text(out),
        "stderr": _text(err),
    }
    with (
        mock.patch.multiple(sys, **facts),
        mock.patch.dict(os.environ, environment or {}),
        _signals_as_before(),
    ):
        try:
            program()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def _text(stream: io.BytesIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding="utf-8", write_through=True)


@contextmanager
def _signals_as_before() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class RunningCommand:
    """`hookline run` or another command under way, its output in a file."""

    words: list[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [HOOKLINE, *self.words],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
            )

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(60)

    @property
    def port(self) -> int:
        """Where it answers, when it was told to take any port."""
        self.until_says("answering health and metrics")
        ports = re.findall(r'"port":(\d+)', self.output)
        return int(ports[-1])

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def until_says(self, text: str, *, times: int = 1, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while self.output.count(text) < times:
            assert self.process.poll() is None, f"ended early: {self.output[-2000:]}"
            assert time.monotonic() < deadline, f"never said {text!r}: {self.output[-2000:]}"
            time.sleep(0.05)


@contextmanager
def running(log: Path, *words: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[RunningCommand]:
    command = RunningCommand([*map(str, words)], log, environment or {})
    command.start()
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.end()
