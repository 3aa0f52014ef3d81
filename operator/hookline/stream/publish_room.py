"""Room for events under way: whoever publishes many waits for it before each."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from hookline.stream.publish_window import PublishWindow


class PublishRoom:
    """Of one connection. Who waits takes turns: first come, first served within each of them."""

    def __init__(self) -> None:
        self._window = PublishWindow()
        self._events = 0
        self._bytes = 0
        self._next: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        """By whose turn it is: the first of these is the next, and then the last."""

    def entered(self, body_bytes: int) -> bool:
        """Whether it could enter at once, and did."""
        if self._next or not self._window.has_room(self._events, self._bytes, body_bytes):
            return False
        self._take(body_bytes)
        return True

    async def enter(self, body_bytes: int, whose: str = "") -> None:
        """Wait until an event of so many bytes may be on its way. Whoever entered leaves, whatever becomes of it.

        `whose`: those with many events wait behind their own, and not others behind them.
        """
        if self.entered(body_bytes):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next.setdefault(whose, deque()).append((body_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(body_bytes)
            raise

    def confirmed(self, sent_s: float) -> None:
        """One that has not left is stored; it was sent at that time of the monotonic clock."""
        full = self._events >= self._window.events
        # Of those that are under way, itself among them: no caller need say which one it is.
        mean_bytes = self._bytes / max(1, self._events)
        self._window.confirmed(sent_s, time.monotonic(), full=full, body_bytes=mean_bytes)

    def leave(self, body_bytes: int) -> None:
        self._events -= 1
        self._bytes -= body_bytes
        while self._next:
            whose = next(iter(self._next))
            waiting = self._next[whose]
            next_bytes, turn = waiting[0]
            if not turn.cancelled() and not self._window.has_room(self._events, self._bytes, next_bytes):
                return
            waiting.popleft()
            del self._next[whose]
            if waiting:
                self._next[whose] = waiting
            if not turn.cancelled():
                self._take(next_bytes)
                turn.set_result(None)

    def _take(self, body_bytes: int) -> None:
        self._events += 1
        self._bytes += body_bytes
