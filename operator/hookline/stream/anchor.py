"""One message that stays in DELIVERIES, so that NATS does not begin a new file each time the queue runs empty.

nats-server keeps a stream in files of 4 MiB, and begins the next one as soon as the last holds nothing that is not
acked. A queue that keeps up runs empty hundreds of times a second. The file left behind is deleted, unless something
older is still in the stream, such as a retry that waits: then it stays for up to two minutes, since it says what was
acked. At 700 deliveries a second beside one such retry there were 22,400 files after 100 s, and 210 with an anchor.
(nats-server 2.14: removeMsgBlock in its filestore.go, and its pull request 7387.)

So the last file must hold something. The anchor is stored anew each time a sixteenth of a file was written, by
whichever sender did, and replaces the one before. It vanishes by itself after a minute: a queue that is idle is empty.
"""

from __future__ import annotations

import contextlib

from hookline.stream import names
from hookline.stream.connection import StreamRefused, StreamUnavailable
from hookline.stream.publish import Publisher

RENEW_BYTES = 256 * 1024
KEPT_SECONDS = 60
OVERHEAD_BYTES = 450
"""Of a delivery in a file besides its body: subject, headers, and the record of its ack."""


class Anchor:
    """Renews the anchor as deliveries are stored over `publisher`."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._written_bytes = 0

    async def stored(self, count: int, body_bytes: int) -> None:
        """So many deliveries, each with a body of this size, were stored. Never raises: nobody needs the anchor."""
        self._written_bytes += count * (body_bytes + OVERHEAD_BYTES)
        if self._written_bytes < RENEW_BYTES:
            return
        self._written_bytes = 0
        with contextlib.suppress(StreamUnavailable, StreamRefused):
            headers = {"Nats-Rollup": "sub", "Nats-TTL": f"{KEPT_SECONDS}s"}
            await self._publisher.store(names.ANCHOR_SUBJECT, b"", headers)
