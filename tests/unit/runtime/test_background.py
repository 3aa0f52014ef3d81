from __future__ import annotations

import asyncio

import pytest

from hookline.runtime.background import background
from hookline.stream.connection import StreamUnavailable


async def _fail(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


async def test_two_failures_of_one_kind_are_raised_as_one() -> None:
    with pytest.raises(StreamUnavailable):
        async with background(_fail(StreamUnavailable("one")), _fail(StreamUnavailable("two"))):
            await asyncio.Event().wait()


async def test_failures_of_different_kinds_are_all_told() -> None:
    with pytest.raises(ExceptionGroup):
        async with background(_fail(StreamUnavailable("one")), _fail(ValueError("two"))):
            await asyncio.Event().wait()
