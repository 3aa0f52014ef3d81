"""Which queues the log's API reads: the file by which the operator tells it. Pure.

Holds no credentials: where they are mounted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hookline.resources.natsaddress import BadNatsAddress, parse_nats

FORMAT = 1
"""Of the file. Fields that are not known are ignored within a format."""

FILE = "queues.json"

MAX_FILE_BYTES = 1024 * 1024
"""A ConfigMap takes no more."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of a Dispatcher."""

    dispatcher: str
    """Its name."""
    nats: str
    """Address of its NATS."""
    credentials: str = ""
    """File with what is shown to it, read for each connection and absent at first; empty if it asks for nothing."""


class QueuesFileError(ValueError):
    """The file is not one of ours. The text shows nothing of it."""


def queues_file(queues: Iterable[Queue]) -> str:
    """The same text for the same queues."""
    listed = [_entry(each) for each in sorted(queues, key=lambda each: each.dispatcher)]
    return f"{json.dumps({'format': FORMAT, 'queues': listed}, indent=2)}\n"


def read_queues_file(content: bytes) -> list[Queue]:
    """Raises QueuesFileError."""
    if len(content) > MAX_FILE_BYTES:
        raise QueuesFileError("it is too long")
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        raise QueuesFileError("it is not JSON") from None
    if not isinstance(said, dict) or not isinstance(said.get("queues"), list):
        raise QueuesFileError("it has no list of queues")
    if said.get("format") != FORMAT:
        raise QueuesFileError(f"it is not of format {FORMAT}, which this version reads")
    queues = [_queue(number, entry) for number, entry in enumerate(said["queues"])]
    if len({each.dispatcher for each in queues}) < len(queues):
        raise QueuesFileError("it names a Dispatcher twice")
    return queues


def _entry(queue: Queue) -> dict[str, str]:
    # What is as it is by default is left out: an older version reads the rest.
    shown = {"credentials": queue.credentials} if queue.credentials else {}
    return {"dispatcher": queue.dispatcher, "nats": queue.nats, **shown}


def _queue(number: int, entry: Any) -> Queue:
    known = entry if isinstance(entry, dict) else {}
    dispatcher, nats, credentials = known.get("dispatcher"), known.get("nats"), known.get("credentials", "")
    right = (
        isinstance(dispatcher, str)
        and _NAME.fullmatch(dispatcher)
        and isinstance(nats, str)
        and _is_address(nats)
        and isinstance(credentials, str)
    )
    if not right:
        raise QueuesFileError(f"its queue {number} is not understood")
    return Queue(known["dispatcher"], known["nats"], credentials)


def _is_address(text: str) -> bool:
    try:
        parse_nats(text)
    except BadNatsAddress:
        return False
    return True
