"""The process that answers, over its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from doubles.played_log import PlayedLog, attempt
from hookline.api.process import ApiProcess
from hookline.api.users import ClusterUsers, OneToken, Users
from hookline.serving.api_server import Right, User
from hookline.serving.remembered import Bounds

TEAM_A = "/apis/log.hookline.dev/v1alpha1/namespaces/team-a/attempts"


@asynccontextmanager
async def answering(users: Users) -> AsyncIterator[httpx.AsyncClient]:
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    process = ApiProcess(PlayedLog([attempt(1)]), users, host="127.0.0.1", port=0, grace_seconds=1)
    going = asyncio.create_task(process.run(stop, on_listening=port.set_result))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await port}", timeout=10) as client:
            yield client
    finally:
        stop.set()
        await going


async def test_a_user_of_a_thousand_groups_is_answered() -> None:
    """kube-apiserver takes him, and names each of his groups in a header."""
    groups = [("X-Remote-Group", f"7d8f2d9e-0000-4000-8000-{number:012d}") for number in range(1000)]
    async with answering(OneToken("token")) as client:
        answer = await client.get(TEAM_A, headers=[("Authorization", "Bearer token"), *groups])
    assert answer.status_code == 200


class Reviews:
    """Whoever has a token is called so. Only `quiet` may do anything."""

    async def user_of(self, token: str) -> User | None:
        return User(token)

    async def may(self, user: User, right: Right) -> bool:
        await asyncio.sleep(0.002)
        return user.name == "quiet"


async def test_who_asks_for_names_at_random_keeps_out_nobody_else() -> None:
    bounds = Bounds(unknown_per_second=20, burst=10, waiting=50)

    async def code(client: httpx.AsyncClient, user: str, name: str) -> int:
        return (await client.get(f"{TEAM_A}/{name}", headers={"Authorization": f"Bearer {user}"})).status_code

    async with (
        ClusterUsers(Reviews(), lambda: None, lambda _: True, bounds=bounds) as users,
        answering(users) as client,
    ):
        flood = {
            asyncio.create_task(code(client, f"loud-{number % 2}", f"evt-{number}-1.{number}")) for number in range(90)
        }
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        while 429 not in {each.result() for each in done}:
            done, _ = await asyncio.wait(flood - done, return_when=asyncio.FIRST_COMPLETED)
        assert await code(client, "quiet", "evt-1-1.1") == 200
        assert {each.result() for each in flood if each.done()} == {403, 429}
        assert not all(each.done() for each in flood), "it went on meanwhile"
        for each in flood:
            each.cancel()
        await asyncio.wait(flood)
