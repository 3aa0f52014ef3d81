"""The process that answers, over its server."""

from __future__ import annotations

import asyncio

import httpx

from doubles.played_log import PlayedLog
from hookline.api.process import ApiProcess
from hookline.api.users import OneToken


async def test_a_user_of_a_thousand_groups_is_answered() -> None:
    """kube-apiserver takes him, and names each of his groups in a header."""
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    process = ApiProcess(PlayedLog(), OneToken("token"), host="127.0.0.1", port=0, grace_seconds=1)
    going = asyncio.create_task(process.run(stop, on_listening=port.set_result))
    groups = [("X-Remote-Group", f"7d8f2d9e-0000-4000-8000-{number:012d}") for number in range(1000)]
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"http://127.0.0.1:{await port}/apis/log.hookline.dev/v1alpha1/namespaces/team-a/attempts",
            headers=[("Authorization", "Bearer token"), *groups],
        )
    stop.set()
    await going
    assert answer.status_code == 200
