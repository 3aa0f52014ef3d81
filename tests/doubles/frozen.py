"""Processes that stand still for a while."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

STOPS_WITHIN_SECONDS = 10


def stand_still(pid: int) -> None:
    """SIGSTOP, and wait until all threads have stopped: until then a busy machine lets some of them go on."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + STOPS_WITHIN_SECONDS
    while not all(_state(each) in "TtZ" for each in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.005)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:  # a thread that has ended meanwhile
        return "Z"
