"""Replays without a cluster: kept in a file, made and asked for by the same paths as in one.

For one process on one data folder. Decides what the paths answer; what a Replay may hold, its model does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hookline.api.replay.conditions import as_manifest
from hookline.api.replay.executor import Gone
from hookline.api.replay.replays import Found, Opened, due_s, opened
from hookline.events.envelope import stamp_to_the_second
from hookline.resources.base import API_VERSION, ObjectMeta, problems_of
from hookline.resources.replay import Replay, ReplayStatus
from hookline.stream.connection import StreamUnavailable

log = structlog.get_logger(__name__)

MOST = 1000
"""Replays that are kept: a file is read and written whole."""

MAX_BYTES = 256 * 1024
"""Of one Replay as somebody sends it."""

AGAIN_SECONDS = 1.0
"""Before what could not be written is written again."""

Manifest = dict[str, Any]


class Taken(Exception):
    """There is a Replay of this name."""


class Full(Exception):
    """No more can be kept."""


class KeptReplays:
    """In a file. An implementation of `Replays`."""

    def __init__(self, file: Path, *, now_s: Callable[[], float]) -> None:
        """Raises OSError, and ValueError of a file that holds something else."""
        self._file = file
        self._now_s = now_s
        self._replays: dict[tuple[str, str], Manifest] = {}
        self._versions = itertools.count(1)
        self._changed = asyncio.Event()
        if file.exists():
            self._load(json.loads(file.read_text(encoding="utf-8")))

    def _load(self, manifests: Any) -> None:
        try:
            self._replays = {(each.namespace, each.name): kept for kept in manifests for each in [_found(kept)]}
            newest = max((int(each["metadata"]["resourceVersion"]) for each in manifests), default=0)
        except (TypeError, KeyError, AttributeError):
            raise ValueError(f"{self._file} does not hold Replays; move it away") from None
        self._versions = itertools.count(newest + 1)

    def all(self, namespace: str) -> list[Manifest]:
        return [each for (where, _), each in sorted(self._replays.items()) if namespace in ("", where)]

    def get(self, namespace: str, name: str) -> Manifest | None:
        return self._replays.get((namespace, name))

    def create(self, namespace: str, manifest: Mapping[str, Any]) -> Manifest:
        """Raises ValidationError, Taken, Full; OSError when it cannot be written."""
        metadata = manifest.get("metadata")
        metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
        prefix = metadata.pop("generateName", "")
        if prefix and not metadata.get("name"):
            metadata["name"] = f"{prefix}{uuid.uuid4().hex[:5]}"
        asked = {**manifest, "metadata": {**metadata, "namespace": namespace}}
        asked.pop("status", None)
        replay = Replay.model_validate(asked)
        place = namespace, replay.metadata.name
        if place in self._replays:
            raise Taken
        if len(self._replays) >= MOST:
            raise Full
        made = {
            **replay.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"metadata", "status"}),
            "metadata": {
                "name": replay.metadata.name,
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creationTimestamp": stamp_to_the_second(self._now_s()),
                "labels": dict(replay.metadata.labels),
            },
            "status": dict(as_manifest(ReplayStatus())),
        }
        return self._keep(place, made)

    def drop(self, namespace: str, name: str) -> Manifest | None:
        """What was there. Raises OSError."""
        found = self._replays.get((namespace, name))
        if found is not None:
            self._save({where: each for where, each in self._replays.items() if each is not found})
        return found

    async def follow(self) -> AsyncIterator[Sequence[Found]]:
        while True:
            changed = self._changed
            yield [_found(each) for each in self._replays.values()]
            await changed.wait()

    async def open(self, found: Found) -> Opened:
        place, kept = (found.namespace, found.name), self._replays.get((found.namespace, found.name))
        if kept is None or kept["metadata"]["uid"] != found.uid:
            raise Gone
        version = kept["metadata"]["resourceVersion"]

        async def write(status: ReplayStatus) -> None:
            nonlocal version
            while True:
                now = self._replays.get(place)
                if now is None or now["metadata"]["resourceVersion"] != version:
                    raise Gone
                try:
                    written = self._keep(place, {**now, "status": dict(as_manifest(status))})
                except OSError as error:
                    log.warning("the status of a Replay cannot be written now", problem=str(error))
                    await asyncio.sleep(AGAIN_SECONDS)
                else:
                    version = written["metadata"]["resourceVersion"]
                    return

        return opened(kept, write)

    async def delete(self, found: Found) -> None:
        kept = self._replays.get((found.namespace, found.name))
        if kept is not None and kept["metadata"]["uid"] == found.uid:
            try:
                self.drop(found.namespace, found.name)
            except OSError as error:
                raise StreamUnavailable(str(error)) from None

    def _keep(self, place: tuple[str, str], manifest: Manifest) -> Manifest:
        metadata = {**manifest["metadata"], "resourceVersion": str(next(self._versions))}
        self._save({**self._replays, place: {**manifest, "metadata": metadata}})
        return self._replays[place]

    def _save(self, replays: dict[tuple[str, str], Manifest]) -> None:
        """What cannot be written is not so: after a crash the file is what is gone on from. Raises OSError."""
        new = self._file.with_name(f"{self._file.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(list(replays.values()), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)
        _sync(self._file.parent)
        self._replays = replays
        self._changed.set()
        self._changed = asyncio.Event()


def _sync(folder: Path) -> None:
    """Have it on the disk which file has a name: dead letters are removed once their count is there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _found(manifest: Manifest) -> Found:
    metadata, status = manifest["metadata"], manifest["status"]
    return Found(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        is_finished=status["phase"] not in ("Pending", "Running"),
        due_s=due_s(status.get("finishedAt"), manifest["spec"].get("ttlSecondsAfterFinished")),
    )


