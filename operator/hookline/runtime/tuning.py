"""What a process that delivers or publishes much asks of its kernel, its C library and Python's collector.

Decides nothing about deliveries: without any of this the same calls are made, by fewer connections, with more memory or
more pauses.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys

LARGE_BYTES = 128 * 1024
"""What glibc begins with."""

_M_MMAP_THRESHOLD = -3  # mallopt(3)


def tune_process() -> None:
    """To be called once at the start of a process that delivers, before it opens connections."""
    raise_open_files_limit()
    map_large_blocks()


def raise_open_files_limit() -> None:
    """Have this process open as many files and connections as it may.

    The soft limit is 1,024 in many shells and services, for the sake of programs that use select(), while the hard
    limit is some hundred thousand.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files_limit() -> int:
    """How many files and connections this process may have open at once, as things are."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft  # which is -1


def map_large_blocks() -> None:
    """Have each large block of memory lie on pages of its own, which go back with it. Call before there are any.

    The event loop has a buffer of 256 KiB for each TLS connection, of which a few pages are ever touched. Once the
    first is freed glibc takes blocks of that size from its heap, between others, on pages that were touched before and
    stay: a sender grew from 84 to 122 MB in nine minutes of a soak, as connections came and went. C libraries without
    this setting, such as musl, have no such habit.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def give_memory_back() -> None:
    """Have the C library give back to the kernel what was freed. For after much was used for a short time: it keeps
    free memory that lies between other, and takes 10 ms for 100 MB. C libraries without this, such as musl, need none.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def collect_seldom() -> None:
    """Run the garbage collector less often, and exempt all objects that exist now. Call once, when all of them stay.

    With Python's defaults, looking through what was just made takes 13 % of a sender's CPU in paired runs, since a
    delivery makes many short-lived objects; and now and then it looks through everything, modules and the first route
    book, and all calls stand still meanwhile: for 45 to 90 ms with 90,000 objects, to find 10. What a sender has in its
    hands under load makes some 30,000 objects that come and go: a threshold above that spares another 3 %. References
    are still counted, and cycles are still found, later; a call that failed leaves none (`let_go` in
    delivery/http/transport), so that no body waits for that. What ends in a cycle after it was set aside here is never
    freed.

    `hookline publish --lines` has a task for each line, and takes 15 % less of the CPU with this. A gateway with
    512 requests under way takes 22 % less.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
