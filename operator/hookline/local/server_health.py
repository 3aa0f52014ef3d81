"""What the embedded nats-server says of itself, and how long to wait before it is started again.

Reads where it listens from the file that the server writes of itself, so that another program at the same port is never
taken for it. Starts and ends nothing: nats_server does.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hookline.runtime.tasks import Deadline

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
WELL_SECONDS = 60.0
"""A server that ran for so long is well: the next pause is a short one again."""

ANSWER_SECONDS = 2.0
_MAX_ANSWER_BYTES = 65_536


@dataclass(slots=True)
class Pauses:
    """Each twice as long as the one before, until the server was well for a while."""

    _last_seconds: float = 0.0

    def next_seconds(self, *, ran_seconds: float) -> float:
        """How long to wait after a server that ran for `ran_seconds`."""
        longer = max(FIRST_PAUSE_SECONDS, min(self._last_seconds * 2, LONGEST_PAUSE_SECONDS))
        self._last_seconds = FIRST_PAUSE_SECONDS if ran_seconds >= WELL_SECONDS else longer
        return self._last_seconds


def monitor_of(folder: Path, pid: int) -> str | None:
    """Where the server of this process answers of its health; None until it listens for clients.

    nats-server writes the file (`ports_file_dir`) once it does, and under its own process id.
    """
    try:
        said = json.loads((folder / f"nats-server_{pid}.ports").read_bytes())
        return str(said["monitoring"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return None


async def refuses_writes(monitor: str, base_path: str) -> str | None:
    """Why the server stores nothing, if it says so. None also when it does not answer: then nothing is known.

    nats-server (2.14) takes no writes to a stream after an error of its disk until it is started again. Of the health
    checks that leave out whether single streams and consumers are there, `js-meta-only` is the one that says so.
    """
    try:
        with Deadline(ANSWER_SECONDS):
            status, said = await _get(monitor, f"{base_path}/healthz?js-meta-only=true")
        problem = json.loads(said).get("error")
    except (OSError, ValueError, LookupError, AttributeError, TimeoutError):
        return None
    return str(problem)[:300] if status == 503 and "write error" in str(problem) else None


async def _get(monitor: str, target: str) -> tuple[int, bytes]:
    parts = urlsplit(monitor)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        answer = b""
        while len(answer) < _MAX_ANSWER_BYTES and (piece := await reader.read(_MAX_ANSWER_BYTES)):
            answer += piece
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(maxsplit=2)[1]) if head else 0, body
