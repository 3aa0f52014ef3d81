"""An event in our hands whose deliveries are called from it or being stored, until each of them is done or stored.

Only counts and remembers: whoever opened it decides what becomes of the event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from hookline.stream.pull import Taken


class OpenEvent:
    """`parts` are the uids of Webhooks; once all have ended, `on_closed` is awaited by whoever ended the last one.

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
        "whole",
    )

    def __init__(
        self,
        taken: Taken,
        parts: Iterable[str],
        on_closed: OnClosed,
        *,
        on_released: Callable[[OpenEvent], None] = lambda _: None,
    ) -> None:
        self.taken = taken
        self.whole = True
        """Whether every part that ended is done or stored."""
        self.done: list[str] = []
        """The uids of Webhooks that need nothing more of this event."""
        self.error: Exception | None = None
        """One that nobody expected."""
        self.is_void = False
        """Whether its stream was made anew, and another event has its place: an ack would be taken for that one's."""
        self._left = set(parts)
        self._in_hand = set(self._left)
        self._on_closed = on_closed
        self._on_released = on_released

    @property
    def is_closed(self) -> bool:
        """Whether all parts have ended."""
        return not self._left

    @property
    def is_in_hand(self) -> bool:
        return bool(self._in_hand)

    async def ended(self, *uids: str, whole: bool, error: Exception | None = None) -> None:
        """Parts ended: done or stored if `whole`. One that ended before has ended: it counts no other part as ended."""
        ended = [uid for uid in uids if uid in self._left]
        if not ended:
            return
        self._left.difference_update(ended)
        self.done += ended if whole else []
        self.whole = self.whole and whole
        self.error = self.error or error
        if not self._left:
            await self._on_closed(self)

    def release(self, *uids: str) -> None:
        """Parts are out of our hands."""
        was = bool(self._in_hand)
        self._in_hand.difference_update(uids)
        if was and not self._in_hand:
            self._on_released(self)


OnClosed: TypeAlias = Callable[[OpenEvent], Awaitable[None]]
