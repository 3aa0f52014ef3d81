"""Room for events under way: whoever publishes many waits for it before each."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from hookline.stream.publish_window import PublishWindow


class PublishRoom:
    """Of one connection. First come, first served."""

    def __init__(self) -> None:
        self._window = PublishWindow()
        self._events = 0
        self._bytes = 0
        self._next: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, body_bytes: int) -> None:
        """Wait until an event of so many bytes may be on its way. Whoever entered leaves, whatever becomes of it."""
        if not self._next and self._window.has_room(self._events, self._bytes, body_bytes):
            self._take(body_bytes)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next.append((body_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(body_bytes)
            raise

    def confirmed(self, sent_s: float) -> None:
        """One that has not left is stored; it was sent at that time of the monotonic clock."""
        full = self._events >= self._window.events
        self._window.confirmed(sent_s, time.monotonic(), full=full)

    def leave(self, body_bytes: int) -> None:
        self._events -= 1
        self._bytes -= body_bytes
        while self._next:
            next_bytes, turn = self._next[0]
            if not turn.cancelled() and not self._window.has_room(self._events, self._bytes, next_bytes):
                return
            self._next.popleft()
            if not turn.cancelled():
                self._take(next_bytes)
                turn.set_result(None)

    def _take(self, body_bytes: int) -> None:
        self._events += 1
        self._bytes += body_bytes
