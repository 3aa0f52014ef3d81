from __future__ import annotations

import errno
import io
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from hookline.runtime.logs import LINES_KEPT, LogWriter, set_up_logs


def test_logs_are_json_where_nobody_watches() -> None:
    out = io.StringIO()
    set_up_logs(out)
    structlog.get_logger("test").warning("happened", count=1)
    record = json.loads(out.getvalue())
    assert (record["event"], record["level"], record["count"]) == ("happened", "warning", 1)
    structlog.reset_defaults()


@pytest.mark.parametrize("value", ["as usual", "half a pair \ud800", 2**70, "\u2028é\n"])
def test_whatever_a_log_line_says_is_one_line_of_json(value: object) -> None:
    out = io.StringIO()
    set_up_logs(out, json=True)
    structlog.get_logger("test").warning("happened", value=value, other=Path("x"))
    assert out.getvalue().count("\n") == 1
    record = json.loads(out.getvalue())
    assert (record["value"], record["other"]) == (value, repr(Path("x")))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", record["timestamp"])
    structlog.reset_defaults()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_lines_are_whole_and_in_order_however_little_a_write_takes() -> None:
    written: list[bytes] = []

    def little(data: bytes) -> int:
        written.append(data[:3])
        return len(data[:3])

    writer = LogWriter(little)
    for number in range(50):
        writer.put(f"line {number} é")
    writer.close()
    assert b"".join(written).decode().splitlines() == [f"line {number} é" for number in range(50)]


def test_a_full_disk_raises_nothing_and_is_told_once_there_is_room() -> None:
    out, said = [], io.StringIO()
    full = True

    def write(data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "no space left")
        out.append(data)
        return len(data)

    set_up_logs(said, json=True)
    writer = LogWriter(write)
    writer.put("lost")
    _until(lambda: writer.lost == 1)
    full = False
    writer.put("written")
    writer.close()
    assert out == [b"written\n"]
    assert json.loads(said.getvalue())["count"] == 1
    structlog.reset_defaults()


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_memory_is_bounded() -> None:
    blocked, begun = threading.Event(), threading.Event()

    def write(data: bytes) -> int:
        begun.set()
        blocked.wait(30)
        return len(data)

    writer = LogWriter(write)
    writer.put("first")
    assert begun.wait(10)
    for _ in range(LINES_KEPT + 5):
        writer.put("more")
    assert writer.lost == 5
    blocked.set()
    writer.close()
