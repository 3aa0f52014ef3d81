"""Who may ask the log's API beside `hookline run`; what it answers then has test_cli_log_run."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import httpx

from doubles.waiting import eventually
from hookline.local.log_api import API_FILE, LocalLogApi

LOG = "/apis/log.hookline.dev/v1alpha1/namespaces/default/attempts"
REPLAYS = "/apis/hookline.dev/v1alpha1/namespaces/default/replays"


async def test_only_who_may_read_the_file_is_answered_and_it_is_there_as_long_as_the_api(tmp_path: Path) -> None:
    api, stop, file = LocalLogApi(tmp_path, "default", dict, dict), asyncio.Event(), tmp_path / API_FILE
    # Nobody listens there: the API is there before the queue.
    api.use("nats://127.0.0.1:1")
    running = asyncio.create_task(api.run(stop))
    try:

        async def is_there() -> bool:
            return file.exists()

        await eventually(is_there)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        known = json.loads(file.read_text())
        assert known["url"].startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(base_url=known["url"]) as client:
            for headers in ({}, {"Authorization": "Bearer other"}, {"X-Remote-User": "admin"}):
                for path in (LOG, REPLAYS, "/apis", "/apis/hookline.dev/v1alpha1/no-such"):
                    answer = await client.get(path, headers=headers)
                    assert (path, answer.status_code) == (path, 401)
            right = {"Authorization": f"Bearer {known['token']}"}
            assert (await client.get(REPLAYS, headers=right)).json()["items"] == []
            away = await client.get(LOG, headers=right)
            assert (away.status_code, away.json()["reason"]) == (503, "ServiceUnavailable")
    finally:
        stop.set()
        await running
    assert not file.exists()
