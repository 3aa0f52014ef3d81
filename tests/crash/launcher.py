"""Runs the command `hookline` as it is, but with less patience and with a wall clock that a file moves.

A sender that was killed loses what it held after 15 s, and the copy of a call that it made comes 15 s after the latest
end of that call; a Webhook that nobody knows is gone after 120 s, and a failing endpoint is probed after 5 s: too long
to wait for at each of a hundred crashes. It also has room for few events, and few are named by one message, so that
some of few are set aside. Streams are moved, and removed, once senders have agreed for a second or two. Nothing else
is changed.
"""

from __future__ import annotations

import datetime
import os
import time
from functools import partial
from pathlib import Path

ACK_WAIT = "CRASH_ACK_WAIT_SECONDS"
GONE = "CRASH_GONE_SECONDS"
CLOCK = "CRASH_CLOCK_FILE"


def main() -> None:
    _follow_clock(os.environ.get(CLOCK))
    # Before anything imports their values.
    from hookline.stream import streams

    streams.ACK_WAIT_SECONDS = float(os.environ[ACK_WAIT])
    from hookline.delivery.policy import deleted_webhooks, endpoint_state

    deleted_webhooks.GONE_SECONDS = float(os.environ[GONE])
    endpoint_state.PROBE_SECONDS, endpoint_state.LONGEST_PROBE_SECONDS = 0.5, 1.0
    from hookline.delivery import holding

    holding.DUE_AFTER_SECONDS = streams.ACK_WAIT_SECONDS
    from hookline.stream import agreement

    agreement.SETTLE_SECONDS, agreement.REMOVE_SECONDS = 1.0, 2.0
    from hookline.delivery import session, set_aside
    from hookline.delivery.policy.event_room import EventRoom

    vars(session)["EventRoom"] = partial(EventRoom, places=16)
    set_aside.MOST = 4
    from hookline.cli.main import main as hookline

    hookline()


def _follow_clock(file: str | None) -> None:
    """Put the wall clock off by the seconds that the file holds now. The monotonic clock stays, as it does anywhere."""
    if file is None:
        return
    path, right = Path(file), time.time
    time.time = lambda: right() + float(path.read_text())

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Moved:
            return cls.fromtimestamp(time.time(), tz)

    datetime.datetime = Moved  # type: ignore[misc]


if __name__ == "__main__":
    main()
