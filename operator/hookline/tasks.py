"""How tasks are ended, and how one waits for an event."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 0.5


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended, whatever they end with. Their exceptions stay with them.

    Once is not enough: `asyncio.wait_for` of Python 3.11, with which the NATS client asks, returns a result that comes
    at the same moment and forgets the cancellation (python/cpython issue 86296). The task would go on for ever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)


async def within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