def routes(replays: KeptReplays) -> list[Route]:
    """The paths of Replays as kube-apiserver has them, to be mounted where callers were told apart already."""

    async def collection(request: Request) -> Response:
        namespace = request.path_params.get("namespace", "")
        if request.method == "GET":
            items = replays.all(namespace)
            return JSONResponse({"apiVersion": API_VERSION, "kind": "ReplayList", "metadata": {}, "items": items})
        return await _created(replays, namespace, request)

    async def one(request: Request) -> Response:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        try:
            found = replays.get(namespace, name) if request.method == "GET" else replays.drop(namespace, name)
        except OSError as error:
            return _unwritten(error)
        return JSONResponse(found) if found is not None else _no(404, "NotFound", f'replays "{name}" not found')

    root = f"/apis/{API_VERSION}"
    return [
        Route(f"{root}/replays", collection, methods=["GET"]),
        Route(f"{root}/namespaces/{{namespace}}/replays", collection, methods=["GET", "POST"]),
        Route(f"{root}/namespaces/{{namespace}}/replays/{{name}}", one, methods=["GET", "DELETE"]),
    ]


async def _created(replays: KeptReplays, namespace: str, request: Request) -> Response:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            return _no(413, "RequestEntityTooLarge", f"a Replay may have {MAX_BYTES} bytes")
    try:
        ObjectMeta.model_validate({"name": "any", "namespace": namespace})
        manifest = json.loads(body)
        if not isinstance(manifest, dict):
            raise ValueError
    except (ValueError, RecursionError):
        return _no(400, "BadRequest", "the body is not a Replay as JSON, or the namespace is none")
    try:
        return JSONResponse(replays.create(namespace, manifest), 201)
    except ValidationError as error:
        said = "; ".join(map(str, problems_of(error)))
        return _no(422, "Invalid", f"the Replay is invalid: {said}")
    except Taken:
        return _no(409, "AlreadyExists", "there is a Replay of this name; choose another one, or delete it")
    except Full:
        return _no(429, "TooManyRequests", f"{MOST} Replays are kept; delete some, or give them a ttl")
    except OSError as error:
        return _unwritten(error)


def _unwritten(error: OSError) -> Response:
    why = error.strerror or type(error).__name__
    return _no(503, "ServiceUnavailable", f"Replays cannot be written to the data folder now ({why}); try again")


def _no(code: int, reason: str, message: str) -> Response:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return JSONResponse({**status, "message": message, "reason": reason, "code": code}, code)
