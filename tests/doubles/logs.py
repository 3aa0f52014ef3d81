"""Records of the attempts log, stored as senders store them, and a QueueLog over them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from doubles.waiting import eventually
from hookline.api.log import Attempt, Wanted
from hookline.api.queue_log import QueueLog, Source
from hookline.runtime.tasks import cancel
from hookline.stream import names
from hookline.stream.api import ask
from hookline.stream.attempt_record import FORMAT, FORMAT_HEADER, SENDER_HEADER, WEBHOOK_HEADER, AttemptRecord, encode
from hookline.stream.connection import Client

UID = "0b9a5c1e-0000-0000-0000-000000000001"
ALL = Wanted()


async def make_log(client: Client, **settings: object) -> None:
    """The stream, with other settings than those of a sender where a test needs them."""
    config = {
        "name": names.ATTEMPTS,
        "subjects": ["hookline.attempts.*.*"],
        "retention": "limits",
        "discard": "old",
        "allow_direct": True,
        **settings,
    }
    await ask(client, f"STREAM.CREATE.{names.ATTEMPTS}", **config)


def record(event_id: str = "evt_1", attempt: int = 1, **changes: object) -> AttemptRecord:
    found = AttemptRecord(
        event_id,
        "IdentityCreated",
        1_700_000_000.0 + attempt,
        attempt,
        "Delivered",
        200,
        url="https://receiver.example/hook",
        duration_s=0.02,
        phases_s={"first_byte": 0.02},
        request_headers={"content-type": "application/json"},
        answer_headers={"server": "test"},
        answer=b"thanks",
        answer_bytes=6,
        follows="Done",
    )
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def headers(webhook: str) -> dict[str, str]:
    return {FORMAT_HEADER: FORMAT, WEBHOOK_HEADER: webhook, SENDER_HEADER: "sender-1"}


async def write(
    client: Client,
    records: Sequence[AttemptRecord],
    *,
    tenant: str = "team-a",
    webhook: str = "hook",
    uid: str = UID,
    other_headers: Mapping[str, str] | None = None,
) -> int:
    """A batch; its sequence."""
    subject = names.attempts_subject(tenant, uid)
    said = headers(f"{tenant}/{webhook}") if other_headers is None else dict(other_headers)
    return (await client.jetstream().publish(subject, encode(records), headers=said)).seq


@contextlib.asynccontextmanager
async def running(log: QueueLog) -> AsyncIterator[QueueLog]:
    task = asyncio.create_task(log.run())

    async def is_ready() -> bool:
        if task.done():
            task.result()
        return log.is_ready

    try:
        await eventually(is_ready, what=lambda: "the log is read")
        yield log
    finally:
        await cancel([task])


@contextlib.asynccontextmanager
async def log_of(client: Client, folder: Path, **settings: object) -> AsyncIterator[QueueLog]:
    async with running(QueueLog([Source("default", client, folder)], **settings)) as log:  # type: ignore[arg-type]
        yield log


async def listed(log: QueueLog, namespace: str = "team-a", wanted: Wanted = ALL, *, limit: int = 100) -> list[Attempt]:
    """All of a list, part by part."""
    page = await log.attempts(namespace, wanted, limit=limit)
    found = list(page.items)
    while page.more:
        page = await log.attempts(namespace, wanted, limit=limit, begin=page.more)
        found += page.items
    return found


async def until_listed(log: QueueLog, count: int, namespace: str = "team-a") -> list[Attempt]:
    found: list[Attempt] = []

    async def are_there() -> bool:
        found[:] = await listed(log, namespace)
        return len(found) == count

    await eventually(are_there, seconds=20, what=lambda: f"{count} attempts, not {len(found)}")
    return found
