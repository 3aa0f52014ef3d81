"""Executes the Replays of a file as `hookline api` and `hookline run` do, for one Webhook, until it is killed.

python -m benchmarks.replay_process NATS_URL FILE NAME UID EVENT
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

import uvloop

from hookline.api.log import Log
from hookline.api.replay.executor import Executor
from hookline.api.replay.kept import KeptReplays
from hookline.api.replay.plan import WebhookSeen
from hookline.api.replay.replays import Runner
from hookline.stream.connection import connect


class OneWebhook:
    """It is there, and is called."""

    def __init__(self, webhook: WebhookSeen) -> None:
        self._webhook = webhook

    async def of(self, namespace: str, names: Collection[str] = ()) -> Sequence[WebhookSeen]:  # noqa: ARG002
        return [self._webhook]


async def main(url: str, file: Path, name: str, uid: str, event: str) -> None:
    client = await connect(url, name="bench-replay", connect_seconds=30)
    webhooks = OneWebhook(WebhookSeen(name, uid, event, "default", enabled=True))
    executor = Executor(lambda: {"default": client}, webhooks, cast(Log, None))
    async with asyncio.TaskGroup() as group:
        group.create_task(Runner(KeptReplays(file, now_s=time.time), executor).run())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
