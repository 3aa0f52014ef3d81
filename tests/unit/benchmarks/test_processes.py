from __future__ import annotations

import os
import subprocess
import sys

import pytest
from benchmarks.processes import apart


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a single core cannot be shared out")
def test_a_process_has_a_core_for_itself_and_gives_it_back() -> None:
    before = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with apart(os.getpid(), [other.pid]) as own:
            assert os.sched_getaffinity(0) == own
            assert os.sched_getaffinity(other.pid) == before - own
        assert os.sched_getaffinity(0) == os.sched_getaffinity(other.pid) == before
        other.communicate()
