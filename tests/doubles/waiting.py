"""Waiting for what others do: bounded, and never as a proof that something does not happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    condition: Callable[[], Awaitable[bool]], *, seconds: float = 45, what: Callable[[], str] = lambda: "it"
) -> None:
    """Wait for a condition that must be asked for, bounded."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what()}"
        await asyncio.sleep(0.05)


async def until_it_is(
    ask: Callable[[], Awaitable[T]],
    wanted: Callable[[T], bool],
    *,
    seconds: float = 30,
    what: Callable[[], str] = lambda: "it",
) -> T:
    """Ask for something until it is as wanted, bounded; it. A failure says what it was."""
    deadline = time.monotonic() + seconds
    while not wanted(found := await ask()):
        assert time.monotonic() < deadline, f"after {seconds:g} s {what()} is {found!r}"
        await asyncio.sleep(0.05)
    return found
