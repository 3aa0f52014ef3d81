"""Replays, Webhooks and the Lease of executors in a cluster.

Decides how a status is written so that only one executor writes it: each write names the version that it replaces, and
one that somebody else wrote in between ends the execution here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import structlog

from hookline.api.replay.conditions import as_manifest, status_in
from hookline.api.replay.executor import Gone
from hookline.api.replay.plan import WebhookSeen
from hookline.api.replay.replays import Found, Opened, Runner, due_s, opened
from hookline.resources.base import API_VERSION
from hookline.resources.replay import ReplayStatus
from hookline.runtime.background import background
from hookline.serving.api_server import MERGE, ApiServer
from hookline.serving.leader import Election, LeaseChanged, LeaseLost, NoLease
from hookline.serving.remembered import Unanswered
from hookline.stream.connection import StreamUnavailable

log = structlog.get_logger(__name__)

LEASE = "hookline-api"
"""Name of the Lease of whoever executes Replays; the role of the API names it."""

PAGE = 25
"""Objects of one part of a list: each may have as much as etcd takes, 1.5 MiB."""

AGAIN_SECONDS, REFUSED_SECONDS = 1.0, 10.0
"""Before a request is made again that was not answered; that was refused."""

FEW = 5
"""Webhooks that are asked for one by one, and not by a list of all of their namespace."""

_FIELD_MANAGER = "hookline-api"
_REPLAYS, _WEBHOOKS = "replays", "webhooks"

Manifest = dict[str, Any]
T = TypeVar("T")


def _path(plural: str, namespace: str = "", name: str = "") -> str:
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{API_VERSION}{inside}/{plural}{f'/{name}' if name else ''}"


async def _all(server: ApiServer, path: str, read: Callable[[Manifest], T]) -> tuple[list[T], str]:
    """What `read` keeps of each object of a list, and the list's version. Raises Unanswered."""
    items: list[T] = []
    more: dict[str, str] = {}
    while True:
        code, said = await server.request("GET", path, query={"limit": str(PAGE), **more})
        if code != 200:
            raise Unanswered(f"the API server answers a list with {code}")
        items += map(read, said.get("items") or [])
        metadata = said.get("metadata") or {}
        if not metadata.get("continue"):
            return items, str(metadata.get("resourceVersion", ""))
        more = {"continue": str(metadata["continue"])}


class ClusterReplays:
    """Those of all namespaces, or of one. An implementation of `Replays`."""

    def __init__(self, server: ApiServer, namespace: str = "") -> None:
        self._server = server
        self._namespace = namespace

    async def follow(self) -> AsyncIterator[Sequence[Found]]:
        path = _path(_REPLAYS, self._namespace)
        said = ""
        while True:
            try:
                listed, version = await _all(self._server, path, _found)
                there = {each.uid: each for each in listed}
                said = ""
                yield list(there.values())
                async for event in self._server.watch(path, resourceVersion=version):
                    kind, manifest = event.get("type"), event.get("object") or {}
                    if kind == "ERROR":
                        break
                    if kind == "BOOKMARK":
                        continue
                    found = _found(manifest)
                    there.pop(found.uid, None)
                    if kind != "DELETED":
                        there[found.uid] = found
                    yield list(there.values())
                await asyncio.sleep(AGAIN_SECONDS)
            except Unanswered as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("Replays cannot be read now", problem=said)
                await asyncio.sleep(error.retry_after_seconds)

    async def open(self, found: Found) -> Opened:
        path = _path(_REPLAYS, found.namespace, found.name)
        try:
            code, said = await self._server.request("GET", path)
        except Unanswered as error:
            raise StreamUnavailable(str(error)) from None
        if code != 200 or said["metadata"].get("uid") != found.uid:
            raise Gone
        return opened(said, _Writer(self._server, path, said).write)

    async def delete(self, found: Found) -> None:
        path = _path(_REPLAYS, found.namespace, found.name)
        try:
            code, _ = await self._server.request("DELETE", path, {"preconditions": {"uid": found.uid}})
        except Unanswered as error:
            raise StreamUnavailable(str(error)) from None
        if code not in (200, 202, 404, 409):
            raise StreamUnavailable(f"the API server answers {code}")


