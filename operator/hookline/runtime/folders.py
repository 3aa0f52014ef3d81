"""Files that others replace while a process runs. The only module that imports watchfiles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog
from watchfiles import awatch

log = structlog.get_logger(__name__)

RESCAN_SECONDS = 5.0
"""Looked at anyway this often: a file system may not report changes."""

LOOK_SECONDS = 0.5
"""Looked at this often where changes are not reported at all."""


async def follow_folder(folder: Path, look: Callable[[], None], stop: asyncio.Event, *, what: str) -> None:
    """Look now, and on every change in the folder, until `stop`. `what` there is, for the log.

    The folder, and not a file of it: a kubelet replaces what its files link to.
    """
    look()
    while not stop.is_set():
        try:
            async for _ in awatch(
                folder,
                debounce=100,
                step=20,
                stop_event=stop,
                rust_timeout=int(RESCAN_SECONDS * 1000),
                yield_on_timeout=True,
            ):
                look()
        except (OSError, RuntimeError) as error:
            # No folder yet, or no watches left in the kernel: looking works everywhere.
            log.debug(f"changes of {what} are not reported", problem=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)
            look()
