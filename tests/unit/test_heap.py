from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys
from hookline.heap import map_large_blocks
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


def mapped(how: str) -> int:
    ran = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such threshold")
def test_large_blocks_lie_on_pages_of_their_own_also_after_one_was_freed() -> None:
    assert mapped("set") == 8
    assert mapped("as it is") == 0