class _Writer:
    """Of the status of one Replay, as long as nobody else writes it."""

    def __init__(self, server: ApiServer, path: str, manifest: Manifest) -> None:
        self._server = server
        self._path = path
        self._uid = manifest["metadata"]["uid"]
        self._version = _version(manifest)
        self._written = status_in(manifest)

    async def write(self, status: ReplayStatus) -> None:
        while True:
            try:
                code, said = await self._tried(status)
                if code == 200:
                    self._version, self._written = _version(said), status_in(said)
                    return
                if code == 404:
                    raise Gone
                if code == 409:
                    if await self._is_written(status):
                        return
                    continue
                log.error("the status of a Replay is refused", path=self._path, status=code)
                await asyncio.sleep(REFUSED_SECONDS)
            except Unanswered as error:
                log.warning("the status of a Replay cannot be written now", problem=str(error))
                await asyncio.sleep(AGAIN_SECONDS)

    async def _tried(self, status: ReplayStatus) -> tuple[int, Manifest]:
        metadata = {"uid": self._uid, "resourceVersion": self._version}
        asked = {"metadata": metadata, "status": as_manifest(status)}
        query = {"fieldManager": _FIELD_MANAGER}
        return await self._server.request("PATCH", f"{self._path}/status", asked, kind=MERGE, query=query)

    async def _is_written(self, status: ReplayStatus) -> bool:
        """After a conflict: whether our own write had arrived before. If not, something else of the Replay was changed,
        such as a label. Raises Gone when somebody else wrote the status, or it is another Replay; and Unanswered."""
        code, said = await self._server.request("GET", self._path)
        if code != 200 or said["metadata"].get("uid") != self._uid or status_in(said) not in (self._written, status):
            log.info("somebody else has a Replay in hand", path=self._path)
            raise Gone
        self._version, self._written = _version(said), status_in(said)
        return self._written == status


def _version(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["resourceVersion"])


def _found(manifest: Mapping[str, Any]) -> Found:
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    phase = status.get("phase", "Pending")
    return Found(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        is_finished=phase not in ("Pending", "Running"),
        due_s=due_s(status.get("finishedAt"), manifest["spec"].get("ttlSecondsAfterFinished")),
    )


class ClusterWebhooks:
    """An implementation of `Webhooks`."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def of(self, namespace: str, names: Collection[str] = ()) -> Sequence[WebhookSeen]:
        try:
            if 0 < len(names) <= FEW:
                found = [await self._one(namespace, each) for each in names]
                return [_webhook(each) for each in found if each is not None]
            listed, _ = await _all(self._server, _path(_WEBHOOKS, namespace), _webhook)
        except Unanswered as error:
            raise StreamUnavailable(f"it is not known which Webhooks there are: {error}") from None
        return listed

    async def _one(self, namespace: str, name: str) -> Manifest | None:
        code, said = await self._server.request("GET", _path(_WEBHOOKS, namespace, name))
        if code not in (200, 404):
            raise Unanswered(f"the API server answers {code}")
        return said if code == 200 else None


def _webhook(manifest: Mapping[str, Any]) -> WebhookSeen:
    metadata, spec = manifest["metadata"], manifest["spec"]
    return WebhookSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        event=spec["event"],
        dispatcher=spec.get("dispatcher", "default"),
        enabled=spec.get("enabled", True),
        labels=dict(metadata.get("labels") or {}),
    )


class ServerLeases:
    """An implementation of `Leases`."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def get(self, namespace: str, name: str) -> Manifest | None:
        code, said = await self._asked("GET", f"{_leases(namespace)}/{name}")
        return said if code == 200 else None

    async def create(self, lease: Manifest) -> Manifest:
        return await self._written("POST", _leases(lease["metadata"]["namespace"]), lease)

    async def replace(self, lease: Manifest) -> Manifest:
        metadata = lease["metadata"]
        return await self._written("PUT", f"{_leases(metadata['namespace'])}/{metadata['name']}", lease)

    async def _written(self, method: str, path: str, lease: Manifest) -> Manifest:
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease}
        code, said = await self._asked(method, path, body)
        if code == 409:
            raise LeaseChanged("somebody else wrote the Lease")
        if code not in (200, 201):
            raise NoLease(f"the API server answers {code}")
        return said

    async def _asked(self, method: str, path: str, body: Manifest | None = None) -> tuple[int, Manifest]:
        try:
            code, said = await self._server.request(method, path, body)
        except Unanswered as error:
            raise NoLease(str(error)) from None
        if code not in (200, 201, 404, 409):
            raise NoLease(f"the API server answers {code}")
        return code, said


def _leases(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


async def execute_when_leading(server: ApiServer, runner: Runner, *, namespace: str, identity: str) -> None:
    """Have Replays executed whenever this process holds the Lease in its namespace. For ever; `identity` names the
    process. What it executes when it loses the Lease ends before another one may begin."""
    while True:
        election = Election(ServerLeases(server), namespace, LEASE, identity, who="replica of the API")
        await election.win()
        try:
            async with background(election.keep()):
                await runner.run()
        except LeaseLost as error:
            log.warning("this process executes no Replays now", problem=str(error))
        finally:
            await election.resign()
