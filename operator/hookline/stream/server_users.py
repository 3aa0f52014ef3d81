"""Whether the servers of a NATS have read their users, and having them do so; how full their disks are. As a user of
their system account.

Asked over NATS, because the servers' pods have nothing else that could: no restart, no process beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import nats.errors

from hookline.runtime.tasks import Deadline
from hookline.stream.connection import Client, LoginRefused, StreamUnavailable, close, connect, listen
from hookline.stream.credentials import by_seed
from hookline.stream.inspect import Disk
from hookline.stream.permissions import Role

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 2.0
_RESTART = "kubectl rollout restart statefulset/nats"
_LOOK = "$SYS.REQ.SERVER.PING.VARZ"


@dataclass(frozen=True, slots=True)
class _Server:
    id: str
    name: str
    tags: tuple[str, ...]
    servers: int
    """How many its configuration names, itself among them."""
    disk: Disk


async def have_read(url: str, seed: str, tag: str) -> None:
    """Have all servers read their configuration unless they did: each bears `tag` then.

    Raises StreamUnavailable, which says what to do, as long as that is not known of all of them.
    """
    async with _connected(url, seed) as client:
        for server in await _all(client):
            if tag not in server.tags:
                await _reload(client, server)
        late = [server.name for server in await _all(client) if tag not in server.tags]
    if late:
        raise StreamUnavailable(
            f"{', '.join(late)} of NATS has not read its users yet; a kubelet takes up to two minutes"
        )


async def disks(url: str, seed: str) -> dict[str, Disk]:
    """What all streams take of each server's disk, and may take, by the server's name.

    Raises StreamUnavailable when not all servers answer.
    """
    async with _connected(url, seed) as client:
        return {server.name: server.disk for server in await _all(client)}


@contextlib.asynccontextmanager
async def _connected(url: str, seed: str) -> AsyncIterator[Client]:
    """Raises StreamUnavailable."""
    try:
        client = await connect(url, name=Role.OPERATOR, credentials=by_seed(seed), connect_seconds=_CONNECT_SECONDS)
    except LoginRefused:
        raise StreamUnavailable(f"NATS does not know the operator's key; {_RESTART}") from None
    except StreamUnavailable:
        raise StreamUnavailable("NATS does not answer") from None
    try:
        yield client
    finally:
        await close(client)


async def _all(client: Client) -> list[_Server]:
    """Every server that there should be. Raises StreamUnavailable when one does not answer."""
    found: dict[str, _Server] = {}
    enough = asyncio.Event()

    def heard(message: Any) -> None:
        if message.headers.get("Status") == "503":
            enough.set()
            return
        server = _read(message.body)
        if server is not None:
            found[server.id] = server
        if len(found) >= _expected(found):
            enough.set()

    inbox = client.new_inbox()
    try:
        subscription = await listen(client, inbox, heard)
        try:
            await client.publish(_LOOK, b"", reply=inbox)
            with Deadline(_ANSWER_SECONDS):
                await enough.wait()
        finally:
            await subscription.unsubscribe()
    except TimeoutError:
        pass
    except (nats.errors.Error, OSError) as error:
        raise StreamUnavailable(f"the servers of NATS cannot be asked ({type(error).__name__})") from None
    if not found:
        raise StreamUnavailable(f"NATS asks nobody who he is; apply its manifests, and if that was done: {_RESTART}")
    if len(found) < _expected(found):
        raise StreamUnavailable(f"{len(found)} of {_expected(found)} servers of NATS answer")
    return list(found.values())


def _expected(found: dict[str, _Server]) -> int:
    return max((each.servers for each in found.values()), default=1)


async def _reload(client: Client, server: _Server) -> None:
    try:
        answer = await client.request(f"$SYS.REQ.SERVER.{server.id}.RELOAD", b"", timeout=_ANSWER_SECONDS)
        problem = json.loads(answer.data).get("error")
    except (nats.errors.Error, OSError, ValueError, AttributeError) as error:
        raise StreamUnavailable(f"{server.name} of NATS does not read its users ({type(error).__name__})") from None
    if problem:
        raise StreamUnavailable(f"{server.name} of NATS cannot read its configuration; its log says why")


def _read(body: bytes) -> _Server | None:
    try:
        said = json.loads(body)
        server, urls = said["server"], said["data"].get("cluster", {}).get("urls") or ()
        jetstream = said["data"].get("jetstream") or {}
        used = int((jetstream.get("stats") or {}).get("storage") or 0)
        limit = int((jetstream.get("config") or {}).get("max_storage") or 0)
        return _Server(
            str(server["id"]),
            str(server.get("name", "")),
            tuple(map(str, server.get("tags") or ())),
            max(1, len(urls)),
            Disk(used, max(0, limit)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
