"""Has retries come that nats-server forgot: a retry that never comes is an event lost in silence.

What is overdue is stored again under its own subject, which replaces it, and so comes at once. Only if it still is what
was read: what came meanwhile, or was stored again by another sender, is left alone. One that comes while the server
takes the word may still come twice. In former streams the mover does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from nats.aio.client import Client

from hookline.stream import names
from hookline.stream.publish import Publisher, Replaced
from hookline.stream.stored import LATE_SECONDS, Stored, read_from, store_anew

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.05
"""Between two answers of 32 messages. 100,000 take three minutes and 3 % of a processor so (measured: 5 s of work)."""


class Overdue:
    """Over one connection. `now_s` is NATS's time, `may_go_on` whether this sender still is the one that looks."""

    def __init__(
        self, client: Client, publisher: Publisher, *, now_s: Callable[[], float], may_go_on: Callable[[], bool]
    ) -> None:
        self._client = client
        self._publisher = publisher
        self._now_s = now_s
        self._may_go_on = may_go_on

    async def bring(self, stream: str) -> None:
        """Look once at all that is scheduled in a stream. Raises StreamUnavailable, StreamRefused."""
        seq, brought = 1, 0
        while self._may_go_on():
            found = await read_from(self._client, stream, names.LATER_SUBJECTS, seq)
            now_s = self._now_s()
            for each in found:
                if each.is_overdue(now_s):
                    brought += await self._store_again(stream, each)
            # All behind it was stored later still, also what was stored again here.
            if not found or found[-1].stored_s > now_s - LATE_SECONDS:
                break
            seq = found[-1].seq + 1
            await asyncio.sleep(PAUSE_SECONDS)
        if brought:
            log.warning("NATS did not let retries come that were due; they come now", stream=stream, retries=brought)

    async def _store_again(self, stream: str, message: Stored) -> bool:
        otherwise = "a retry that is overdue cannot be stored again"
        try:
            stored = await store_anew(self._publisher, stream, message, otherwise=otherwise, instead_of_itself=True)
        except Replaced:
            return False
        return bool(stored)
