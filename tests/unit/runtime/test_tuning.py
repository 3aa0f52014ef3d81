from __future__ import annotations

import platform
import resource
import subprocess
import sys
from collections.abc import Coroutine, Iterator

import pytest
from typer.testing import CliRunner

from hookline.cli.main import app
from hookline.runtime.tuning import open_files_limit, raise_open_files_limit

COUNT = """
import ctypes, sys
from hookline.runtime.tuning import map_large_blocks
if sys.argv[1] == "set":
    map_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
class Info(ctypes.Structure):
    _fields_ = [(str(number), ctypes.c_size_t) for number in range(10)]
libc.mallinfo2.restype = Info
libc.free(libc.malloc(1024 * 1024))
before = getattr(libc.mallinfo2(), "3")
blocks = [libc.malloc(256 * 1024) for _ in range(8)]
print(getattr(libc.mallinfo2(), "3") - before)
"""
"""How many of eight blocks lie on pages of their own, after a larger one was freed."""


GIVE_BACK = """
from hookline.runtime.tuning import give_memory_back
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
blocks = [bytes(20_000) for _ in range(3000)]
between = blocks[::50]
del blocks
before = resident()
give_memory_back()
print(before - resident())
"""
"""How much less memory a process has after it gave back what was freed between other."""


def mapped(how: str) -> int:
    ran = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such threshold")
def test_large_blocks_lie_on_pages_of_their_own_also_after_one_was_freed() -> None:
    assert mapped("set") == 8
    assert mapped("as it is") == 0


@pytest.fixture
def most_files() -> Iterator[int]:
    """What this process may have open, while its soft limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_takes_what_it_may_have(most_files: int) -> None:
    assert open_files_limit() == 256
    raise_open_files_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most_files, most_files)
    assert open_files_limit() in (most_files, sys.maxsize)


def test_a_process_without_a_limit_may_have_more_open_than_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert open_files_limit() > 1_000_000


@pytest.mark.parametrize(
    "arguments",
    [["sender", "--book", "book", "--nats", "nats://127.0.0.1"], ["run", "webhooks.yaml"], ["demo"]],
    ids=lambda arguments: arguments[0],
)
def test_each_command_that_delivers_tunes_its_process_before_anything_else(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tuned(Exception):
        pass

    def tuned() -> None:
        raise Tuned

    def began(work: Coroutine[object, object, None]) -> None:
        work.close()

    monkeypatch.setattr("hookline.runtime.tuning.raise_open_files_limit", tuned)
    monkeypatch.setattr("hookline.cli.common.run_loop", began)
    assert isinstance(CliRunner().invoke(app, arguments).exception, Tuned)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing")
def test_memory_that_was_freed_goes_back() -> None:
    ran = subprocess.run([sys.executable, "-c", GIVE_BACK], capture_output=True, text=True, check=True)
    assert int(ran.stdout) > 20_000_000
