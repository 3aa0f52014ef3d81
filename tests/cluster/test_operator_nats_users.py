"""The users of the shipped NATS, against a real API server and a real nats-server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubectl import Kubectl
from controlplane.servers import ControlPlane
from doubles.exposition import labels_told
from doubles.installation import DISPATCHER, Installation, installed
from doubles.shipped_nats import ShippedNats, shipped
from doubles.waiting import eventually
from hookline.control.kinds import DEPLOYMENTS, NATS_NAMES, NATS_SENDER_NAME, NATS_USERS_NAME, SECRETS
from hookline.control.nats_users import SEED_FILE, USERS_FILE
from hookline.stream.connection import close, connect
from hookline.stream.credentials import by_seed
from hookline.stream.permissions import Role

pytestmark = pytest.mark.timeout(120)


async def test_the_operator_makes_the_users_and_replaces_a_key_although_it_is_killed(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> None:
    folder = tmp_path / "nats"
    folder.mkdir()
    async with shipped(folder, None) as server:
        dispatcher = {**DISPATCHER, "spec": {"replicas": 1, "nats": {"url": server.url}}}
        async with installed(control_plane, kubectl, tmp_path, senders=False, dispatcher=dispatcher) as hookline:
            operator = hookline.operator(shipped_nats=server.url)
            operator.start()

            async def has_users() -> bool:
                return bool(await text(hookline, NATS_USERS_NAME, USERS_FILE))

            await eventually(has_users, what=lambda: operator.said[-3000:])
            server.users(await text(hookline, NATS_USERS_NAME, USERS_FILE))
            await server.end()
            await server.start()
            await eventually(has_said(operator, "all servers of the shipped NATS have its users"))
            assert await mounts_of(hookline, "hookline-sender-default") == {NATS_SENDER_NAME}
            first = await text(hookline, NATS_SENDER_NAME, SEED_FILE)
            # What others take away is put back, and a key without its label is the same key.
            for words in (("label", "app.kubernetes.io/managed-by-"), ("annotate", "hookline.dev/rotate=1")):
                assert await text(hookline, NATS_SENDER_NAME, SEED_FILE) == first
                await hookline.kube(words[0], "secret", NATS_SENDER_NAME, "-n", hookline.namespace, words[1])
            operator.kill()
            again = hookline.operator("operator-1", shipped_nats=server.url)
            again.start()
            async with kubelet(hookline, server):

                async def is_another() -> bool:
                    return await text(hookline, NATS_SENDER_NAME, SEED_FILE) != first

                await eventually(is_another, seconds=60, what=lambda: again.said[-3000:])

            async def tells_the_disk() -> bool:
                told = labels_told(await again.page("/metrics"))
                return told.get("hookline_nats_disk_limit_bytes") == {"server"}

            await eventually(tells_the_disk)
            second = await text(hookline, NATS_SENDER_NAME, SEED_FILE)
            for seed in (first, second):
                await close(await connect(server.url, name=Role.SENDER, credentials=by_seed(seed)))
            # In the namespaces of former tests, which are being deleted, nobody may make anything.
            writes = [each for each in hookline.audited() if each["verb"] in ("create", "patch")]
            writes = [each for each in writes if each["objectRef"].get("namespace") == hookline.namespace]
            assert writes
            assert all(each.get("responseStatus", {}).get("code") != 403 for each in writes)
            assert not any(seed in hookline.logs() for seed in (first, second))


def has_said(operator: Any, words: str) -> Any:
    async def said() -> bool:
        return words in operator.said

    return said


async def text(hookline: Installation, name: str, key: str) -> str:
    found = await hookline.admin.get(SECRETS, hookline.namespace, name)
    return base64.b64decode(((found or {}).get("data") or {}).get(key, "")).decode()


async def mounts_of(hookline: Installation, deployment: str) -> set[str]:
    found: Any = {}

    async def is_there() -> bool:
        found.update(await hookline.admin.get(DEPLOYMENTS, hookline.namespace, deployment) or {})
        return bool(found)

    await eventually(is_there)
    volumes = found["spec"]["template"]["spec"]["volumes"]
    return {each["secret"]["secretName"] for each in volumes if "secret" in each} & NATS_NAMES


@contextlib.asynccontextmanager
async def kubelet(hookline: Installation, server: ShippedNats) -> Any:
    """Brings what lies in the cluster to the server."""

    async def follow() -> None:
        while True:
            server.users(await text(hookline, NATS_USERS_NAME, USERS_FILE))
            await asyncio.sleep(0.2)

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
