"""When a sender has EVENTS take large events under a subject of their own, and how it leaves none behind at its end.

Whether all senders know that subject is decided in stream/agreement; the stream is changed by stream/streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from hookline.stream import names
from hookline.stream.agreement import Agreement
from hookline.stream.connection import Client, StreamRefused, StreamUnavailable
from hookline.stream.inspect import large_left
from hookline.stream.layout import Layout
from hookline.stream.ownership import Ownership
from hookline.stream.streams import take_no_large

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.1
"""Between two looks at how many are left."""


class LargeEvents:
    """What one sender asks for, over one connection."""

    def __init__(
        self,
        client: Client,
        agreement: Agreement,
        ownership: Ownership,
        *,
        layout: Callable[[], Layout],
        term: Callable[[], int],
    ) -> None:
        self._client = client
        self._agreement = agreement
        self._ownership = ownership
        self._layout = layout
        self._term = term
        self._is_foreign = False
        """Whether another application has the subject."""
        self._ends = False

    def wanted(self) -> bool | None:
        """Whether EVENTS is to take them; None leaves that as it is."""
        if self._ends:
            return False
        # By its mark alone a version before knows a stream that has another subject besides.
        is_marked = self._ownership.mark is not None and bool(self._ownership.mark.id)
        return self._agreement.take_large(time.monotonic()) if is_marked else None

    def is_outdated(self) -> bool:
        """Whether EVENTS is to be changed."""
        return not self._is_foreign and self.wanted() not in (None, self._layout().takes_large)

    def found(self, wanted: bool | None, layout: Layout) -> None:
        """What came of it that EVENTS was to take them, or was not."""
        is_foreign = bool(wanted) and not layout.takes_large
        if is_foreign and not self._is_foreign:
            log.warning(
                "large events come as all others: a stream of another application takes their subject",
                subject=names.LARGE_SUBJECTS,
            )
        self._is_foreign = is_foreign

    def reconnected(self) -> None:
        """Perhaps to another server."""
        self._is_foreign = False

    def end(self) -> None:
        """From now on EVENTS is to take none."""
        self._ends = True

    async def leave_none(self) -> None:
        """The next sender may be of a version that knows no large events: they are stored as all others until one says
        that it does, and those that are there are read past."""
        with contextlib.suppress(StreamUnavailable, StreamRefused):
            await take_no_large(self._client, self._layout())
            while left := await large_left(self._client, self._layout(), self._term()):
                log.debug("reading past large events before the end", events=left)
                await asyncio.sleep(LOOK_SECONDS)
