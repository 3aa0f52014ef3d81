"""Executes Replays as a pod of `hookline api` does: python -m crash.replaying NATS API FOLDER NAME RENEW_SECONDS

How far a Replay is, is written after each answer. Nobody takes what is stored, which holds up nothing. `FOLDER` has the
token and the CA of the API server, `NAME` is the pod's. Its Lease must be renewed within so many seconds.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

from hookline.api.log import Log
from hookline.api.replay import executor as executing
from hookline.api.replay import plan, replays
from hookline.api.replay.executor import Executor
from hookline.api.replay.in_cluster import ClusterReplays, ClusterWebhooks, execute_when_leading
from hookline.api.replay.replays import Runner
from hookline.serving import leader
from hookline.serving.api_server import ApiServer, Place
from hookline.stream.connection import connect
from hookline.stream.stored import AT_ONCE

WINDOW = AT_ONCE
"""Deliveries between two words of how far it is: those of one answer."""

OWN_NAMESPACE = "hookline-system"


async def main(nats_url: str, api_url: str, folder: Path, name: str, renew_seconds: float) -> None:
    """For ever."""
    executing.CHECKPOINT_ITEMS = WINDOW
    executing.AGAIN_SECONDS = replays.AGAIN_SECONDS = 0.2
    plan.LEAST_WAITING = 100_000
    leader.RENEW_SECONDS, leader.RETRY_SECONDS = renew_seconds, renew_seconds / 5
    client = await connect(nats_url, name="replays", connect_seconds=30)
    async with ApiServer(Place(api_url, folder / "token", folder / "ca.crt"), who="api") as server:
        # Of no Replay here the attempts log is asked.
        executor = Executor(lambda: {"default": client}, ClusterWebhooks(server), cast(Log, None))
        runner = Runner(ClusterReplays(server), executor)
        await execute_when_leading(server, runner, namespace=OWN_NAMESPACE, identity=name)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], float(sys.argv[5])))
