"""Work that runs beside other work, and never dies in silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from hookline.runtime.tasks import cancel


@contextlib.asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these until the body ends. If one fails, the body is cancelled and the failure raised.

    Of several failures of one class the first is raised: whoever waits for that class must not miss it.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
            try:
                yield
            finally:
                # Also after a failure: the group itself cancels only once.
                await cancel(tasks)
    except BaseExceptionGroup as failures:
        if len({type(each) for each in failures.exceptions}) == 1:
            raise failures.exceptions[0] from None
        raise
