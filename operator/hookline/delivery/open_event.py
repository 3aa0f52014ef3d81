"""An event in our hands whose deliveries are called from it, until each of them is done or stored.

Only counts and remembers: whoever opened it decides what becomes of the event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from hookline.stream.pull import Taken


class OpenEvent:
    """`parts` are to end, each once; then `on_closed` is awaited by whoever ended the last one.

    A part that ended may be in our hands for longer, such as a call with a copy. When none is, `on_released` is called.
    """

    __slots__ = (
        "_in_hand",
        "_left",
        "_on_closed",
        "_on_released",
        "done",
        "error",
        "is_void",
        "taken",
        "webhooks",
        "whole",
    )

    def __init__(
        self, taken: Taken, webhooks: int, parts: int, on_closed: OnClosed, on_released: Callable[[OpenEvent], None]
    ) -> None:
        self.taken = taken
        self.webhooks = webhooks
        """How many hear it."""
        self.whole = True
        """Whether every part that ended is done or stored."""
        self.done: list[str] = []
        """The uids of Webhooks that need nothing more of this event."""
        self.error: Exception | None = None
        """One that nobody expected."""
        self.is_void = False
        """Whether its stream was made anew, and another event has its place: an ack would be taken for that one's."""
        self._left = self._in_hand = parts
        self._on_closed = on_closed
        self._on_released = on_released

    async def ended(self, *done: str, whole: bool, error: Exception | None = None) -> None:
        """One part ended. `done` are uids; without `whole` something of it is neither done nor stored."""
        self.done += done
        self.whole = self.whole and whole
        self.error = self.error or error
        self._left -= 1
        if not self._left:
            await self._on_closed(self)

    def release(self) -> None:
        """One part is out of our hands."""
        self._in_hand -= 1
        if not self._in_hand:
            self._on_released(self)


OnClosed: TypeAlias = Callable[[OpenEvent], Awaitable[None]]
