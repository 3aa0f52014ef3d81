"""What a process costs and how busy the machine is, from /proc; bounds on CPU: cores, and a share by a control group.

Linux only. Never starts or ends a process.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

_PERIOD_US = 20_000
_GROUPS = Path("/sys/fs/cgroup")


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of all threads. Raises OSError when there is no such process.

    The number of a process's CPU clock is made as clock_getcpuclockid(3) of Linux makes it: /proc/PID/stat counts in
    steps of 10 ms, a tenth of what some rounds need.
    """
    return time.clock_gettime((~pid << 3) | 2)


def busy_seconds() -> float:
    """Time that the machine's cores have not been idle, whoever used them, as an average over the cores."""
    user, nice, system, _, _, irq, soft_irq, stolen, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    ticks = user + nice + system + irq + soft_irq + stolen
    return ticks / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)


def resident_megabytes(pid: int) -> float:
    """Memory that only this process has in use: anonymous pages, not those of files it maps or caches.

    Raises OSError when there is no such process, or only what is left of one that was killed.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    used = next((line for line in lines if line.startswith("RssAnon:")), None)
    if used is None:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(used.split()[1]) * 1024 / 1e6


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@contextlib.contextmanager
def apart(pid: int, others: Sequence[int]) -> Iterator[frozenset[int]]:
    """Give a process a core that none of the others uses; says which. Empty, and nothing is done, on a single core."""
    cores = os.sched_getaffinity(0)
    own = frozenset({min(cores)}) if len(cores) > 1 else frozenset()
    try:
        if own:
            bind(pid, own)
            for other in others:
                bind(other, cores - own)
        yield own
    finally:
        for each in (pid, *others):
            bind(each, cores)


def bind(pid: int, cores: Set[int]) -> None:
    """Have a process, all its threads and those that it starts from now on, use these cores only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it may have ended
            os.sched_setaffinity(int(thread.name), cores)


@contextlib.contextmanager
def throttled(pid: int, cores: float) -> Iterator[None]:
    """Bound a process to `cores` by a control group of its own. Raises OSError without root or cgroups."""
    tree, settings = _settings(cores)
    folder = tree / f"hookline-bench-{os.getpid()}-{pid}"
    home = tree / _group_of(pid, tree).lstrip("/") / "cgroup.procs"
    folder.mkdir()
    try:
        for name, text in settings.items():
            (folder / name).write_text(text)
        (folder / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with contextlib.suppress(OSError):  # it may have ended
            home.write_text(str(pid))
        _remove(folder)


def _settings(cores: float) -> tuple[Path, dict[str, str]]:
    """Version 2 has one tree, version 1 one for each resource."""
    quota = int(_PERIOD_US * cores)
    if (_GROUPS / "cgroup.controllers").exists():
        return _GROUPS, {"cpu.max": f"{quota} {_PERIOD_US}"}
    return _GROUPS / "cpu", {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": str(quota)}


def _group_of(pid: int, tree: Path) -> str:
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    wanted = "" if tree == _GROUPS else "cpu"
    return next((path for _, controllers, path in lines if wanted in controllers.split(",")), "/")


def _remove(folder: Path) -> None:
    # A process that has just ended may still be in it.
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
