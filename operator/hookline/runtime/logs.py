"""Logs, and what must not be in them.

Rule: a log line names a Webhook, an event's id, a reason; never a body, a header's value, a URL's query, a Secret.

Decides as well that a log line never holds up its writer nor fails: it is written in a thread of its own, and lost and
counted where that cannot be done.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import orjson
import structlog

from hookline.runtime.log_wording import line_for_people

LINES_KEPT = 10_000
"""Log lines that wait to be written. More are lost."""

_GATHER_SECONDS = 0.02
"""How long lines are gathered before they are written: one write for many, and no switch of threads for each."""

_STANDARD_ERROR = 2
"""Its file descriptor."""

_LAST_SECONDS = 1.0
"""How long the last lines of a process may take."""


class LogWriter:
    """Writes lines to a file descriptor in a thread of its own.

    Neither a full disk, nor a pipe that is closed or that nobody reads, raises or blocks in the code that logs.
    """

    def __init__(self, write: Callable[[bytes], int]) -> None:
        """`write` takes bytes and returns how many it took, as os.write does; it may block, or raise OSError."""
        self.lost = 0
        """Lines that could not be written, since the start."""
        self._write = write
        self._waiting: deque[str] = deque()
        self._some = threading.Event()
        self._closing = False
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        if len(self._waiting) >= LINES_KEPT:
            self.lost += 1
            return
        self._waiting.append(line)
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what waits, as far as that can be done soon."""
        self._closing = True
        self._some.set()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while not (self._closing and not self._waiting):
            self._some.wait()
            if not self._closing:
                time.sleep(_GATHER_SECONDS)
            self._some.clear()
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if lines:
                self._write_all(lines)

    def _write_all(self, lines: list[str]) -> None:
        left = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        try:
            while left:
                left = left[self._write(left) :]
        except OSError:
            self.lost += left.count(b"\n")
            return
        if self.lost > self._told:
            structlog.get_logger(__name__).warning("log lines were lost", count=self.lost - self._told)
            self._told = self.lost


class _LineLogger:
    """What structlog hands a finished line to."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = put


_writer: LogWriter | None = None


def lost_log_lines() -> int:
    """Log lines that this process could not write."""
    return _writer.lost if _writer is not None else 0


def frames_of(error: BaseException) -> str:
    """Where an error came from, without its text: that may repeat what an object or a request holds."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames)


def set_up_logs(stream: TextIO | None = None, *, level: int = logging.INFO, json: bool | None = None) -> bool:
    """One line for each thing that happened: for people on a terminal, JSON otherwise. Returns whether it is JSON.

    To `stream` lines are written at once, to stderr in a thread.
    """
    out = stream or sys.stderr
    as_json = json if json is not None else not out.isatty()
    for_machines: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _json_line]
    for_people: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.processors.format_exc_info,
        _text_for_people,
    ]
    structlog.configure(
        processors=for_machines if as_json else for_people,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_factory(stream),
        cache_logger_on_first_use=False,
    )
    return as_json


def _factory(stream: TextIO | None) -> Callable[..., Any]:
    if stream is not None or not _is_standard_error(sys.stderr):
        return structlog.WriteLoggerFactory(stream or sys.stderr)
    put = _process_writer().put
    return lambda *_: _LineLogger(put)


def _is_standard_error(out: TextIO) -> bool:
    """Not so where tests put something else in its place."""
    try:
        return out.fileno() == _STANDARD_ERROR
    except (OSError, ValueError):
        return False


def _process_writer() -> LogWriter:
    """The one of this process: its thread lives as long."""
    global _writer
    if _writer is None:
        _writer = LogWriter(lambda data: os.write(_STANDARD_ERROR, data))
        atexit.register(_writer.close)
    return _writer


def _text_for_people(_logger: object, _method: str, record: MutableMapping[str, Any]) -> str:
    time_, level, text = record.pop("timestamp"), record.pop("level"), record.pop("event")
    return line_for_people(time_, level, str(text), record)


def _json_line(_logger: object, method: str, record: MutableMapping[str, Any]) -> str:
    """With its level and time. A sender writes a line for each call: structlog's own parts for this take 3 us more."""
    now = datetime.now(UTC)
    record["level"], record["timestamp"] = method, now
    try:
        return orjson.dumps(record, default=repr, option=orjson.OPT_UTC_Z).decode()
    except TypeError:
        # Half a surrogate pair, as in a path that is not UTF-8, or a number of more than 64 bits.
        record["timestamp"] = now.isoformat().replace("+00:00", "Z")
        return json.dumps(record, default=repr)
