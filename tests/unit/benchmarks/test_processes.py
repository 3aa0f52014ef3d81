from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from benchmarks.processes import apart, busy_seconds, resident_megabytes


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a single core cannot be shared out")
def test_a_process_has_a_core_for_itself_and_gives_it_back() -> None:
    before = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with apart(os.getpid(), [other.pid]) as own:
            assert os.sched_getaffinity(0) == own
            assert os.sched_getaffinity(other.pid) == before - own
        assert os.sched_getaffinity(0) == os.sched_getaffinity(other.pid) == before
        other.communicate()


def test_what_is_left_of_a_killed_process_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert resident_megabytes(other.pid) > 0
        other.kill()
        # Until somebody waits for it.
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError, match="has ended"):
            resident_megabytes(other.pid)


def test_a_core_that_computes_counts_as_busy() -> None:
    busy, own = busy_seconds(), time.process_time()
    while time.process_time() - own < 0.3:
        pass
    assert (busy_seconds() - busy) * (os.cpu_count() or 1) > 0.2
