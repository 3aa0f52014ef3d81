"""Moves what must not wait where it is: what is parked in a former stream, and what is scheduled there.

All else that a former stream holds is done from there. What is moved is stored under the same subject, which the
present stream has now, before it is removed: a crash between the two stores it once more, and the second replaces the
first or is recognized by its name. In pieces, so that little is in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from nats.aio.client import Client

from hookline.runtime.tasks import together
from hookline.stream import names
from hookline.stream.api import api, ask
from hookline.stream.layout import Layout
from hookline.stream.publish import Publisher
from hookline.stream.stored import AT_ONCE, Stored, read_from, store_anew

log = structlog.get_logger(__name__)

SOON_SECONDS = 30.0
"""What is scheduled for so soon comes in its stream: moved at that moment it would come from both."""

FRESH_SECONDS = 1.0
"""How old an answer may be by which a stream is removed. Others wait for longer, 3 s, before they move back to it."""


def comes_there(message: Stored, now_s: float) -> bool:
    """Whether its stream has it come soon, or did just now; also what is scheduled for no time that can be read,
    which stays. `now_s` is NATS's time, Unix time."""
    if message.due_s is None:
        return True
    return message.due_s < now_s + SOON_SECONDS and not message.is_overdue(now_s)


class Mover:
    """Over one connection. `now_s` is NATS's time, `may_go_on` whether this sender still is the one that moves."""

    def __init__(
        self, client: Client, publisher: Publisher, *, now_s: Callable[[], float], may_go_on: Callable[[], bool]
    ) -> None:
        self._client = client
        self._publisher = publisher
        self._now_s = now_s
        self._may_go_on = may_go_on

    async def empty(self, layout: Layout) -> None:
        """Move what former streams hold that can be moved. Raises StreamUnavailable, StreamRefused."""
        for stream in layout.former_of(names.PARKED):
            await self._move_all(stream, names.SUBJECTS[names.PARKED], scheduled=False)
        for stream in layout.former_of(names.DELIVERIES):
            await self._move_all(stream, names.LATER_SUBJECTS, scheduled=True)

    async def _move_all(self, stream: str, pattern: str, *, scheduled: bool) -> None:
        seq = 1
        # Another sender may have moved back to it: what is moved then would be stored in it again, for ever.
        while self._may_go_on() and await _is_former(self._client, stream):
            found = await read_from(self._client, stream, pattern, seq)
            now_s = self._now_s()
            movable = [each for each in found if not (scheduled and comes_there(each, now_s))]
            await together(
                [partial(self._move, stream, each, scheduled=scheduled) for each in movable], at_once=AT_ONCE
            )
            if not found:
                return
            seq = found[-1].seq + 1

    async def _move(self, stream: str, message: Stored, *, scheduled: bool) -> None:
        # A schedule replaces one of its subject. Under a name it would not be stored again after it was forgotten.
        once = None if scheduled else f"{stream}.{message.seq}.{message.time}"
        stored = await store_anew(self._publisher, stream, message, once=once, otherwise="a message cannot be moved")
        if stored is None:
            # It stays.
            return
        await api(self._client, f"STREAM.MSG.DELETE.{stream}", seq=message.seq, no_erase=True)


async def remove_empty(client: Client, layout: Layout, *, may_remove: Callable[[], bool]) -> None:
    """Remove former streams that hold nothing, as long as this sender is the one that does.

    A sender that was frozen since it asked removes nothing: the others may have moved back meanwhile. Raises
    StreamUnavailable, QueueUnusable.
    """
    for stream in layout.former:
        asked_s = time.monotonic()
        info = await ask(client, f"STREAM.INFO.{stream}")
        if time.monotonic() - asked_s > FRESH_SECONDS or not may_remove():
            return
        if not info["state"]["messages"] and _has_no_subjects_of_ours(stream, info):
            await api(client, f"STREAM.DELETE.{stream}")
            log.info("a former stream is empty and was removed", stream=stream)


async def _is_former(client: Client, stream: str) -> bool:
    return _has_no_subjects_of_ours(stream, await ask(client, f"STREAM.INFO.{stream}"))


def _has_no_subjects_of_ours(stream: str, info: Mapping[str, Any]) -> bool:
    return bool(info["config"].get("subjects") == [names.former_subject(stream)])
